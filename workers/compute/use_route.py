"""`/_openraas/use/<instance>`: what an instance uses now, for the master on behalf of its owner."""

from __future__ import annotations

import http.client

from common.errors import BadInput, NotFound
from common.signing import Verifier
from common.tickets import TicketChecker
from workers.box.config import BoxConfig, BoxPaths
from workers.box.front import Exchange
from workers.box.table import Table
from workers.compute.instance_ticket import instance_ticket
from workers.compute.instances import Instances
from workers.compute.sockets import usual_sockets
from workers.compute.use_source import read_use

HEADERS = {"Content-Type": "application/json", "Cache-Control": "no-store"}


class UseRoute:
    """The front's route for figures: asked of the engine each time, kept nowhere."""

    prefix = "/_openraas/use/"

    def __init__(self, config: BoxConfig, paths: BoxPaths, table: Table, verifier: Verifier) -> None:  # noqa: ARG002 - every route is made so
        engine = config.with_engine().engine_url
        self._engines = [engine] if engine else usual_sockets()
        self._timeout_s = config.engine_timeout_s
        self._instances = Instances(table)
        self._tickets = TicketChecker(verifier)

    def handle(self, exchange: Exchange) -> None:
        """GET with a LogsTicket as bearer token."""
        if exchange.method != "GET":
            raise BadInput("What an instance uses is read with GET.", field="method")
        ticket = instance_ticket(exchange, self._tickets, self.prefix)
        row = self._instances.get(ticket.instance)
        found = None
        if row is not None and row.generation == ticket.generation and row.container is not None:
            found = read_use(self._engines, row.container, timeout_s=self._timeout_s)
        if found is None:
            raise NotFound(f"Instance {ticket.instance} does not run here.", remedy="See what became of it.")
        exchange.answer(http.client.OK, found.model_dump_json().encode(), headers=HEADERS)
