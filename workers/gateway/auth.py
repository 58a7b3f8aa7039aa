"""Who may reach which instance: swaps a launch ticket for a cookie, and answers nginx's `auth_request`.

It works without the master: the ticket is checked with the master's public key, the cookie with the box's
own, and the upstream comes from the box's own table of instances.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from functools import cached_property
from urllib.parse import urlsplit

from common.errors import NotFound
from common.signing import Verifier
from common.tickets import BadTicket, OpenTicket, TicketChecker
from workers.box.config import BoxConfig, BoxPaths, Identity
from workers.box.front import Exchange
from workers.box.table import Table
from workers.compute.activity import UseTable
from workers.compute.instances import InstanceRow, Instances, Stage
from workers.gateway import cookies
from workers.gateway.cookies import BadSession, CookieJar, Session
from workers.gateway.refusals import HEADERS, REFUSALS, page

_SCHEMA = "CREATE TABLE IF NOT EXISTS used_tickets (once TEXT PRIMARY KEY, expires_at REAL NOT NULL)"


class Auth:
    """The route `/_openraas/`; nginx says in `X-Openraas-Instance` which name the browser asked for."""

    prefix = "/_openraas/"

    def __init__(self, config: BoxConfig, paths: BoxPaths, table: Table, verifier: Verifier) -> None:
        self._config = config
        self._table = table
        self._instances = Instances(table)
        self._tickets = TicketChecker(verifier)
        self._uses = UseTable(table)
        self._jar = CookieJar.load_or_create(paths.gateway / "cookie.key")
        table.create(_SCHEMA)

    def handle(self, exchange: Exchange) -> None:
        """Answer one of the paths below the prefix."""
        instance = exchange.headers.get("X-Openraas-Instance", "")
        action = exchange.path.removeprefix(self.prefix)
        if action == "auth":
            self._authorise(exchange, instance)
        elif action == "enter":
            self._enter(exchange, instance)
        elif action == "refused":
            self._refuse(exchange, exchange.headers.get("X-Openraas-Refusal", "unknown"))
        else:
            raise NotFound("There is nothing here.")

    # The question that nginx asks with every request

    def _authorise(self, exchange: Exchange, instance: str) -> None:
        headers = {name.lower(): value for name, value in exchange.headers.items()}
        refusal, upstream = self._judge(headers, instance)
        if refusal is not None:
            # auth_request understands 401 and 403 only; the page's own status is told with the reason.
            status = 401 if refusal in ("no-ticket", "expired") else 403
            exchange.answer(status, headers={"X-Openraas-Refusal": refusal})
            return
        if (row := self._instances.get(instance)) is not None:
            self._uses.note(instance, row.generation)
        exchange.answer(204, headers={"X-Openraas-Upstream": upstream or ""})

    def _judge(self, headers: Mapping[str, str], instance: str) -> tuple[str | None, str | None]:
        """Why not, or else where to."""
        value = cookies.find(headers.get("cookie", ""))
        if value is None:
            return "no-ticket", None
        try:
            session = self._jar.read(value)
        except BadSession as error:
            return ("expired" if error.expired else "no-ticket"), None
        if session.instance != instance:
            return "no-ticket", None
        if is_foreign(headers):
            return "foreign", None
        row = self._instances.get(instance)
        if row is None:
            return "unknown", None
        if row.generation != session.generation:
            return "expired", None
        return reason_against(row), row.upstream

    # Tickets

    def _enter(self, exchange: Exchange, instance: str) -> None:
        try:
            session = self._redeem(exchange.query.get("ticket", ""), instance)
        except BadTicket as error:
            self._refuse(exchange, "bad-ticket", str(error))
            return
        cookie = cookies.header(self._jar.make(session), session.until - time.time())
        exchange.answer(
            303,
            headers={
                "Location": "/",
                "Set-Cookie": cookie,
                "Cache-Control": "no-store",
                "Referrer-Policy": "no-referrer",
            },
        )

    def _redeem(self, token: str, instance: str) -> Session:
        remedy = OpenTicket.renewal
        if not token:
            raise BadTicket("The address has no ticket.", remedy=remedy)
        ticket = self._tickets.check(token, OpenTicket)
        if ticket.instance != instance:
            raise BadTicket("This ticket is for another instance.", remedy=remedy)
        if not self._use_up(ticket):
            raise BadTicket("This ticket was used already.", remedy=remedy)
        return Session(ticket.instance, ticket.generation, ticket.session_until)

    def _use_up(self, ticket: OpenTicket) -> bool:
        """Whether this was the first use; remembered until the ticket would have expired anyway."""
        self._table.write("DELETE FROM used_tickets WHERE expires_at < ?", (time.time(),))
        try:
            self._table.write("INSERT INTO used_tickets VALUES (?, ?)", (ticket.once, ticket.expires_at))
        except sqlite3.IntegrityError:
            return False
        return True

    # Pages

    def _refuse(self, exchange: Exchange, reason: str, why: str = "") -> None:
        refusal = REFUSALS.get(reason, REFUSALS["unknown"])
        exchange.answer(refusal.status, page(refusal, self._portal, why), headers=HEADERS)

    @cached_property
    def _portal(self) -> str | None:
        try:
            return Identity.load(self._config.state_dir).answer.master.url
        except NotFound:
            return None


def reason_against(row: InstanceRow) -> str | None:
    """Why the instance cannot be opened now, if so."""
    if row.state in (Stage.PREPARING, Stage.STARTING):
        return "not-ready"
    if row.state is not Stage.RUNNING:
        return "gone"
    return None if row.upstream is not None else "no-page"


def is_foreign(headers: Mapping[str, str]) -> bool:
    """Whether another site's page made the browser ask; names of headers are in small letters.

    Instances are one site to a browser (they share a parent domain), so SameSite does not keep them apart.
    Following a link is fine; anything else must come from the instance's own origin
    (Fetch Metadata, section 2; RFC 6454, section 7).
    """
    origin = headers.get("origin")
    if origin is not None:
        own = (headers.get("x-openraas-scheme", "http"), headers.get("host", ""))
        parts = urlsplit(origin)
        return (parts.scheme, parts.netloc) != own
    site = headers.get("sec-fetch-site", "none")
    followed = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return site not in ("none", "same-origin") and not followed
