"""Who may reach which instance: swaps a launch ticket for a cookie, answers nginx's `auth_request`, and lets
sessions into the gateway's own pages of a way of access.

It works without the master: the ticket is checked with the master's public key, the cookie with the box's
own, and the upstream comes from the box's own table of instances.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from importlib import import_module
from urllib.parse import urlsplit

from common.access import OWN, Way, ways
from common.errors import Forbidden, NotFound
from common.signing import Verifier
from common.tickets import BadTicket, OpenTicket, PeopleTicket, TicketChecker
from common.words import Role
from workers.box.config import BoxConfig, BoxPaths, Identity
from workers.box.front import Exchange
from workers.box.stored_wishes import StoredWishes
from workers.box.table import Table
from workers.compute.activity import UseTable
from workers.compute.instances import InstanceRow
from workers.gateway import cookies
from workers.gateway.connections import Connections
from workers.gateway.cookies import BadSession, CookieJar, Session
from workers.gateway.refusals import HEADERS, REFUSALS, page
from workers.gateway.relay import Relays
from workers.gateway.standing import Standing
from workers.gateway.visit import Host, Visit, WayServer

_SCHEMA = "CREATE TABLE IF NOT EXISTS used_tickets (once TEXT PRIMARY KEY, expires_at REAL NOT NULL)"
# `GET /_openraas/session?since=VERSION` waits for people who come or go at most so long.
PEOPLE_S = 25.0


class Auth:
    """The route `/_openraas/`; nginx says in `X-Openraas-Instance` which name the browser asked for."""

    prefix = OWN

    def __init__(self, config: BoxConfig, paths: BoxPaths, table: Table, verifier: Verifier) -> None:
        self._config = config
        self._table = table
        self._standing = Standing(table)
        self._tickets = TicketChecker(verifier)
        self._wishes = StoredWishes(config.box, table, verifier)
        self._uses = UseTable(table)
        self._jar = CookieJar.load_or_create(paths.gateway / "cookie.key")
        self._connections = Connections(self._standing, self._uses)
        self._relays = Relays(self._connections)
        self._host = Host(config, paths, table, self._connections)
        self._servers: dict[str, WayServer] = {}
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
        elif action == "session":
            self._tell(exchange, instance)
        elif action.startswith("people/"):
            self._list(exchange, action.removeprefix("people/"))
        else:
            self._visit(exchange, instance, *action.partition("/")[::2])

    # The question that nginx asks with every request

    def _authorise(self, exchange: Exchange, instance: str) -> None:
        refusal, session, row = self._judge(exchange, instance)
        if refusal is None and row is not None:
            refusal = None if row.access.passes_on and row.upstream else "no-page"
            if refusal and row.access.has_page:
                refusal = "own-page"
        if (
            refusal is None
            and session is not None
            and row is not None
            and not session.opens(row.access, row.access)
        ):
            refusal = "watch"
        if refusal is not None or session is None or row is None:
            # auth_request understands 401 and 403 only; the page's own status is told with the reason.
            status = 401 if refusal in ("no-ticket", "expired") else 403
            exchange.answer(status, headers={"X-Openraas-Refusal": refusal or "unknown"})
            return
        self._uses.note(instance, row.generation)
        self._connections.seen(session)
        is_guest = session.share is not None
        upstream = self._relays.upstream(session, row) if is_guest else row.upstream
        exchange.answer(204, headers={"X-Openraas-Upstream": upstream or ""})

    def _judge(
        self, exchange: Exchange, instance: str
    ) -> tuple[str | None, Session | None, InstanceRow | None]:
        """Why not, or else whose session on which instance."""
        headers = {name.lower(): value for name, value in exchange.headers.items()}
        value = cookies.find(headers.get("cookie", ""))
        if value is None:
            return "no-ticket", None, None
        try:
            session = self._jar.read(value)
        except BadSession as error:
            return ("expired" if error.expired else "no-ticket"), None, None
        if session.instance != instance:
            return "no-ticket", None, None
        if is_foreign(headers):
            return "foreign", None, None
        row = self._standing.row(instance)
        return self._standing.refusal(session, row), session, row

    # The gateway's own pages

    def _visit(self, exchange: Exchange, instance: str, name: str, path: str) -> None:
        refusal, session, row = self._judge(exchange, instance)
        if refusal is not None or session is None or row is None:
            self._refuse(exchange, refusal or "unknown")
            return
        way = _way(name, row)
        if way is None or way.server is None:
            raise NotFound("There is nothing here.")
        if not session.opens(way, row.access):
            self._refuse(exchange, "not-yours")
            return
        self._server(way).handle(Visit(exchange, session, row, way, path, self._connections))

    def _server(self, way: Way) -> WayServer:
        """The one of this process, made when it is first needed: who shows no desktops loads nothing for them."""
        made = self._servers.get(way.way)
        if made is None:
            module, _, attribute = str(way.server).partition(":")
            made = self._servers.setdefault(way.way, getattr(import_module(module), attribute)(self._host))
        return made

    def _tell(self, exchange: Exchange, instance: str) -> None:
        """What a page of ours shows of its session; with `since` once somebody has come or gone."""
        refusal, session, row = self._judge(exchange, instance)
        if refusal is not None or session is None or row is None:
            refused = REFUSALS[refusal or "unknown"]
            exchange.answer_json(refused.status, {"error": refusal, "message": refused.title})
            return
        since = exchange.query.get("since", "")
        if since.isdecimal():
            self._connections.wait(int(since), PEOPLE_S)
        version = self._connections.version()
        people = [
            {**asdict(person), "you": person.key == session.key, "key": None, "share": None}
            for person in self._connections.people(instance)
        ]
        answer = {
            "instance": instance,
            "deployment": row.deployment,
            "access": row.access.model_dump(),
            "mode": session.mode,
            "guest": session.share is not None,
            "name": session.name,
            "ends_at": self._ends_at(session),
            "portal": self._portal,
            "people": people,
            "version": version,
        }
        exchange.answer_json(200, answer, headers={"Cache-Control": "no-store"})

    def _ends_at(self, session: Session) -> float:
        """When it is over unless somebody extends the lease: with the instance, or with the session before that."""
        wish = self._wishes.stored(Role.COMPUTE, session.instance)
        ends = (session.until, wish.lease_end if wish is not None else None)
        return min(end for end in ends if end is not None)

    def _list(self, exchange: Exchange, instance: str) -> None:
        """Who is there, for the master on behalf of the owner."""
        kind, _, token = exchange.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token:
            raise BadTicket("This needs a ticket for the instance's people as bearer token.")
        if self._tickets.check(token.strip(), PeopleTicket).instance != instance:
            raise Forbidden("This ticket is for another instance.")
        people = [
            {"name": person.name, "mode": person.mode, "share": person.share, "since": person.since}
            for person in self._connections.people(instance)
        ]
        exchange.answer_json(200, {"people": people})

    # Tickets

    def _enter(self, exchange: Exchange, instance: str) -> None:
        try:
            ticket = self._redeem(exchange.query.get("ticket", ""), instance)
        except BadTicket as error:
            self._refuse(exchange, "bad-ticket", str(error))
            return
        session = Session(
            instance=ticket.instance,
            generation=ticket.generation,
            until=ticket.session_until,
            mode=ticket.mode,
            also=ticket.also,
            name=ticket.name,
            share=ticket.share,
            key=ticket.once,
        )
        cookie = cookies.header(self._jar.make(session), session.until - time.time())
        exchange.answer(
            303,
            headers={
                "Location": self._landing(ticket),
                "Set-Cookie": cookie,
                "Cache-Control": "no-store",
                "Referrer-Policy": "no-referrer",
            },
        )

    def _landing(self, ticket: OpenTicket) -> str:
        row = self._standing.row(ticket.instance)
        if row is None:
            return "/"
        way = _way(ticket.begin, row) if ticket.begin else None
        return (way or row.access).landing

    def _redeem(self, token: str, instance: str) -> OpenTicket:
        remedy = OpenTicket.renewal
        if not token:
            raise BadTicket("The address has no ticket.", remedy=remedy)
        ticket = self._tickets.check(token, OpenTicket)
        if ticket.instance != instance:
            raise BadTicket("This ticket is for another instance.", remedy=remedy)
        if not self._use_up(ticket):
            raise BadTicket("This ticket was used already.", remedy=remedy)
        return ticket

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
        row = self._standing.row(exchange.headers.get("X-Openraas-Instance", ""))
        if reason == "own-page" and row is not None:
            exchange.answer(303, headers={"Location": row.access.landing, "Cache-Control": "no-store"})
            return
        refusal = REFUSALS.get(reason, REFUSALS["unknown"])
        exchange.answer(refusal.status, page(refusal, self._portal, why), headers=HEADERS)

    @cached_property
    def _portal(self) -> str | None:
        try:
            return Identity.load(self._config.state_dir).answer.master.url
        except NotFound:
            return None


def _way(name: str, row: InstanceRow) -> Way | None:
    """A way by name: the instance's own with its options, another with none."""
    if name == row.access.way:
        return row.access
    kind = ways().get(name)
    return kind.model_validate({"way": name}) if kind is not None else None


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
