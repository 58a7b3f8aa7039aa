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
    latest_end: float | None = Field(
        None, description="Until when the lease can be extended (Unix time); none before it has begun."
    )
    ends_soon: bool = Field(False, description="Its lease ends so soon that the person was told.")
    is_kept: bool = Field(False, description="An operator keeps it: no lease, no idle stop.")
    idle_stop_s: float = Field(0.0, description="It ends when nobody used it for so long; 0: never.")
    used_at: float | None = Field(None, description="When it was last seen in use (Unix time).")
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
    def can_extend(self) -> bool:
        """Whether its lease can be made longer."""
        if self.is_kept or self.lease_end is None or self.latest_end is None:
            return False
        return self.can_stop and self.latest_end > self.lease_end + 1

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
        parts = [self.wanted, str(self.lease_end), str(self.ends_soon), str(self.is_kept)]
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
        "latest_end": deployment.latest_end,
        "ends_soon": deployment.warned_for == deployment.lease_end and not deployment.is_kept,
        "is_kept": deployment.is_kept,
        "idle_stop_s": deployment.idle_stop_s,
        "used_at": deployment.used_at,
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


def remaining_s(deployment: DeploymentSummary, now: float | None = None) -> float | None:
    """Seconds until the lease ends, never negative; none if it does not run yet."""
    if deployment.lease_end is None:
        return None
    return max(0.0, deployment.lease_end - (time.time() if now is None else now))
