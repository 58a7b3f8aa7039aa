"""Who may read what an instance prints and uses: whoever has the master's ticket for that instance."""

from __future__ import annotations

from common.errors import Forbidden
from common.tickets import BadTicket, LogsTicket, TicketChecker
from workers.box.front import Exchange


def instance_ticket(exchange: Exchange, tickets: TicketChecker, prefix: str) -> LogsTicket:
    """The bearer token's ticket for the instance behind `prefix`. Raises BadTicket, Forbidden."""
    kind, _, token = exchange.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise BadTicket("This needs a ticket for the instance's output as bearer token.")
    ticket = tickets.check(token.strip(), LogsTicket)
    if ticket.instance != exchange.path.removeprefix(prefix):
        raise Forbidden("This ticket is for another instance.")
    return ticket
