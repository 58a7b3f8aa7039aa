"""Numbers of a start as pictures: positions and widths are percentages of the whole."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from pydantic import BaseModel, Field

from common.words import InstanceState
from master.deployments.presentation import InstanceView, TimelineView
from master.history.predicted import PREDICTED


class Bar(BaseModel):
    """A step of the start as a bar; positions are percentages of the whole."""

    step: str
    box: str | None
    left: float
    width: float
    began_s: float = Field(description="Seconds after a box was chosen.")
    took_s: float


MINIMUM_WIDTH = 0.6
PLACED = InstanceState.PLACED.value


@dataclass(frozen=True)
class Waterfall:
    """The steps of a start, each where it lay in time: what was done at once stands side by side."""

    bars: list[Bar]
    whole_s: float


def waterfall(instance: InstanceView, created_at: float) -> Waterfall:
    """The timed steps of the current generation's start."""
    rows = [row for row in instance.timeline if row.generation == instance.generation]
    ready = next((i for i, row in enumerate(rows) if row.state is InstanceState.RUNNING), None)
    if ready is not None:
        # The report that the instance runs may overtake that of its last step.
        rows = rows[: ready + 1] + [row for row in rows[ready + 1 :] if row.at <= rows[ready].at]
    timed = [row for row in rows if _takes_time(row)]
    if not timed:
        return Waterfall([], 0.0)
    # The time in which it waited for room says nothing of the start. Boxes' clocks differ a little: nothing begins
    # before a box was chosen.
    placed = next((row.at for row in rows if row.step == PLACED), None)
    begin = placed if placed is not None else created_at
    if placed is None and instance.generation > 1:
        begin = min(row.at - (row.took_s or 0) for row in timed)
    whole = max(max(row.at for row in timed) - begin, 1e-3)
    bars = [_bar(row, begin, whole) for row in timed]
    return Waterfall(sorted(bars, key=lambda bar: (bar.began_s, bar.began_s + bar.took_s)), whole)


def _takes_time(row: TimelineView) -> bool:
    return row.took_s is not None and row.state is not InstanceState.STOPPING and row.step != PREDICTED


def _bar(row: TimelineView, begin: float, whole: float) -> Bar:
    took = min(row.took_s or 0.0, whole)
    began = min(max(row.at - took - begin, 0.0), whole)
    width = min(max(100 * took / whole, MINIMUM_WIDTH), 100.0)
    left = min(100 * began / whole, 100 - width)
    return Bar(
        step=row.step, box=row.box, left=round(left, 2), width=round(width, 2), began_s=began, took_s=took
    )


@dataclass(frozen=True)
class Share:
    """What one box gave of the bytes that were fetched."""

    box: str
    size_bytes: int
    percent: int
    left: float
    width: float


def shares(instance: InstanceView) -> list[Share]:
    """Who gave how much of what the current generation fetched, the most first; empty if nothing was."""
    given: Counter[str] = Counter()
    for row in instance.timeline:
        if row.generation == instance.generation:
            given.update(row.sources)
    whole = sum(given.values())
    found: list[Share] = []
    for box, size_bytes in given.most_common() if whole else ():
        left = found[-1].left + found[-1].width if found else 0.0
        part = 100 * size_bytes / whole
        found.append(Share(box, size_bytes, round(part), round(left, 2), round(part, 2)))
    return found
