"""`/_openraas/logs/<instance>`: what an instance prints, for the master on behalf of its owner."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator

from common.errors import BadInput, Conflict, NotFound, Unavailable
from common.hangup import HangUp
from common.output import DEFAULT_LINES, MOST_LINES
from common.signing import Verifier
from common.tickets import LogsTicket, TicketChecker
from workers.box.config import BoxConfig, BoxPaths
from workers.box.front import Exchange
from workers.box.table import Table
from workers.compute.instance_ticket import instance_ticket
from workers.compute.instances import LIVE, Instances
from workers.compute.log_files import KEPT_FILES, last_lines, log_path
from workers.compute.log_source import LiveOutput, open_output
from workers.compute.sockets import usual_sockets

HEADERS = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}


class LogRoute:
    """The front's route for output: from the engine while the container is there, then from the kept file."""

    prefix = "/_openraas/logs/"

    def __init__(self, config: BoxConfig, paths: BoxPaths, table: Table, verifier: Verifier) -> None:
        engine = config.with_engine().engine_url
        self._engines = [engine] if engine else usual_sockets()
        self._timeout_s = config.engine_timeout_s
        self._files = paths.logs / "instances"
        self._instances = Instances(table)
        self._tickets = TicketChecker(verifier)
        self._readers = threading.BoundedSemaphore(config.log_readers)

    def handle(self, exchange: Exchange) -> None:
        """GET with a LogsTicket as bearer token; `tail` lines, and with `follow=1` what comes after them."""
        if exchange.method != "GET":
            raise BadInput("Output is read with GET.", field="method")
        ticket = instance_ticket(exchange, self._tickets, self.prefix)
        lines = _lines(exchange.query.get("tail", str(DEFAULT_LINES)))
        follow = exchange.query.get("follow", "0") in ("1", "true")
        if not self._readers.acquire(blocking=False):
            raise Unavailable(
                "Too many people read output on this box.",
                remedy="Try again in a moment, or without following.",
            )
        try:
            self._answer(exchange, ticket, lines, follow=follow)
        finally:
            self._readers.release()

    def _answer(self, exchange: Exchange, ticket: LogsTicket, lines: int, *, follow: bool) -> None:
        row = self._instances.get(ticket.instance)
        is_current = row is not None and row.generation == ticket.generation
        if row is not None and is_current and row.container is not None:
            output = open_output(
                self._engines, row.container, lines=lines, follow=follow, timeout_s=self._timeout_s
            )
            if output is not None:
                _send(exchange, output, limit_s=ticket.expires_at - time.time())
                return
        try:
            kept = log_path(self._files, ticket.instance, ticket.generation).read_bytes()
        except FileNotFoundError as error:
            if row is not None and is_current and row.state in LIVE:
                raise Conflict(
                    f"Instance {ticket.instance} has no container yet.", remedy="Wait until it runs."
                ) from error
            raise NotFound(
                f"Nothing that instance {ticket.instance} printed was kept on this box.",
                remedy=f"The last {KEPT_FILES} starts are kept: start it again to see what it prints.",
            ) from error
        exchange.answer(http.client.OK, last_lines(kept, lines), headers=HEADERS)


def _send(exchange: Exchange, output: LiveOutput, *, limit_s: float) -> None:
    """Pass the output on until it ends, the ticket's time is over or nobody listens any more."""
    try:
        with HangUp(output.socket, exchange.connection, limit_s=limit_s) as hangup:
            exchange.stream(http.client.OK, _until(output, hangup), headers=HEADERS)
    finally:
        output.close()


def _until(output: LiveOutput, hangup: HangUp) -> Iterator[bytes]:
    try:
        yield from output.pieces()
    except (OSError, http.client.HTTPException) as error:
        if not hangup.happened:
            raise ConnectionError(f"the engine broke off ({error})") from error


def _lines(text: str) -> int:
    if not text.isdecimal() or int(text) > MOST_LINES:
        raise BadInput(f"tail: expected a number of lines up to {MOST_LINES}.", field="tail")
    return int(text)
