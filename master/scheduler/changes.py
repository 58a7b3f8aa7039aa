"""The stream `fleet:changes`: which box changed, and how, since somebody last looked.

Entries name a box. `held` are the sums of its reservations now; without it, status, layers or cordon are to be
read anew. Only the master writes here, so nothing in an entry has to be doubted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import redis

from common.names import CHANGES, EPOCH
from common.words import Resources
from master.scheduler.reservations import CHANGES_KEPT, read_sums

# Whoever is further behind reads the whole fleet, which is less work.
MOST_AT_ONCE = 2_000
BEGINNING = "0-0"


@dataclass(frozen=True)
class Changes:
    """What changed: boxes to read anew, and sums of reservations that are known. `gap`: something was missed."""

    last: str
    epoch: str
    gap: bool = False
    boxes: frozenset[str] = frozenset()
    held: dict[str, Resources] = field(default_factory=dict)


def tell(client: redis.Redis, boxes: Iterable[str]) -> None:
    """Say that these boxes are to be read anew. Raises redis.RedisError."""
    with client.pipeline(transaction=False) as pipe:
        for box in boxes:
            pipe.xadd(CHANGES, {"box": box}, maxlen=CHANGES_KEPT, approximate=True)
        pipe.execute()


def position(client: redis.Redis) -> tuple[str, str]:
    """The last entry's id and Redis's epoch now. Raises redis.RedisError."""
    with client.pipeline(transaction=False) as pipe:
        pipe.xrevrange(CHANGES, count=1)
        pipe.get(EPOCH)
        newest, epoch = pipe.execute()
    return (str(newest[0][0]) if newest else BEGINNING), str(epoch or "")


def read_since(client: redis.Redis, last: str, epoch: str) -> Changes:
    """What changed after the entry `last`, in one round trip. Raises redis.RedisError.

    An entry that was trimmed leaves no trace, so it counts as a gap when the last one that was seen is not there
    any more: in a stream that only loses its oldest entries, then something behind it may be gone too.
    """
    with client.pipeline(transaction=False) as pipe:
        pipe.get(EPOCH)
        pipe.xrange(CHANGES, count=1)
        pipe.xrange(CHANGES, min=f"({last}", count=MOST_AT_ONCE)
        now, oldest, entries = pipe.execute()
    trimmed = last != BEGINNING and (not oldest or _order(str(oldest[0][0])) > _order(last))
    if str(now or "") != epoch or trimmed or len(entries) >= MOST_AT_ONCE:
        return Changes(last, epoch, gap=True)
    boxes: set[str] = set()
    held: dict[str, Resources] = {}
    for _, fields in entries:
        if "held" in fields:
            held[str(fields["box"])] = read_sums(fields["held"])
        else:
            boxes.add(str(fields["box"]))
    newest = str(entries[-1][0]) if entries else last
    return Changes(newest, epoch, boxes=frozenset(boxes), held=held)


def _order(entry: str) -> tuple[int, int]:
    first, _, second = entry.partition("-")
    return int(first), int(second or 0)
