"""`/v2/`: the box's blob server, as the OCI distribution specification 1.1 says.

Pulling works on every box that holds blobs, pushing only on depositories. Behind nginx the bytes of a blob are
sent by nginx (`X-Accel-Redirect`), ranges and all; this process only decides.
"""

from __future__ import annotations

from common.logs import get_logger
from common.oci.manifests import LIMIT_BYTES
from common.oci.store import BlobUnknown, ContentStore
from common.signing import Verifier
from common.tickets import LayerTicket, RepositoryTicket, TicketChecker
from common.words import Role, is_digest
from workers.box.config import BoxConfig, BoxPaths, Identity
from workers.box.front import Exchange
from workers.box.room import Room
from workers.box.shut_out import ShutOut
from workers.box.table import Table
from workers.depository.access import Access, bearer
from workers.depository.addresses import Where, parse_path
from workers.depository.bandwidth import outgoing
from workers.depository.errors import RegistryError
from workers.depository.holdings import Blob, Holdings
from workers.depository.http_ranges import parse_range
from workers.depository.listings import Listings
from workers.depository.pushed import PushedManifests
from workers.depository.referrers import Referrers
from workers.depository.sending import Part, send
from workers.depository.tags import TagClient
from workers.depository.upload import Uploads

log = get_logger(__name__)

_VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}
_READING = ("GET", "HEAD")


class Registry:
    """The route `/v2/`. `accel`: nginx stands in front and sends the bytes."""

    prefix = "/v2"

    def __init__(
        self, config: BoxConfig, paths: BoxPaths, table: Table, verifier: Verifier, *, accel: bool = True
    ) -> None:
        answer = Identity.load(config.state_dir).answer
        self._accel = accel
        self._bandwidth = outgoing(config, table)
        self._is_depository = Role.DEPOSITORY in config.roles
        self._offers = self._is_depository or config.offer_layers
        self._holdings = Holdings(table, ContentStore(paths.store))
        checker = TicketChecker(verifier, ShutOut(paths))
        self._access = Access(checker, box=config.box, realm=f"{answer.master.url}/v2/token")
        self._tags = TagClient(answer.master, authority=paths.authority)
        room = Room(config, paths, table)
        self._uploads = Uploads(table, self._holdings, room, idle_s=config.upload_timer_s)
        referrers = Referrers(table, self._holdings)
        self._pushed = PushedManifests(self._holdings, referrers, self._tags, box=config.box)
        self._listings = Listings(self._holdings, referrers, self._tags, self._access)

    def handle(self, exchange: Exchange) -> None:
        """Answer; errors have the specification's form."""
        try:
            where = parse_path(exchange.path)
            if where.kind == "uploads":
                self._upload(exchange, where)
            elif where.kind in ("base", "catalogue", "tags", "referrers"):
                self._listings.handle(exchange, where)
            elif where.kind == "blobs":
                self._blob(exchange, where)
            else:
                self._manifest(exchange, where)
        except RegistryError as error:
            if exchange.answered:
                raise
            exchange.answer_json(error.http_status, error.as_json(), headers={**_VERSION, **error.headers})

    def _upload(self, exchange: Exchange, where: Where) -> None:
        ticket = self._may_push(exchange, where)
        repository, upload = where.repository, where.reference
        match exchange.method, bool(upload):
            case "POST", False:
                if not self._mounted(exchange, repository, ticket):
                    self._uploads.start(exchange, repository)
            case "PATCH", True:
                self._uploads.append(exchange, repository, upload)
            case "PUT", True:
                self._uploads.finish(exchange, repository, upload)
            case "GET", True:
                self._uploads.status(exchange, repository, upload)
            case "DELETE", True:
                self._uploads.cancel(exchange, repository, upload)
            case _:
                raise _unsupported(exchange)

    def _may_push(self, exchange: Exchange, where: Where) -> RepositoryTicket | LayerTicket:
        ticket = self._access.check(exchange, where, "push")
        if not self._is_depository:
            raise RegistryError(405, "UNSUPPORTED", "This box is no depository: push to another one.")
        return ticket

    def _mounted(self, exchange: Exchange, repository: str, ticket: RepositoryTicket | LayerTicket) -> bool:
        """Take a blob over from another repository that the client may read ("Mounting a blob")."""
        digest, other = exchange.query.get("mount", ""), exchange.query.get("from", "")
        if not is_digest(digest) or not self._access.allows(ticket, other, "pull"):
            return False
        if self._holdings.find(digest, other) is None:
            return False
        self._holdings.link(repository, [digest])
        self._holdings.touch([digest])
        headers = {"Location": f"/v2/{repository}/blobs/{digest}", "Docker-Content-Digest": digest}
        exchange.answer(201, headers=headers)
        return True

    def _blob(self, exchange: Exchange, where: Where) -> None:
        if exchange.method == "DELETE":
            self._access.check(exchange, where, "delete")
            self._remove(exchange, where, "BLOB_UNKNOWN")
            return
        if exchange.method not in _READING:
            raise _unsupported(exchange)
        blob = self._find(exchange, where, "BLOB_UNKNOWN")
        self._holdings.touch([blob.digest])
        self._send(exchange, blob, "application/octet-stream")

    def _manifest(self, exchange: Exchange, where: Where) -> None:
        if exchange.method == "PUT":
            self._may_push(exchange, where)
            self._pushed.put(exchange, where, bearer(exchange) or "")
            return
        if exchange.method == "DELETE":
            self._access.check(exchange, where, "delete")
            self._untag(exchange, where)
            return
        if exchange.method not in _READING:
            raise _unsupported(exchange)
        if not is_digest(where.reference):
            self._access.check(exchange, where, "pull")
            digest = self._tags.find(where.repository, where.reference, bearer(exchange) or "")
            where = Where("manifests", where.repository, digest)
        blob = self._find(exchange, where, "MANIFEST_UNKNOWN")
        if blob.size_bytes > LIMIT_BYTES or not blob.media_type:
            raise RegistryError(404, "MANIFEST_UNKNOWN", f"{blob.digest} is not a manifest.")
        self._holdings.touch([blob.digest])
        content = self._holdings.store.read(blob.digest, LIMIT_BYTES)
        headers = {"Content-Type": blob.media_type, "Docker-Content-Digest": blob.digest, **_VERSION}
        exchange.answer(200, content, headers=headers)

    def _find(self, exchange: Exchange, where: Where, code: str) -> Blob:
        ticket = self._access.check(exchange, where, "pull")
        if not self._offers:
            raise RegistryError(
                403, "DENIED", "The owner of this box does not lend its layers (offer_layers)."
            )
        # A LayerTicket names the blobs themselves; everybody else reads within a repository.
        repository = None if isinstance(ticket, LayerTicket) else where.repository
        blob = self._holdings.find(where.reference, repository)
        if blob is None:
            raise RegistryError(404, code, f"{where.repository} has no {where.reference} on this box.")
        return blob

    def _untag(self, exchange: Exchange, where: Where) -> None:
        """Tags are the master's: a manifest goes with all its tags, as clients expect ("Deleting Manifests")."""
        if not is_digest(where.reference):
            self._tags.remove(where.repository, where.reference, bearer(exchange) or "")
            exchange.answer(202)
            return
        self._check_here(where, "MANIFEST_UNKNOWN")
        self._tags.remove(where.repository, where.reference, bearer(exchange) or "")
        self._remove(exchange, where, "MANIFEST_UNKNOWN")

    def _check_here(self, where: Where, code: str) -> None:
        if self._holdings.find(where.reference, where.repository) is None:
            raise RegistryError(404, code, f"{where.repository} has no {where.reference} on this box.")

    def _remove(self, exchange: Exchange, where: Where, code: str) -> None:
        self._check_here(where, code)
        self._holdings.unlink(where.repository, where.reference)
        exchange.answer(202)

    def _send(self, exchange: Exchange, blob: Blob, content_type: str) -> None:
        headers = {"Content-Type": content_type, "Docker-Content-Digest": blob.digest, **_VERSION}
        if exchange.method == "HEAD":
            exchange.answer(200, length=blob.size_bytes, headers={**headers, "Accept-Ranges": "bytes"})
            return
        place = f"/_store/sha256/{blob.digest.removeprefix('sha256:')}" if self._accel else None
        try:
            file = self._holdings.store.open(blob.digest)
        except BlobUnknown as error:
            raise RegistryError(404, "BLOB_UNKNOWN", str(error)) from error
        with file:
            wanted = parse_range(exchange.headers.get("Range"), blob.size_bytes)
            send(exchange, Part(file, wanted, blob.size_bytes, place), self._bandwidth, headers)


def _unsupported(exchange: Exchange) -> RegistryError:
    return RegistryError(405, "UNSUPPORTED", f"{exchange.method} is not answered here.")
