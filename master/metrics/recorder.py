"""Takes samples of all boxes while the platform runs: the last hour into Redis, means of it into SQL.

Every ten seconds of a month would be 260,000 rows for each box, of which nobody looks at more than the last hour. So
these live in Redis in rings of a fixed length; every five minutes their means are written to SQL in one transaction,
and every hour the means of those. A wiped Redis costs the fine picture of the last hour and nothing else. What a box
costs is bounded: 360 samples in Redis and about 2,700 rows in SQL.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import redis
from sqlalchemy import delete, func, insert, select

from common.logs import get_logger
from common.names import samples_key
from master.boxes.models import Box
from master.boxes.services import statuses_of
from master.context import MasterContext
from master.metrics.models import BoxSample
from master.metrics.samples import Sample, mean, pack, sample_of, unpack

log = get_logger(__name__)

FINE_S, MIDDLE_S, COARSE_S = 10, 300, 3600
FINE_KEPT = 3600 // FINE_S
KEPT_S = {MIDDLE_S: 7 * 86400, COARSE_S: 31 * 86400}


class Recorder:
    """Called in each round of the reconciler, whose lock keeps two from recording at once.

    What another process recorded meanwhile is seen in SQL.
    """

    def __init__(self, context: MasterContext) -> None:
        self._context = context
        self._redis = context.redis
        self._fine_at = 0
        self._done: dict[int, int] = {}

    def run(self, now: float | None = None) -> None:
        """Take a sample if one is due, and write the means of what is complete. Raises redis.RedisError."""
        moment = int(time.time() if now is None else now)
        fine = moment // FINE_S * FINE_S
        if fine <= self._fine_at:
            return
        self._fine_at = fine
        boxes = self._take(fine)
        for step_s in (MIDDLE_S, COARSE_S):
            begin = moment // step_s * step_s - step_s
            if begin > self._done.get(step_s, 0):
                if begin > self._newest(step_s):
                    self._write(step_s, begin, boxes)
                self._done[step_s] = begin

    def _take(self, at: int) -> list[str]:
        """Read all boxes once and push what they say onto their rings."""
        with self._context.database.read() as session:
            rows = session.execute(select(Box.id, Box.cordoned).where(Box.removed_at.is_(None)))
            cordoned: dict[str, bool] = {box: is_cordoned for box, is_cordoned in rows}  # noqa: C416
        pipe = self._redis.pipeline(transaction=False)
        for box, status in statuses_of(self._redis, cordoned).items():
            key = samples_key(box)
            pipe.rpush(key, pack(sample_of(status, at, cordoned=cordoned[box])))
            pipe.ltrim(key, -FINE_KEPT, -1)
            pipe.expire(key, 2 * FINE_KEPT * FINE_S)
        pipe.execute()
        return sorted(cordoned)

    def _newest(self, step_s: int) -> int:
        """The newest mean that is there, whoever wrote it: another process, or this one before a restart."""
        with self._context.database.read() as session:
            return session.scalar(select(func.max(BoxSample.at)).where(BoxSample.step_s == step_s)) or 0

    def _write(self, step_s: int, begin: int, boxes: Sequence[str]) -> None:
        made = self._middle(begin, boxes) if step_s == MIDDLE_S else self._coarse(begin)
        rows = [{"box_id": box, "step_s": step_s, **vars(sample)} for box, sample in made.items()]
        with self._context.database.write() as session:
            if rows:
                session.execute(insert(BoxSample), rows)
            old = begin - KEPT_S[step_s]
            session.execute(delete(BoxSample).where(BoxSample.step_s == step_s, BoxSample.at < old))

    def _middle(self, begin: int, boxes: Sequence[str]) -> dict[str, Sample]:
        pipe = self._redis.pipeline(transaction=False)
        for box in boxes:
            pipe.lrange(samples_key(box), -2 * MIDDLE_S // FINE_S, -1)
        made = {}
        for box, texts in zip(boxes, pipe.execute(), strict=True):
            inside = [item for item in map(unpack, texts) if begin <= item.at < begin + MIDDLE_S]
            if inside:
                made[box] = mean(inside, begin, expected=MIDDLE_S / FINE_S)
        return made

    def _coarse(self, begin: int) -> dict[str, Sample]:
        with self._context.database.read() as session:
            inside = (BoxSample.step_s == MIDDLE_S, BoxSample.at >= begin, BoxSample.at < begin + COARSE_S)
            found: dict[str, list[Sample]] = {}
            for row in session.scalars(select(BoxSample).where(*inside)):
                found.setdefault(row.box_id, []).append(to_sample(row))
        return {box: mean(items, begin, expected=COARSE_S / MIDDLE_S) for box, items in found.items()}


def to_sample(row: BoxSample) -> Sample:
    """A row as a plain sample."""
    return Sample(
        at=row.at,
        cpu=row.cpu,
        memory_bytes=row.memory_bytes,
        disk_bytes=row.disk_bytes,
        in_bps=row.in_bps,
        out_bps=row.out_bps,
        temperature_c=row.temperature_c,
        held_cpu=row.held_cpu,
        lent=row.lent,
        up=row.up,
    )


def fine_samples(client: redis.Redis, box: str) -> list[Sample]:
    """The last hour of a box, as far as Redis has it."""
    found = []
    for text in client.lrange(samples_key(box), 0, -1):
        try:
            found.append(unpack(str(text)))
        except ValueError:
            log.warning("sample not read", box=box)
    return found
