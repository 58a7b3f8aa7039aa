"""Sums over a run: bytes by what they were and whose they were, work by kind of box, and what was broken."""

from __future__ import annotations

from collections import Counter, defaultdict

from master.simulation.world import KINDS, World

RESOURCES = ("compute", "disk", "link")


class Tally:
    """Grows while a run goes on."""

    def __init__(self, world: World) -> None:
        self._kind = world.boxes.kind
        self.bytes: defaultdict[tuple[str, str], float] = defaultdict(
            float
        )  # (what, kind of source) → bytes that arrived whole
        self.cut_bytes = 0.0  # carried by transfers that were given up
        # Resource → kind → amount × seconds that workers offered, and that was used of it.
        self.offered = {name: defaultdict[str, float](float) for name in RESOURCES}
        self.used = {name: defaultdict[str, float](float) for name in RESOURCES}
        self.worker_slots: Counter[str] = Counter()
        self.broken: Counter[int] = Counter()  # box → instances that its leaving broke
        self.copies_made = 0
        self.public_kept = 0  # files that were not sent because the filestore had them
        self.complete = 0  # storage tasks whose files all arrived

    def kind(self, row: int) -> str:
        """The kind of a box."""
        return KINDS[int(self._kind[row])]

    def carried(self, what: str, source: int, size_bytes: float) -> None:
        """Bytes have arrived from a box."""
        self.bytes[what, self.kind(source)] += size_bytes
