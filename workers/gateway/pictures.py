"""`/_openraas/pictures/<instance>`: what a screen shows now, small, for those whom the master lets look at it."""

from __future__ import annotations

import http.client

from common.errors import BadInput, Forbidden, NotFound
from common.signing import Verifier
from common.tickets import PictureTicket, TicketChecker
from workers.box.config import BoxConfig, BoxPaths
from workers.box.front import Exchange
from workers.box.table import Table
from workers.compute.instances import Instances, Stage
from workers.gateway.desktop.screens import Screens

HEADERS = {
    "Content-Type": "image/png",
    "Cache-Control": "no-store",
    # The page that shows it is the portal's, of another origin.
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
}


class PictureRoute:
    """The front's route for small pictures. Nothing is taken while nobody looks."""

    prefix = "/_openraas/pictures/"

    def __init__(self, config: BoxConfig, paths: BoxPaths, table: Table, verifier: Verifier) -> None:  # noqa: ARG002
        self._instances = Instances(table)
        self._tickets = TicketChecker(verifier)
        self._screens = Screens(config.state_dir)

    def handle(self, exchange: Exchange) -> None:
        """GET with a PictureTicket as `ticket`: an `<img>` sends no headers."""
        if exchange.method != "GET":
            raise BadInput("A picture is read with GET.", field="method")
        ticket = self._tickets.check(exchange.query.get("ticket", ""), PictureTicket)
        if ticket.instance != exchange.path.removeprefix(self.prefix):
            raise Forbidden("This ticket is for another instance.")
        row = self._instances.get(ticket.instance)
        if row is None or row.generation != ticket.generation or row.state is not Stage.RUNNING:
            raise NotFound("This instance does not run here now.")
        if not row.access.has_picture:
            raise NotFound("This instance has no screen.")
        exchange.answer(http.client.OK, self._screens.small_picture(row), headers=HEADERS)
