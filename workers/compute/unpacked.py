"""Images as they lie unpacked in the engine: what they take, when they were last used, and their end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from common.wishes import ImageSource
from workers.box.lent_space import ENGINE, LentSpace
from workers.box.table import Table
from workers.compute.engine import Engine, StoredImage
from workers.depository.eviction import Unpacked
from workers.depository.holdings import TOUCH_EVERY_S, Holdings

_SCHEMA = "CREATE TABLE IF NOT EXISTS unpacked (manifest TEXT PRIMARY KEY, used_at REAL NOT NULL)"


class UnpackedImages:
    """The engine's images that came through this box's loopback port. Methods raise EngineError."""

    def __init__(
        self, engine: Engine, table: Table, holdings: Holdings, space: LentSpace, *, registry: str
    ) -> None:
        self._engine = engine
        self._table = table
        self._holdings = holdings
        self._space = space
        self._registry = registry
        self._noted: dict[str, float] = {}
        self._lock = threading.Lock()
        self.on_removed: Callable[[str], None] = lambda _: None
        table.create(_SCHEMA)

    def used(self, image: ImageSource) -> None:
        """A launch uses the image: reset its timer and those of its blobs."""
        now = time.time()
        with self._lock:
            if self._noted.get(image.manifest, 0.0) > now - TOUCH_EVERY_S:
                return
            self._noted[image.manifest] = now
        self._note(image.manifest, now)
        self._holdings.touch(blob.digest for blob in image.blobs)

    def _note(self, manifest: str, at: float) -> None:
        self._table.write("INSERT OR REPLACE INTO unpacked VALUES (?, ?)", (manifest, at))

    def measure(self, keepers: dict[str, str]) -> list[Unpacked]:
        """See `workers.box.role.EngineImages`. What all take together is noted for the box's status."""
        stored = self._engine.images(self._registry)
        layers = {layer.key: layer.size_bytes for image in stored for layer in image.layers}
        self._space.note(ENGINE, sum(layers.values()))
        timers = {row["manifest"]: row["used_at"] for row in self._table.all("SELECT * FROM unpacked")}
        return [self._unpacked(image, keepers, timers) for image in stored]

    def _unpacked(self, image: StoredImage, keepers: dict[str, str], timers: dict[str, float]) -> Unpacked:
        manifests = [name.partition("@")[2] for name in image.names]
        known = [timers[manifest] for manifest in manifests if manifest in timers]
        if not known:  # it was there before this table: its timer starts now
            known = [time.time()]
            self._note(manifests[0], known[0])
        return Unpacked(
            name=image.id,
            layers={layer.key: layer.size_bytes for layer in image.layers},
            used_at=max(known),
            keeper=next((keepers[manifest] for manifest in manifests if manifest in keepers), ""),
        )

    def remove(self, name: str) -> None:
        """See `workers.box.role.EngineImages`."""
        for image in self._engine.images(self._registry):
            if image.id != name:
                continue
            for reference in image.names:
                manifest = reference.partition("@")[2]
                self.on_removed(manifest)
                if self._engine.remove_image(reference):
                    self._table.write("DELETE FROM unpacked WHERE manifest = ?", (manifest,))
