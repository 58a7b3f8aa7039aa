"""Fetches images from registries elsewhere, once for the whole site.

A blob is a file under the store's `ingest/` while it arrives, named by its digest, so that the next try, after a
broken line or a restart, goes on from there; it is kept once its sha256 matches.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import OpenRaaSError
from common.images import DescribedImage
from common.logs import get_logger
from common.oci.digest import BadDigest, digest_of
from common.oci.manifests import Descriptor, Manifest, parse
from common.oci.remote import parse_remote
from common.reports import Failed, Mirrored, MirrorProgress, Report
from common.wishes import MirrorWish
from common.words import is_digest
from workers.box.jobs import Lane
from workers.box.role import BoxContext
from workers.box.room import NoRoom
from workers.depository.described import describe
from workers.depository.errors import Cancelled, TransferError
from workers.depository.holdings import Holdings
from workers.depository.living import living
from workers.depository.upload import PUSH_PIN_S

if TYPE_CHECKING:
    from workers.depository.upstream import Upstream

log = get_logger(__name__)

# A blob is asked for again so often without a byte in between; the pause doubles from one time to the next.
TRIES = 5
PAUSE_S = 1.0
# How often the master is told how far it is, and the wish is looked at.
TELL_EVERY_S = 2.0
# What is here already is pinned anew so often, long before its pin ends.
PIN_AGAIN_S = PUSH_PIN_S / 2
# What has ended is told again after this, until the wish is gone.
REPEAT_S = 10.0


TakeRoom = Callable[[str, Mapping[str, int]], AbstractContextManager[None]]


class Mirroring:
    """The MirrorWishes of one box. `take_room` keeps room for blobs (digest → bytes) while they are fetched."""

    def __init__(self, context: BoxContext, holdings: Holdings, take_room: TakeRoom) -> None:
        self._context = context
        self._holdings = holdings
        self._take_room = take_room
        self._lock = threading.Lock()
        self._ended: dict[str, tuple[Report, float]] = {}

    def converge(self, wish: MirrorWish) -> None:
        """Start to fetch, or tell again how it ended."""
        if wish.wanted != "mirrored":
            return
        with self._lock:
            ended = self._ended.get(wish.subject)
            if ended is not None and ended[1] <= time.monotonic():
                self._ended[wish.subject] = (ended[0], time.monotonic() + REPEAT_S)
                self._keep(ended[0])
                self._context.reporter.send(ended[0])
        key = ("mirror", wish.subject)
        if ended is None and not self._context.jobs.is_running(key):
            self._context.jobs.submit(Lane.LONG, key, lambda: self._run(wish))

    def _keep(self, report: Report) -> None:
        """Nothing of a mirrored image goes before the master has given it its name."""
        if isinstance(report, Mirrored):
            image = report.image
            blobs = {blob.digest for item in (image, *image.variants) for blob in item.blobs}
            self._holdings.pin(blobs, time.time() + PUSH_PIN_S)

    def forget(self, subject: str) -> None:
        """Nobody asks for it any more."""
        with self._lock:
            self._ended.pop(subject, None)

    def _run(self, wish: MirrorWish) -> None:
        if wish.subject in self._ended or self._context.wishes.is_stale(wish):
            return
        about = {"subject": wish.subject, "generation": wish.generation}
        try:
            report: Report = Mirrored(
                **about, image=_Fetch(self._context, self._holdings, wish, self._take_room).run()
            )
        except Cancelled:
            log.info("mirroring stopped", source=wish.source)
            return
        except (OpenRaaSError, OSError) as error:
            log.warning("image not mirrored", source=wish.source, error=str(error))
            reason = "no-room" if isinstance(error, NoRoom) else "no-source"
            report = Failed(**about, reason=reason, message=_sentence(error)[:1000])
        with self._lock:
            self._ended[wish.subject] = (report, time.monotonic() + REPEAT_S)
        self._context.reporter.send(report)


def _sentence(error: Exception) -> str:
    remedy = getattr(error, "remedy", None)
    return f"{error} {remedy}" if remedy and remedy not in str(error) else str(error)


class _Fetch:
    """One run of one wish."""

    def __init__(
        self, context: BoxContext, holdings: Holdings, wish: MirrorWish, take_room: TakeRoom
    ) -> None:
        self._context = context
        self._holdings = holdings
        self._wish = wish
        self._take_room = take_room
        self._remote = parse_remote(wish.source)
        self._size_bytes = self._done_bytes = 0
        self._told_at = 0.0
        self._pinned: set[str] = set()
        self._pinned_at = time.monotonic()

    def run(self) -> DescribedImage:
        """Fetch all that is missing. Raises TransferError, Cancelled, BadManifest."""
        from workers.depository.upstream import Upstream

        with Upstream(self._remote, self._credentials(), self._wish.ca) as upstream:
            top, manifest = self._manifest(upstream, self._remote.reference, None)
            images = self._images(upstream, manifest) if manifest.is_index else [(top, manifest)]
            self._fetch_blobs(upstream, [item for _, image in images for item in image.references])
        for data, image in [*images, *([(top, manifest)] if manifest.is_index else [])]:
            self._keep_manifest(data, image)
        return describe(self._holdings, top, manifest, self._wish.repository)

    def _credentials(self) -> tuple[str, str] | None:
        if self._wish.sealed is None:
            return None
        name, password = json.loads(self._context.seal_key.unseal(self._wish.sealed))
        return str(name), str(password)

    def _manifest(
        self, upstream: Upstream, reference: str, told: Descriptor | None
    ) -> tuple[bytes, Manifest]:
        data, media_type = upstream.manifest(reference)
        if is_digest(reference) and digest_of(data) != reference:
            raise TransferError(f"{self._remote.registry} gave another manifest than {reference}.")
        return data, parse(data, media_type if told is None else told.media_type)

    def _images(self, upstream: Upstream, index: Manifest) -> list[tuple[bytes, Manifest]]:
        """The images of the architectures that are wanted, and of no others."""
        wanted = self._wish.architectures
        chosen = [
            item
            for item in index.manifests
            if item.architecture != "unknown" and (not wanted or item.architecture in wanted)
        ]
        if not chosen:
            known = ", ".join(sorted({item.architecture for item in index.manifests} - {"unknown"}))
            raise TransferError(
                f"{self._remote} is for {known or 'no architecture'}, not for {', '.join(wanted)}.",
                remedy="Name what to fetch with --architecture.",
            )
        return [self._manifest(upstream, item.digest, item) for item in chosen]

    def _fetch_blobs(self, upstream: Upstream, items: list[Descriptor]) -> None:
        blobs = {item.digest: item for item in items}
        missing = [blobs[digest] for digest in self._holdings.missing(blobs)]
        self._size_bytes = sum(item.size_bytes for item in blobs.values())
        needed = sum(item.size_bytes for item in missing)
        self._done_bytes = self._size_bytes - needed
        self._pin([digest for digest in blobs if blobs[digest] not in missing])
        with self._take_room(self._wish.subject, {item.digest: item.size_bytes for item in missing}):
            for item in missing:
                self._fetch_blob(upstream, item)

    def _pin(self, digests: list[str]) -> None:
        """Keep what is here already, while the rest comes: a mirror may take hours."""
        self._holdings.link(self._wish.repository, digests)
        self._pinned.update(digests)
        self._holdings.pin(digests, time.time() + PUSH_PIN_S)

    def _pin_again(self, now: float) -> None:
        if now - self._pinned_at > PIN_AGAIN_S:
            self._pinned_at = now
            self._holdings.pin(self._pinned, time.time() + PUSH_PIN_S)

    def _fetch_blob(self, upstream: Upstream, item: Descriptor) -> None:
        path = self._holdings.store.ingest_path(f"{item.digest.removeprefix('sha256:')}.mirror")
        with living(path):
            self._done_bytes += min(path.stat().st_size, item.size_bytes)
            self._receive_all(upstream, item, path)
            try:
                measured = self._holdings.store.commit(path, item.digest)
            except BadDigest as error:
                path.unlink(missing_ok=True)
                raise TransferError(f"{self._remote.registry} gave a bad blob: {error}") from error
        self._holdings.add(measured, "", self._wish.repository)
        self._pin([item.digest])

    def _receive_all(self, upstream: Upstream, item: Descriptor, path: Path) -> None:
        from workers.depository.upstream import UpstreamBroke

        left, pause_s = TRIES, PAUSE_S
        while (had := path.stat().st_size) < item.size_bytes:
            try:
                self._receive(upstream, item, path, had)
                if path.stat().st_size < item.size_bytes:
                    raise UpstreamBroke(f"{self._remote.registry} ended blob {item.digest} early.")
            except UpstreamBroke as error:
                came_on = path.stat().st_size > had
                left, pause_s = (TRIES, PAUSE_S) if came_on else (left - 1, pause_s * 2)
                if not left:
                    raise
                log.info("mirroring goes on", source=self._wish.source, error=str(error))
                self._wait(pause_s)

    def _receive(self, upstream: Upstream, item: Descriptor, path: Path, had: int) -> None:
        with upstream.blob(item.digest, had) as (offset, pieces), path.open("r+b") as file:
            file.seek(offset)
            file.truncate()
            self._done_bytes -= had - offset
            for piece in pieces:
                if file.tell() + len(piece) > item.size_bytes:
                    raise TransferError(f"{self._remote.registry} sends more than blob {item.digest} has.")
                file.write(piece)
                self._done_bytes += len(piece)
                self._look_up()

    def _wait(self, pause_s: float) -> None:
        until = time.monotonic() + pause_s
        while (left := until - time.monotonic()) > 0:
            self._look_up()
            time.sleep(min(left, TELL_EVERY_S))

    def _look_up(self) -> None:
        """From time to time: is it still wanted, and how far is it? Raises Cancelled."""
        now = time.monotonic()
        if now - self._told_at < TELL_EVERY_S:
            return
        self._told_at = now
        self._pin_again(now)
        wish = self._wish
        if self._context.wishes.is_stale(wish):
            raise Cancelled(f"Nobody wants {self._remote} any more.")
        self._context.reporter.send(
            MirrorProgress(
                subject=wish.subject,
                generation=wish.generation,
                size_bytes=self._size_bytes,
                done_bytes=max(0, self._done_bytes),
            )
        )

    def _keep_manifest(self, data: bytes, manifest: Manifest) -> None:
        measured = self._holdings.store.put(data)
        self._holdings.add(measured, manifest.media_type, self._wish.repository)
        self._pin([measured.digest])
