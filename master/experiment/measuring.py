"""From the timeline of an instance to the steps of its start, as the simulator counts them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from master.simulation.record import STEPS


@dataclass(frozen=True)
class Start:
    """What the steps of one start took (seconds, in the order of STEPS), and where."""

    task: str
    asked_s: float  # since the first request of all
    box: str
    steps_s: tuple[float, ...]

    @property
    def start_s(self) -> float:
        """From asking to running."""
        return sum(self.steps_s)

    def step(self, name: str) -> float:
        """One of them."""
        return self.steps_s[STEPS.index(name)]


def steps_of(timeline: Sequence[Mapping[str, Any]], asked_at: float) -> tuple[float, ...] | None:
    """Seconds by step, one after the other, from `asked_at` (Unix time) to running; none if it never ran.

    What goes on at the same time counts where it was waited for: files that are mounted while layers come cost
    nothing, and what the engine unpacks while bytes come belongs to the transfer.
    """
    running = next((row for row in timeline if row["step"] == "running"), None)
    if running is None:
        return None
    rows = {
        row["step"]: row
        for row in timeline
        if row["generation"] == running["generation"] and row["at"] <= running["at"]
    }
    placed = rows["placed"]["at"]
    began, complete, there = _image(rows)
    mounted = max(there, rows["mount"]["at"]) if "mount" in rows else there
    moments = [asked_at, placed, began, complete, there, mounted, running["at"]]
    for at in range(1, len(moments)):  # clocks of several processes may differ by a hair
        moments[at] = max(moments[at], moments[at - 1])
    return tuple(moments[at + 1] - moments[at] for at in range(len(STEPS)))


def _image(rows: Mapping[str, Mapping[str, Any]]) -> tuple[float, float, float]:
    """When the box had begun, had all layers, and had them unpacked."""
    if "fetch" not in rows:
        at = rows.get("network", rows.get("preparing", rows["placed"]))["at"]
        return at, at, at
    fetch = rows["fetch"]
    unpack = rows.get("unpack", fetch)
    return fetch["at"] - fetch["took_s"], fetch["at"], unpack["at"]
