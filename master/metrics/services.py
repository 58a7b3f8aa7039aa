"""What a box was like over a time, and what its owner has given with it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import redis
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session, joinedload

from common.words import InstanceState
from master.deployments.models import Deployment, Instance, Mount, TimelineRow
from master.metrics.models import BoxSample
from master.metrics.recorder import COARSE_S, FINE_S, MIDDLE_S, fine_samples, to_sample
from master.metrics.samples import Sample

HOUR_S, WEEK_S, MONTH_S = 3600, 7 * 86400, 31 * 86400
# Rows of a box's past that are looked at; a busy box has more, and then its figures are of the newest.
MOST_ROWS = 20_000
RUNS_SHOWN = 50


@dataclass(frozen=True)
class Series:
    """Samples of a box, one each `step_s` seconds where it was up."""

    step_s: int
    since: float
    until: float
    samples: list[Sample]


def series(session: Session, client: redis.Redis, box: str, length_s: float) -> Series:
    """The last `length_s` seconds, in the finest steps that reach back so far."""
    until = time.time()
    since = until - length_s
    if length_s <= HOUR_S and (fine := [item for item in fine_samples(client, box) if item.at >= since]):
        return Series(FINE_S, since, until, fine)
    step_s = MIDDLE_S if length_s <= WEEK_S else COARSE_S
    query = (
        select(BoxSample)
        .where(BoxSample.box_id == box, BoxSample.step_s == step_s, BoxSample.at >= since)
        .order_by(BoxSample.at)
    )
    return Series(step_s, since, until, [to_sample(row) for row in session.scalars(query)])


@dataclass(frozen=True)
class Run:
    """An instance that a box ran: what and how long. Whose it was is shown to that person and operators alone."""

    deployment: str
    application: str
    user_id: str
    state: str
    began_at: float
    ended_at: float | None
    cpu: float

    @property
    def took_s(self) -> float:
        """Until now if it still runs."""
        return (self.ended_at or time.time()) - self.began_at


@dataclass(frozen=True)
class Given:
    """What a box gave in a time: hours up and lent, core-hours, starts, files served, bytes that others confirm."""

    since: float
    up_h: float
    lent_h: float
    core_h: float
    starts: int
    failed: int
    mounts: int
    served_bytes: int


def runs(session: Session, box: str, *, limit: int = RUNS_SHOWN) -> list[Run]:
    """What the box ran, the newest first."""
    began = (
        select(
            TimelineRow.instance_id,
            TimelineRow.generation,
            func.min(TimelineRow.at).label("began"),
        )
        .where(TimelineRow.box_id == box, TimelineRow.state == InstanceState.RUNNING.value)
        .group_by(TimelineRow.instance_id, TimelineRow.generation)
        .order_by(func.min(TimelineRow.at).desc())
        .limit(limit)
    )
    found = session.execute(began).all()
    names = {row.instance_id for row in found}
    query = select(Instance).where(Instance.id.in_(names)).options(joinedload(Instance.deployment))
    instances = {item.id: item for item in session.scalars(query)}
    return [_run(instances[row.instance_id], row.generation, row.began, box) for row in found]


def _run(instance: Instance, generation: int, began_at: float, box: str) -> Run:
    deployment: Deployment = instance.deployment
    is_here = instance.generation == generation and instance.box_id == box
    over = InstanceState(instance.state).is_over or not is_here
    return Run(
        deployment=deployment.id,
        application=deployment.title,
        user_id=deployment.user_id,
        state=instance.state if is_here else InstanceState.STOPPED.value,
        began_at=began_at,
        ended_at=instance.state_at if over else None,
        cpu=instance.cpu,
    )


def given(session: Session, box: str, length_s: float = MONTH_S) -> Given:
    """What the box gave in the last `length_s` seconds."""
    since = time.time() - length_s
    up, lent, held = _hours(session, box, since)
    states = session.execute(
        select(TimelineRow.state, func.count(func.distinct(TimelineRow.instance_id)))
        .where(TimelineRow.box_id == box, TimelineRow.at >= since)
        .group_by(TimelineRow.state)
    ).all()
    counts = {str(state): int(count) for state, count in states}
    mounts = session.scalar(
        select(func.count())
        .select_from(Mount)
        .join(Instance, Instance.id == Mount.instance_id)
        .where(Mount.box_id == box, Instance.state_at >= since)
    )
    return Given(
        since=since,
        up_h=up,
        lent_h=lent,
        core_h=held,
        starts=counts.get(InstanceState.RUNNING.value, 0),
        failed=counts.get(InstanceState.FAILED.value, 0),
        mounts=mounts or 0,
        served_bytes=_served(session, box, since),
    )


def _hours(session: Session, box: str, since: float) -> tuple[float, float, float]:
    """Hours up, hours lent, core-hours held: from hourly means, and from finer ones where there is no such yet."""
    hourly = _sums(session, box, COARSE_S, since)
    newest = session.scalar(
        select(func.max(BoxSample.at)).where(BoxSample.box_id == box, BoxSample.step_s == COARSE_S)
    )
    rest = _sums(session, box, MIDDLE_S, max(since, (newest or 0) + COARSE_S))
    up, lent, held = (one + other for one, other in zip(hourly, rest, strict=True))
    return up, lent, held


def _sums(session: Session, box: str, step_s: int, since: float) -> Sequence[float]:
    row = session.execute(
        select(
            func.sum(BoxSample.up), func.sum(BoxSample.lent), func.sum(BoxSample.up * BoxSample.held_cpu)
        ).where(BoxSample.box_id == box, BoxSample.step_s == step_s, BoxSample.at >= since)
    ).one()
    return [(value or 0.0) * step_s / HOUR_S for value in row]


def _served(session: Session, box: str, since: float) -> int:
    """Bytes of layers that others say they got from the box: what it says of itself does not count."""
    fetches = (
        select(TimelineRow.sources)
        .where(
            TimelineRow.step == "fetch",
            TimelineRow.at >= since,
            or_(TimelineRow.box_id != box, TimelineRow.box_id.is_(None)),
        )
        .order_by(TimelineRow.id.desc())
        .limit(MOST_ROWS)
    )
    return sum(int(sources.get(box, 0)) for sources in session.scalars(fetches))
