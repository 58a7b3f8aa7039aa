"""What other boxes say of a box that serves layers: who got bad bytes from it lately.

One accuser proves nothing, since it may be the one that lies. A box that several accuse is not named as a source
while there is another.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import redis

from common.logs import get_logger
from common.names import lied_key

log = get_logger(__name__)

# After so long without a new accusation a box is as good as any other.
REMEMBERED_S = 86400
# So many boxes have to agree.
ACCUSERS = 2


def accuse(client: redis.Redis, boxes: Iterable[str], *, by: str) -> None:
    """`by` got bad bytes from these boxes."""
    now = time.time()
    for box in boxes:
        log.warning("box accused of bad bytes", accused=box, by=by)
        client.hset(lied_key(box), by, str(now))
        client.expire(lied_key(box), REMEMBERED_S)


def accusers(client: redis.Redis, box: str) -> list[str]:
    """Who got bad bytes from the box within the last day."""
    since = time.time() - REMEMBERED_S
    return sorted(str(by) for by, at in client.hgetall(lied_key(box)).items() if float(at) >= since)


def accused(client: redis.Redis, boxes: Iterable[str]) -> frozenset[str]:
    """Those of the boxes that several accuse."""
    names = sorted(set(boxes))
    with client.pipeline(transaction=False) as pipe:
        for box in names:
            pipe.hvals(lied_key(box))
        answers = pipe.execute()
    since = time.time() - REMEMBERED_S
    lately = {box: sum(float(at) >= since for at in times) for box, times in zip(names, answers, strict=True)}
    return frozenset(box for box, count in lately.items() if count >= ACCUSERS)


def trusted(boxes: Iterable[str], bad: frozenset[str]) -> list[str]:
    """These boxes without those that several accuse; all of them if nobody else is left."""
    named = list(boxes)
    return [box for box in named if box not in bad] or named
