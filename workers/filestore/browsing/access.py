"""Who may reach which home: what nginx asks the front before it hands a request to a home's session.

The file page and programs bring a FilesTicket. WebDAV clients bring an API token as password; the master is asked
what it opens and its answer, a FilesTicket too, is good for a minute. While the master does not answer, a token that
was good goes on being so until its ticket ends.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import http.client
import json
import re
import threading
import time
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, urlsplit

from common.errors import Forbidden, OpenRaaSError, TooMany, Unauthorized, Unavailable
from common.signing import Verifier
from common.tickets import BadTicket, FilesTicket, TicketChecker
from common.tls import trusting
from common.words import Endpoint
from workers.box.config import BoxConfig, BoxPaths, Identity
from workers.box.front import Exchange
from workers.box.table import Table
from workers.filestore.browsing.route import MAY, PORTAL, ROOT
from workers.filestore.browsing.sessions import Sessions
from workers.filestore.volumes import Volumes

HELD_S, REFUSED_S = 60.0, 10.0
ANSWER_S = 5.0
ASK_AT_ONCE, REMEMBERED = 8, 4096
_TOKEN = re.compile(r"ora_[A-Za-z0-9_.-]{8,200}")
_FILES = re.compile(r"/files/([a-z0-9-]{1,64})/")
REFUSED = "X-Openraas-Refusal"
_REMEDY = "Open your files on the portal again."


@dataclass(frozen=True)
class _Known:
    """What the master said of a token, and until when that is not asked again."""

    ticket: FilesTicket | None
    why: OpenRaaSError | None
    until: float


class Elsewhere(OpenRaaSError):
    """The home lies on another box."""

    http_status = 307

    def __init__(self, where: str) -> None:
        super().__init__(f"Your home is at {where}.", remedy="Use this address.")
        self.where = where


class FilesAccess:
    """The routes `/_openraas/files/auth` and `…/refused`, which nginx alone reaches."""

    prefix = "/_openraas/files/"

    def __init__(self, config: BoxConfig, paths: BoxPaths, table: Table, verifier: Verifier) -> None:
        self._box = config.box
        self._tickets = TicketChecker(verifier)
        self._sessions = Sessions(Volumes(paths, table), paths.run)
        self._tokens = Tokens(Identity.load(config.state_dir).answer.master, paths.authority, self._tickets)

    def handle(self, exchange: Exchange) -> None:
        """204 with where the session answers, or 401; `refused` says the same as an answer for the person."""
        is_question = exchange.path.endswith("/auth")
        try:
            ticket = self._judge(exchange.headers)
            upstream = self._sessions.socket_of(ticket.fileset, ticket.size_limit_bytes)
        except OpenRaaSError as error:
            if is_question:
                exchange.answer(401, headers={REFUSED: "1"})
            else:
                _refuse(exchange, error)
            return
        exchange.answer(
            204,
            headers={
                "X-Openraas-Upstream": f"unix:{upstream}:",
                ROOT: ticket.root,
                MAY: ",".join(sorted(ticket.may)),
                PORTAL: ticket.portal,
            },
        )

    def _judge(self, headers: Message) -> FilesTicket:
        """The ticket behind a request; raises OpenRaaSError."""
        target = _target(headers)
        if _is_dav(target):
            ticket = self._tokens.ticket(_password(headers))
        else:
            ticket = self._tickets.check(_ticket_of(headers, target.query), FilesTicket)
            match = _FILES.match(target.path)
            if match is None or match[1] != ticket.fileset:
                raise Forbidden("This ticket is for another home.", remedy=_REMEDY)
        if ticket.box != self._box:
            if ticket.where:
                raise Elsewhere(ticket.where)
            raise Forbidden(
                f"This ticket is for the box {ticket.box}, and this is {self._box}.", remedy=_REMEDY
            )
        return ticket


class Tokens:
    """Asks the master what API tokens open, and remembers it for a while. Raises Unauthorized and the like."""

    def __init__(self, master: Endpoint, authority: Path, tickets: TicketChecker) -> None:
        self._master = master
        self._authority = authority
        self._tickets = tickets
        self._known: dict[str, _Known] = {}
        self._asking = threading.BoundedSemaphore(ASK_AT_ONCE)

    def ticket(self, token: str) -> FilesTicket:
        """What the token opens."""
        key, now = hashlib.sha256(token.encode()).hexdigest(), time.time()
        known = self._known.get(key)
        if known is None or known.until < now:
            known = self._asked(token, known)
            if len(self._known) >= REMEMBERED:
                self._known.pop(next(iter(self._known)), None)
            self._known[key] = known
        if known.ticket is None:
            raise known.why or Unauthorized("This token opens nothing here.")
        return known.ticket

    def _asked(self, token: str, before: _Known | None) -> _Known:
        now = time.time()
        if not self._asking.acquire(timeout=ANSWER_S):
            raise TooMany("Too many ask at once.", remedy="Try again in a moment.")
        try:
            return _Known(self._ask(token), None, now + HELD_S)
        except Unavailable:
            if before is not None and before.ticket is not None and before.ticket.expires_at > now:
                return _Known(before.ticket, None, now + REFUSED_S)
            raise
        except OpenRaaSError as error:
            return _Known(None, error, now + REFUSED_S)
        finally:
            self._asking.release()

    def _ask(self, token: str) -> FilesTicket:
        connection = self._connect()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        try:
            connection.request("POST", "/api/v1/files/ticket", body='{"webdav": true}', headers=headers)
            answer = connection.getresponse()
            content = answer.read(64 * 1024)
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable("The master does not answer.", remedy="Try again in a moment.") from error
        finally:
            connection.close()
        try:
            told = json.loads(content)
            if answer.status == http.client.OK:
                return self._tickets.check(str(told["ticket"]), FilesTicket)
            message = str(told["message"])
        except (ValueError, KeyError, TypeError) as error:
            raise Unavailable(
                "The master's answer cannot be read.", remedy="Try again in a moment."
            ) from error
        if answer.status in (401, 403):
            raise Unauthorized(
                message, remedy="Make a token with the scope files on the page of your account."
            )
        raise Unavailable(message)

    def _connect(self) -> http.client.HTTPConnection:
        if not self._master.tls:
            return http.client.HTTPConnection(self._master.host, self._master.port, timeout=ANSWER_S)
        return http.client.HTTPSConnection(
            self._master.host, self._master.port, timeout=ANSWER_S, context=trusting(self._authority)
        )


def _refuse(exchange: Exchange, error: OpenRaaSError) -> None:
    headers: dict[str, str] = {}
    is_dav = _is_dav(_target(exchange.headers))
    if isinstance(error, Elsewhere):
        headers["Location"] = error.where
    elif is_dav and error.http_status == http.client.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Basic realm="OpenRaaS: an API token as password", charset="UTF-8"'
    phrase = http.HTTPStatus(error.http_status).phrase.lower().replace(" ", "-")
    exchange.answer_json(
        error.http_status, {"error": phrase, "message": str(error), "field": error.field}, headers=headers
    )


def _target(headers: Message) -> SplitResult:
    """What the browser asked for, read as the session reads it: two slashes at the beginning name no host."""
    return urlsplit("/" + headers.get("X-Openraas-Target", "").lstrip("/"))


def _is_dav(target: SplitResult) -> bool:
    return target.path == "/webdav" or target.path.startswith("/webdav/")


def _ticket_of(headers: Message, query: str) -> str:
    kind, _, token = headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer" and token:
        return token.strip()
    given = parse_qs(query).get("ticket")
    if not given:
        raise BadTicket("This needs a ticket for the home.", remedy=_REMEDY)
    return given[0]


def _password(headers: Message) -> str:
    """The API token that a WebDAV client sends, as password or as Bearer."""
    kind, _, value = headers.get("Authorization", "").partition(" ")
    token = value.strip()
    if kind.lower() == "basic":
        try:
            token = base64.b64decode(token, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            token = ""
    if not _TOKEN.fullmatch(token):
        raise Unauthorized(
            "This needs an API token as password.", remedy="Make one on the page of your account."
        )
    return token
