"""In which order those who wait are served: a pure, total, deterministic function.

Whoever is overdue comes first, the longest waiting before the others, so that nobody starves. Then the priority
classes. Within a class people share by dominant resource fairness: next is always the person whose share of the
resource of which they hold most is the smallest (Ghodsi et al., "Dominant Resource Fairness", NSDI 2011, section
4.1, algorithm 1), and of that person's requests the one that has waited longest.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

Row = tuple[float, float, float, float, float]
NOTHING: Row = (0.0, 0.0, 0.0, 0.0, 0.0)


class Priority(StrEnum):
    """A class of requests; a higher one is served first."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


_RANK = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}


@dataclass(frozen=True)
class Waiting:
    """One instance that waits: whose it is, since when (Unix time), what it wants."""

    instance: str
    person: str
    asked_at: float
    amounts: Row = NOTHING
    priority: Priority = Priority.NORMAL


def dominant_share(held: Row, capacity: Row) -> float:
    """The largest of a person's shares of the fleet; what the fleet has none of does not count."""
    return max((part / whole for part, whole in zip(held, capacity, strict=True) if whole > 0), default=0.0)


def fair_order(
    waiting: Iterable[Waiting],
    held: Mapping[str, Row],
    capacity: Row,
    *,
    now: float,
    overdue_s: float,
) -> list[Waiting]:
    """All that wait, in the order in which they are to be served.

    `held` is what each person's instances hold now, `capacity` what the whole fleet has. Whoever has waited for
    `overdue_s` is overdue.
    """
    holds = defaultdict(lambda: NOTHING, held)
    overdue: list[Waiting] = []
    classes: dict[int, list[Waiting]] = defaultdict(list)
    for item in sorted(waiting, key=_age):
        if now - item.asked_at >= overdue_s:
            overdue.append(item)
        else:
            classes[_RANK[item.priority]].append(item)
    for item in overdue:
        holds[item.person] = _plus(holds[item.person], item.amounts)
    ordered = overdue
    for rank in sorted(classes):
        ordered += _fill(classes[rank], holds, capacity)
    return ordered


def _fill(waiting: list[Waiting], holds: dict[str, Row], capacity: Row) -> list[Waiting]:
    """Progressive filling. `waiting` comes longest first; `holds` grows by what is given."""
    queues: dict[str, list[Waiting]] = defaultdict(list)
    for item in reversed(waiting):
        queues[item.person].append(item)
    # A person is on the heap once, so the share there is always the present one.
    heap = [(dominant_share(holds[who], capacity), _age(items[-1]), who) for who, items in queues.items()]
    heapq.heapify(heap)
    ordered = []
    while heap:
        _, _, who = heapq.heappop(heap)
        item = queues[who].pop()
        ordered.append(item)
        holds[who] = _plus(holds[who], item.amounts)
        if queues[who]:
            heapq.heappush(heap, (dominant_share(holds[who], capacity), _age(queues[who][-1]), who))
    return ordered


def _age(item: Waiting) -> tuple[float, str]:
    return (item.asked_at, item.instance)


def _plus(one: Row, other: Row) -> Row:
    return (
        one[0] + other[0],
        one[1] + other[1],
        one[2] + other[2],
        one[3] + other[3],
        one[4] + other[4],
    )
