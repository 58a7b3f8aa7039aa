"""How far predictions of starts were from what they took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from master.deployments.models import Instance, TimelineRow
from master.history.predicted import PREDICTED
from master.scheduling.prediction import mean_error

STARTS = 1_000


class AccuracyRow(BaseModel):
    """The error of predicted starts, of one application or of all."""

    application: str = Field(description="Empty: all together.")
    starts: int
    predicted_s: float = Field(description="On average.")
    took_s: float = Field(description="On average, from the placement to running.")
    error: float = Field(description="The mean distance between the two, as a share of what it took.")


def accuracy(session: Session, *, starts: int = STARTS) -> list[AccuracyRow]:
    """Of the last so many starts; the first row is all together, the others are by application."""
    by_application: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for application, said, took in _starts(session, starts):
        by_application[application].append((said, took))
    everything = [pair for pairs in by_application.values() for pair in pairs]
    if not everything:
        return []
    return [_row("", everything), *(_row(name, pairs) for name, pairs in sorted(by_application.items()))]


def predicted_and_taken(rows: Iterable[Any], generation: int) -> tuple[float | None, float | None]:
    """Of one try of an instance, from the rows of its timeline: predicted seconds, and those that it took."""
    said = began = ended = None
    for row in rows:
        if row.generation != generation:
            continue
        if row.step == PREDICTED:
            said, began = row.took_s, row.at
        elif row.step == "running" and ended is None:
            ended = row.at
    return said, None if began is None or ended is None else max(0.0, ended - began)


def _starts(session: Session, most: int) -> Sequence[tuple[str, float, float]]:
    said = (
        select(TimelineRow.instance_id, TimelineRow.generation, TimelineRow.at, TimelineRow.took_s)
        .where(TimelineRow.step == PREDICTED)
        .order_by(TimelineRow.id.desc())
        .limit(most)
        .subquery()
    )
    # A box that comes back may report that it runs a second time.
    ran = (
        select(TimelineRow.instance_id, TimelineRow.generation, func.min(TimelineRow.at).label("at"))
        .where(TimelineRow.step == "running")
        .group_by(TimelineRow.instance_id, TimelineRow.generation)
        .subquery()
    )
    statement = (
        select(Instance, said.c.took_s, ran.c.at - said.c.at)
        .join(said, said.c.instance_id == Instance.id)
        .join(ran, (ran.c.instance_id == said.c.instance_id) & (ran.c.generation == said.c.generation))
    )
    found = []
    for instance, predicted_s, took_s in session.execute(statement):
        found.append((instance.deployment.application_name, float(predicted_s), max(0.0, float(took_s))))
    return found


def _row(application: str, pairs: list[tuple[float, float]]) -> AccuracyRow:
    count, error, _ = mean_error(pairs)
    return AccuracyRow(
        application=application,
        starts=count,
        predicted_s=sum(said for said, _ in pairs) / count,
        took_s=sum(took for _, took in pairs) / count,
        error=error,
    )
