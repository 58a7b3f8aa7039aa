"""`/v2/_openraas/arriving`: for boxes that fetch the same image at the same time (an extension as the distribution
specification has them, "Extensions").

It tells which chunks of a ticket's blobs are here by now, and gives ranges of them, before the blobs are whole.
Only chunks that were verified one by one are given: nobody can tell who spoilt the others.
"""

from __future__ import annotations

from common.oci.store import BlobUnknown, ContentStore
from common.signing import Verifier
from common.tickets import BadTicket, LayerTicket, TicketChecker
from common.words import is_digest
from workers.box.config import BoxConfig, BoxPaths
from workers.box.front import Exchange
from workers.box.shut_out import ShutOut
from workers.box.table import Table
from workers.depository.access import bearer
from workers.depository.asking import PEER_PATH
from workers.depository.bandwidth import outgoing
from workers.depository.errors import RegistryError
from workers.depository.fetcher import shared_fetcher
from workers.depository.holdings import Holdings
from workers.depository.http_ranges import parse_range
from workers.depository.sending import Part, send


class ArrivingRoute:
    """The route. `accel`: nginx stands in front and sends the bytes."""

    prefix = PEER_PATH

    def __init__(
        self, config: BoxConfig, paths: BoxPaths, table: Table, verifier: Verifier, *, accel: bool = True
    ) -> None:
        self._accel = accel
        self._bandwidth = outgoing(config, table)
        self._checker = TicketChecker(verifier, ShutOut(paths))
        self._fetcher = shared_fetcher(config, paths, table)
        self._holdings = Holdings(table, ContentStore(paths.store))

    def handle(self, exchange: Exchange) -> None:
        """GET what is here, or a range of one blob."""
        try:
            ticket = self._ticket(exchange)
            digest = exchange.path.removeprefix(PEER_PATH).removeprefix("/")
            if exchange.method != "GET":
                raise RegistryError(405, "UNSUPPORTED", f"{exchange.method} is not answered here.")
            if not digest:
                exchange.answer_json(200, {"chunks": self._chunks(ticket)})
            elif is_digest(digest) and digest in ticket.blobs:
                self._give(exchange, digest)
            else:
                raise RegistryError(404, "BLOB_UNKNOWN", "The ticket is for other blobs.")
        except RegistryError as error:
            if exchange.answered:
                raise ConnectionError(str(error)) from error
            exchange.answer_json(error.http_status, error.as_json(), headers=error.headers)

    def _ticket(self, exchange: Exchange) -> LayerTicket:
        try:
            return self._checker.check(bearer(exchange) or "", LayerTicket)
        except BadTicket as error:
            raise RegistryError(401, "UNAUTHORIZED", str(error)) from error

    def _chunks(self, ticket: LayerTicket) -> dict[str, str | None]:
        """By digest a bit for each chunk, lowest first, in hexadecimal; null: the whole blob."""
        arriving = self._fetcher.arriving(ticket.blobs)
        chunks: dict[str, str | None] = {digest: there.hex() for digest, there in arriving.items()}
        held = ticket.blobs - set(self._holdings.missing(ticket.blobs))
        return {**chunks, **dict.fromkeys(held)}

    def _give(self, exchange: Exchange, digest: str) -> None:
        asked = exchange.headers.get("Range")
        arrived = self._fetcher.arrived(digest)
        if arrived is not None:
            part = parse_range(asked, arrived.size_bytes)
            if part is not None and arrived.ranges.has(part):
                place = f"/_arriving/{arrived.partial.path.name}"
                with_ = Part(arrived.partial.file, part, arrived.size_bytes, place if self._accel else None)
                send(exchange, with_, self._bandwidth)
                return
        blob = self._holdings.find(digest)
        if blob is None:
            raise RegistryError(404, "BLOB_UNKNOWN", f"These bytes of {digest} are not here yet.")
        self._holdings.touch([digest])
        place = f"/_store/sha256/{digest.removeprefix('sha256:')}"
        try:
            with self._holdings.store.open(digest) as file:
                part = parse_range(asked, blob.size_bytes)
                send(
                    exchange,
                    Part(file, part, blob.size_bytes, place if self._accel else None),
                    self._bandwidth,
                )
        except BlobUnknown as error:
            raise RegistryError(404, "BLOB_UNKNOWN", str(error)) from error
