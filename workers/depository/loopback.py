"""Where the box's own container engine pulls: `docker pull 127.0.0.1:PORT/<repository>@<digest>`.

Only images that were planned are served, from the store or from the running transfer, so that the engine unpacks
the first layer while the last is still on its way.
"""

from __future__ import annotations

from collections.abc import Mapping

from common.errors import NotFound
from common.logs import get_logger
from common.signing import Verifier
from workers.box.config import BoxConfig, BoxPaths
from workers.box.front import Exchange
from workers.box.table import Table
from workers.depository.addresses import Where, parse_path
from workers.depository.errors import RegistryError, TransferError
from workers.depository.fetcher import shared_fetcher
from workers.depository.http_ranges import parse_range

log = get_logger(__name__)


class Loopback:
    """The engine's registry."""

    prefix = "/v2/"

    def __init__(self, config: BoxConfig, paths: BoxPaths, table: Table, verifier: Verifier) -> None:  # noqa: ARG002
        self._fetcher = shared_fetcher(config, paths, table)

    def handle(self, exchange: Exchange) -> None:
        """GET and HEAD of planned manifests and blobs, by digest."""
        try:
            if exchange.method not in ("GET", "HEAD"):
                raise RegistryError(405, "UNSUPPORTED", "The engine's endpoint is for pulling only.")
            where = parse_path(exchange.path)
            if where.kind == "base":
                exchange.answer_json(200, {})
            else:
                self._send(exchange, where)
        except RegistryError as error:
            _refuse(exchange, error)

    def _send(self, exchange: Exchange, where: Where) -> None:
        if where.kind not in ("manifests", "blobs"):
            raise RegistryError(404, "UNSUPPORTED", "The engine's endpoint serves manifests and blobs.")
        try:
            pull, blob = self._fetcher.planned(where.repository, where.reference)
        except NotFound as error:
            code = "MANIFEST_UNKNOWN" if where.kind == "manifests" else "BLOB_UNKNOWN"
            raise RegistryError(404, code, str(error)) from error
        headers = {
            "Content-Type": blob.media_type if where.kind == "manifests" else "application/octet-stream",
            "Docker-Content-Digest": blob.digest,
            "Accept-Ranges": "bytes",
        }
        part = parse_range(exchange.headers.get("Range"), blob.size_bytes)
        if part is not None:
            headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{blob.size_bytes}"
        wanted = part if part is not None else range(blob.size_bytes)
        status = 200 if part is None else 206
        if exchange.method == "HEAD":
            exchange.answer(status, length=len(wanted), headers=headers)
            return
        try:
            for span in self._fetcher.spans(pull, blob, wanted.start, len(wanted)):
                if not exchange.answered:
                    exchange.begin(status, len(wanted), headers=headers)
                exchange.send_file(span.file, span.offset, span.length)
        except TransferError as error:
            log.warning(
                "the engine gets no blob", digest=blob.digest, image=pull.source.name, error=str(error)
            )
            # An engine takes DENIED as final and shows its message; anything else it would try five times.
            raise RegistryError(403, "DENIED", str(error)) from error


def _refuse(exchange: Exchange, error: RegistryError) -> None:
    if exchange.answered:
        raise ConnectionError(str(error))  # in the middle of a body only the end of the connection tells
    exchange.answer_json(error.http_status, error.as_json(), headers=_with_version(error.headers))


def _with_version(headers: Mapping[str, str]) -> dict[str, str]:
    return {"Docker-Distribution-Api-Version": "registry/2.0", **headers}
