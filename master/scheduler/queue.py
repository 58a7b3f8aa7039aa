"""The queue as SQL has it: who waits, what people hold, and which scheduler works on whom."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import redis
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from common.names import CLAIMS
from common.words import InstanceState
from master.deployments.models import Deployment, Instance
from master.lifecycle.states import ON_A_BOX, WAITING
from master.scheduling.fleet import Fleet
from master.scheduling.order import Priority, Row, Waiting, fair_order

# Of one person and class so many are looked at in a round; those behind them wait for these anyway.
LOOKED_AT = 200
# A scheduler that ends in the middle of a batch keeps nobody waiting for longer.
CLAIM_S = 30.0

AMOUNTS = (
    Instance.cpu,
    Instance.memory_bytes,
    Instance.disk_bytes,
    Instance.bandwidth_bps,
    Instance.gpu,
)

_CLAIM = """
-- KEYS: queue:claims. ARGV: now, until, how many at most, instances in their order
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
local got = {}
for i = 4, #ARGV do
  if #got >= tonumber(ARGV[3]) then break end
  if redis.call('ZADD', KEYS[1], 'NX', ARGV[2], ARGV[i]) == 1 then got[#got + 1] = ARGV[i] end
end
return got
"""


@dataclass(frozen=True)
class Queued:
    """An instance that waits. `refused`: it found no room before."""

    waiting: Waiting
    generation: int
    application: str
    refused: bool

    @property
    def instance(self) -> str:
        """Its id."""
        return self.waiting.instance


def read_queue(session: Session, *, per_person: int | None = LOOKED_AT) -> list[Queued]:
    """Everything that waits, or the longest waiting of each person and class; in no particular order."""
    age = (Deployment.created_at, Instance.id)
    nth = func.row_number().over(partition_by=(Deployment.user_id, Deployment.priority), order_by=age)
    rows = (
        select(
            Instance.id,
            Instance.generation,
            Instance.state,
            Deployment.user_id,
            Deployment.created_at,
            Deployment.priority,
            Deployment.application_name,
            *AMOUNTS,
            nth.label("nth"),
        )
        .join(Deployment, Deployment.id == Instance.deployment_id)
        .where(Instance.state.in_([state.value for state in WAITING]), Deployment.wanted == "running")
        .subquery()
    )
    query = select(rows) if per_person is None else select(rows).where(rows.c.nth <= per_person)
    return [
        Queued(
            Waiting(
                row.id,
                row.user_id,
                row.created_at,
                (row.cpu, row.memory_bytes, row.disk_bytes, row.bandwidth_bps, row.gpu),
                Priority(row.priority),
            ),
            row.generation,
            row.application_name,
            row.state == InstanceState.QUEUED.value,
        )
        for row in session.execute(query)
    ]


def read_shares(session: Session) -> dict[str, Row]:
    """What each person's instances hold now."""
    sums = [func.coalesce(func.sum(column), 0) for column in AMOUNTS]
    rows = session.execute(
        select(Deployment.user_id, *sums)
        .join(Instance, Instance.deployment_id == Deployment.id)
        .where(Instance.state.in_([state.value for state in ON_A_BOX]))
        .group_by(Deployment.user_id)
    )
    return {
        str(row[0]): (float(row[1]), float(row[2]), float(row[3]), float(row[4]), float(row[5]))
        for row in rows
    }


def in_order(
    queued: Sequence[Queued], held: Mapping[str, Row], fleet: Fleet, *, overdue_s: float
) -> list[Queued]:
    """The queue as it is to be served now."""
    by_id = {item.instance: item for item in queued}
    capacity = fleet.capacity[:, fleet.up].sum(axis=1)
    whole: Row = tuple(float(amount) for amount in capacity)  # type: ignore[assignment]
    waiting = [item.waiting for item in queued]
    return [
        by_id[item.instance]
        for item in fair_order(waiting, held, whole, now=time.time(), overdue_s=overdue_s)
    ]


class Claims:
    """Several schedulers take different parts of the queue. Raises redis.RedisError."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._claim = client.register_script(_CLAIM)

    def take(self, instances: Sequence[str], most: int) -> set[str]:
        """The first `most` of these that nobody else works on; they are this scheduler's for `CLAIM_S`."""
        if not instances:
            return set()
        now = time.time()
        return {str(name) for name in self._claim(keys=[CLAIMS], args=[now, now + CLAIM_S, most, *instances])}

    def release(self, instances: Iterable[str]) -> None:
        """Whoever still waits may be taken by anybody."""
        if names := list(instances):
            self._redis.zrem(CLAIMS, *names)
