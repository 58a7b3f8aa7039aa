"""Deployments as people and programs see them: what REST answers and the pages show."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field

from common.words import InstanceState
from master.deployments.models import Deployment, Instance, Mount, TimelineRow
from master.deployments.wanted import near_of
from master.history.accuracy import predicted_and_taken
from master.history.predicted import PREDICTED
from master.scheduling.order import Priority

# The furthest behind says how far a deployment is; what went wrong comes first.
_ORDER = [
    InstanceState.FAILED,
    InstanceState.LOST,
    InstanceState.QUEUED,
    InstanceState.REQUESTED,
    InstanceState.PLACED,
    InstanceState.PREPARING,
    InstanceState.STOPPING,
    InstanceState.RUNNING,
    InstanceState.STOPPED,
]


class TimelineView(BaseModel):
    """One step in the life of an instance."""

    id: int
    generation: int
    at: float = Field(description="Unix time when the step was done.")
    state: InstanceState
    step: str
    box: str | None
    took_s: float | None
    size_bytes: int | None
    sources: dict[str, int] = Field(description="Bytes by the box that they came from.")
    detail: str


class MountView(BaseModel):
    """A fileset in an instance."""

    fileset: str
    target: str
    mode: str
    filestore: str
    state: str


class LeftOutView(BaseModel):
    """A box that was not chosen, and why."""

    box: str
    why: str


class QueueView(BaseModel):
    """Where a waiting instance stands."""

    place: int | None = Field(description="1 is served next. None: the scheduler has not said yet.")
    waiting: int | None = Field(description="How many wait.")
    estimated_start: float | None = Field(
        description=(
            "Unix time when it will start, by leases and by how long others kept what runs now; none: unknown."
        )
    )


class InstanceSummary(BaseModel):
    """An instance in a list."""

    id: str
    service: str
    generation: int
    state: InstanceState
    box: str | None
    reason: str | None = Field(description="Why this box, or why it waits.")
    error: str | None
    exit_code: int | None
    queue: QueueView | None = Field(description="None unless it waits for room.")


class InstanceView(InstanceSummary):
    """An instance with its placement and timeline."""

    image: str
    state_at: float
    depositories: list[str]
    considered: list[LeftOutView]
    measured_ms: float | None = Field(
        None,
        description="The round trip to its box that the person measured before asking; none: not to this one.",
    )
    mounts: list[MountView]
    predicted_s: float | None = Field(None, description="How long the start was expected to take.")
    started_s: float | None = Field(None, description="How long it took, from the placement to running.")
    timeline: list[TimelineView]


class DeploymentSummary(BaseModel):
    """A deployment in a list."""

    id: str
    application: str
    title: str
    user: str
    state: InstanceState
    wanted: str
    priority: Priority = Field(description="Its class in the queue; a higher one is served first.")
    created_at: float
    ended_at: float | None
    lease_end: float | None = Field(description="Unix time; none while it waits for its first place.")
    instances: Sequence[InstanceSummary]

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return all(
            instance.state.is_over and instance.state is not InstanceState.LOST for instance in self.instances
        )

    @property
    def can_open(self) -> bool:
        """Whether there is something to open."""
        return self.wanted == "running" and any(i.state is InstanceState.RUNNING for i in self.instances)

    @property
    def can_stop(self) -> bool:
        """Whether stopping it would change anything."""
        return self.wanted == "running" and not self.is_over


class DeploymentView(DeploymentSummary):
    """A deployment with everything about it."""

    options: dict[str, Any] = Field(description="Without secret ones.")
    icon: str
    instances: list[InstanceView]

    @property
    def fingerprint(self) -> str:
        """Differs whenever the page would."""
        parts = [self.wanted, str(self.lease_end)]
        for instance in self.instances:
            last = max((row.id for row in instance.timeline), default=0)
            parts += [instance.id, str(instance.generation), instance.state, str(last)]
            parts += [instance.queue.model_dump_json() if instance.queue else ""]
            parts += [instance.error or "", instance.reason or "", *(m.state for m in instance.mounts)]
        return "|".join(parts)


def state_of(wanted: str, states: Sequence[InstanceState]) -> InstanceState:
    """The state of a deployment from those of its instances."""
    if not states:
        return InstanceState.REQUESTED
    if wanted != "running" and not all(state.is_over for state in states):
        return InstanceState.STOPPING
    return min(states, key=_ORDER.index)


def summarise(deployment: Deployment, queue: Mapping[str, QueueView]) -> DeploymentSummary:
    """For a list; reads user and instances. `queue` are the places of the instances that wait."""
    return DeploymentSummary(
        **_common(deployment),
        instances=[InstanceSummary(**_instance(item, queue.get(item.id))) for item in deployment.instances],
    )


def describe(deployment: Deployment, filesets: dict[str, str], queue: dict[str, QueueView]) -> DeploymentView:
    """With everything; `filesets` gives names by id, `queue` the places of the instances that wait."""
    return DeploymentView(
        **_common(deployment),
        options=deployment.options,
        icon=deployment.manifest.get("icon") or "",
        instances=[_describe_instance(item, filesets, queue.get(item.id)) for item in deployment.instances],
    )


def _common(deployment: Deployment) -> dict[str, Any]:
    states = [InstanceState(instance.state) for instance in deployment.instances]
    return {
        "id": deployment.id,
        "application": deployment.application_name,
        "title": deployment.title,
        "user": deployment.user.name,
        "state": state_of(deployment.wanted, states),
        "wanted": deployment.wanted,
        "priority": Priority(deployment.priority),
        "created_at": deployment.created_at,
        "ended_at": deployment.ended_at,
        "lease_end": deployment.lease_end if deployment.has_begun else None,
    }


def _instance(instance: Instance, queue: QueueView | None) -> dict[str, Any]:
    return {
        "id": instance.id,
        "service": instance.service,
        "generation": instance.generation,
        "state": instance.state,
        "box": instance.box_id,
        "reason": instance.reason,
        "error": instance.error,
        "exit_code": instance.exit_code,
        "queue": queue,
    }


def _describe_instance(instance: Instance, filesets: dict[str, str], queue: QueueView | None) -> InstanceView:
    manifest = instance.deployment.manifest
    service = manifest.get("services", {}).get(instance.service, {})
    predicted_s, started_s = predicted_and_taken(instance.timeline, instance.generation)
    return InstanceView(
        **_instance(instance, queue),
        image=service.get("image", instance.image_digest),
        state_at=instance.state_at,
        depositories=sorted({box for boxes in instance.depositories.values() for box in boxes}),
        measured_ms=_measured_ms(instance),
        considered=[LeftOutView.model_validate(item) for item in instance.considered],
        mounts=[
            _mount(mount, filesets) for mount in instance.mounts if mount.generation == instance.generation
        ],
        predicted_s=predicted_s,
        started_s=started_s,
        timeline=[_row(row) for row in instance.timeline],
    )


def _measured_ms(instance: Instance) -> float | None:
    near = near_of(instance.deployment)
    return near.round_trips_ms.get(instance.box_id or "") if near.fresh else None


def _mount(mount: Mount, filesets: dict[str, str]) -> MountView:
    return MountView(
        fileset=filesets.get(mount.fileset_id, mount.fileset_id),
        target=mount.target,
        mode=mount.mode,
        filestore=mount.box_id,
        state=mount.state,
    )


def _row(row: TimelineRow) -> TimelineView:
    return TimelineView(
        id=row.id,
        generation=row.generation,
        at=row.at,
        state=InstanceState(row.state),
        step=row.step,
        box=row.box_id,
        took_s=row.took_s,
        size_bytes=row.size_bytes,
        sources=row.sources,
        detail=row.detail,
    )


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


def waterfall(instance: InstanceView, created_at: float) -> list[Bar]:
    """The timed steps of the current generation's start, each where it lay in time."""
    rows = [row for row in instance.timeline if row.generation == instance.generation]
    ready = next((i for i, row in enumerate(rows) if row.state is InstanceState.RUNNING), None)
    if ready is not None:
        # The report that the instance runs may overtake that of its last step.
        rows = rows[: ready + 1] + [row for row in rows[ready + 1 :] if row.at <= rows[ready].at]
    timed = [row for row in rows if _takes_time(row)]
    if not timed:
        return []
    # The time in which it waited for room says nothing of the start. Boxes' clocks differ a little: nothing begins
    # before a box was chosen.
    placed = next((row.at for row in rows if row.step == PLACED), None)
    begin = placed if placed is not None else created_at
    if placed is None and instance.generation > 1:
        begin = min(row.at - (row.took_s or 0) for row in timed)
    whole = max(max(row.at for row in timed) - begin, 1e-3)
    bars = [_bar(row, begin, whole) for row in timed]
    return sorted(bars, key=lambda bar: (bar.began_s, bar.began_s + bar.took_s))


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


def remaining_s(deployment: DeploymentSummary, now: float | None = None) -> float | None:
    """Seconds until the lease ends, never negative; none if it does not run yet."""
    if deployment.lease_end is None:
        return None
    return max(0.0, deployment.lease_end - (time.time() if now is None else now))
