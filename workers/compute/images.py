"""Images into the engine: one pull per image, however many instances wait for it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from common.errors import OpenRaaSError
from common.images import UNPACKED_FACTOR
from common.logs import get_logger
from common.oci.digest import hex_of
from common.wishes import ImageSource
from workers.box.jobs import Lane
from workers.box.room import Kind, Share
from workers.compute.engine import Pull
from workers.compute.errors import ComputeError, EngineError, PullCancelled
from workers.compute.instances import InstanceRow
from workers.compute.launch import image_reference
from workers.compute.tools import Tools
from workers.compute.unpacked import UnpackedImages
from workers.depository.facts import TransferFacts
from workers.depository.holdings import Holdings
from workers.depository.pull import FIRST_LAYER

log = get_logger(__name__)

# By this name the fetcher knows that compute wants an image; a depository of this box may want it too.
USER = "compute"


@dataclass
class _Fetch:
    image: ImageSource
    pull: Pull
    waiting: dict[str, tuple[InstanceRow, float]] = field(default_factory=dict)


class Images:
    """Which images the engine has, and those on their way."""

    def __init__(self, tools: Tools, holdings: Holdings, unpacked: UnpackedImages) -> None:
        self._tools = tools
        self._holdings = holdings
        self._unpacked = unpacked
        unpacked.on_removed = self.lost
        self._lock = threading.Lock()
        self._present: set[str] = set()
        self._under_way: dict[str, _Fetch] = {}

    def reference(self, image: ImageSource) -> str:
        """What the engine calls the image."""
        return image_reference(image, self._tools.context.config.loopback_port)

    def shares(self, image: ImageSource) -> list[Share]:
        """The room that the layers take which are missing here: as blobs, and unpacked in the engine."""
        sizes = {blob.digest: blob.size_bytes for blob in image.blobs}
        missing = self._holdings.missing(sizes)
        if not missing or self._may_be_present(image):
            return []
        packed = [Share(hex_of(digest), sizes[digest], Kind.LAUNCH) for digest in missing]
        unpacked_bytes = [(item.what, round(item.size_bytes * UNPACKED_FACTOR)) for item in packed]
        return packed + [Share(f"unpacked-{what}", size, Kind.LAUNCH) for what, size in unpacked_bytes]

    def _may_be_present(self, image: ImageSource) -> bool:
        try:
            return self._is_present(image)
        except EngineError:
            return False  # it has to be asked again before the launch; that failure is the one to tell

    def have(self, image: ImageSource, row: InstanceRow) -> bool:
        """Whether the image is there; if not, it is fetched and the instance woken. Raises EngineError."""
        self._unpacked.used(image)
        if self._is_present(image):
            return True
        self._join(image, row)
        return False

    def _is_present(self, image: ImageSource) -> bool:
        with self._lock:
            if image.manifest in self._present:
                return True
            under_way = self._under_way.get(image.manifest)
        if under_way is not None or not self._tools.engine.has_image(self.reference(image)):
            return False
        with self._lock:
            self._present.add(image.manifest)
        return True

    def lost(self, digest: str) -> None:
        """The engine does not have it after all: somebody removed it."""
        with self._lock:
            self._present.discard(digest)

    def leave(self, instance: str) -> None:
        """The instance waits no more; a pull for which nobody waits is cancelled."""
        unwanted = []
        with self._lock:
            for digest, fetch in list(self._under_way.items()):
                if fetch.waiting.pop(instance, None) is not None and not fetch.waiting:
                    del self._under_way[digest]
                    unwanted.append(fetch)
        for fetch in unwanted:
            fetch.pull.cancel()

    def _join(self, image: ImageSource, row: InstanceRow) -> None:
        with self._lock:
            fetch = self._under_way.get(image.manifest)
            begun = fetch is not None
            if fetch is None:
                fetch = _Fetch(image, self._tools.engine.pull(self.reference(image)))
                self._under_way[image.manifest] = fetch
            fetch.waiting.setdefault(row.instance, (row, time.monotonic()))
            news = begun and fetch.image.fetching != image.fetching
            fetch.image = image
        if news:
            self._tools.context.jobs.submit(Lane.SHORT, ("peers", image.manifest), lambda: self._tell(image))
        if not begun:
            # A key of its own: a pull that was cancelled may still be winding down.
            key = ("fetch", image.manifest, id(fetch))
            self._tools.context.jobs.submit(Lane.LONG, key, lambda: self._run(fetch))

    def _run(self, fetch: _Fetch) -> None:
        image = fetch.image
        try:
            self._tools.layers.plan(image, USER)
            planned = time.monotonic()
            fetch.pull.wait()
            transfer = self._tools.layers.transfer(image.manifest)
        except PullCancelled:
            log.info("fetch cancelled", image=image.name)
            self._release(image)
        except OpenRaaSError as error:
            for row, _ in self._finish(fetch, present=False):
                reason = error.reason if isinstance(error, ComputeError) else "no-source"
                self._tools.instances.end(row, reason=reason, message=str(error))
                self._tools.wake(row.instance)
        else:
            rows = self._finish(fetch, present=True)
            self._tell_steps(fetch, rows, transfer, min(time.monotonic(), planned + transfer.took_s))
            for row, _ in rows:
                self._tools.wake(row.instance)
            self._settle([row for row, _ in rows])

    def _tell_steps(
        self, fetch: _Fetch, rows: list[tuple[InstanceRow, float]], transfer: TransferFacts, arrived: float
    ) -> None:
        """The bytes count once, for whoever asked first. What the engine did after the last of them is a step too."""
        sizes = {blob.digest: blob.size_bytes for blob in fetch.image.blobs[FIRST_LAYER:]}
        unpacked_bytes = sum(sizes[digest] for digest in fetch.pull.unpacked(sizes))
        for position, (row, since) in enumerate(rows):
            first = position == 0
            self._tools.step(row, "fetch", since, transfer if first else None, until=arrived)
            self._tools.step(row, "unpack", max(since, arrived), size_bytes=unpacked_bytes if first else 0)

    def _settle(self, rows: list[InstanceRow]) -> None:
        """What the engine really takes counts from now on, and no more what was promised for it."""
        try:
            self._unpacked.measure({})
        except EngineError as error:
            log.warning("engine's images not measured", error=str(error))
            return  # the promise stands until they are
        for row in rows:
            self._tools.room.release(row.instance, Kind.LAUNCH)

    def _tell(self, image: ImageSource) -> None:
        """Let the transfer know of boxes that have begun to fetch the same image."""
        try:
            self._tools.layers.plan(image, USER)
        except OpenRaaSError as error:
            log.warning("other boxes not asked", image=image.name, error=str(error))

    def _release(self, image: ImageSource) -> None:
        with self._lock:
            if image.manifest in self._under_way:
                return  # somebody wants it again
        try:
            self._tools.layers.cancel(image.manifest, USER)
        except OpenRaaSError as error:
            log.warning("transfer not cancelled", image=image.name, error=str(error))

    def _finish(self, fetch: _Fetch, *, present: bool) -> list[tuple[InstanceRow, float]]:
        digest = fetch.image.manifest
        with self._lock:
            if self._under_way.get(digest) is fetch:
                del self._under_way[digest]
            if present:
                self._present.add(digest)
            return list(fetch.waiting.values())
