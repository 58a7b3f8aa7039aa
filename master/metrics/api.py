"""REST: what boxes were like, what they gave, and what ran on them."""

from __future__ import annotations

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from common.errors import Forbidden
from common.units import Duration
from common.words import BoxId
from master.accounts.guard import allows, current_user
from master.accounts.models import Scope, User, UserRole
from master.boxes import services as boxes
from master.boxes.models import Box
from master.metrics import services
from master.web.current import context, reply

api = APIBlueprint(
    "metrics_api",
    __name__,
    url_prefix="/api/v1",
    abp_tags=[Tag(name="boxes", description="Machines that have joined.")],
)


class BoxPath(BaseModel):
    """A box."""

    box: BoxId


class SinceQuery(BaseModel):
    """How far back."""

    since: Duration = Field(3600.0, gt=0, le=services.MONTH_S, description="Such as 1h, 7d or 31d.")


class SampleAnswer(BaseModel):
    """A box over one step."""

    at: int
    cpu: float = Field(description="Share of all cores that were busy, whoever used them.")
    memory_bytes: float
    disk_bytes: float = Field(description="Of the lent space.")
    in_bps: float
    out_bps: float
    temperature_c: float | None
    held_cpu: float = Field(description="Cores that instances held.")
    lent: float = Field(description="Share of the time in which it took new instances.")
    up: float


class SeriesAnswer(BaseModel):
    """Samples, the oldest first; while the box was silent there are none."""

    box: str
    step_s: int
    since: float
    samples: list[SampleAnswer]


class GivenAnswer(BaseModel):
    """What a box gave in a time."""

    since: float
    up_h: float
    lent_h: float = Field(description="Hours in which it took new instances.")
    core_h: float = Field(description="Hours of cores that instances held.")
    starts: int
    failed: int
    mounts: int = Field(description="Filesets that instances mounted from it.")
    served_bytes: int = Field(description="Of layers, as those say who got them.")


class RunAnswer(BaseModel):
    """An instance that ran. Who had it stands there for that person and for operators."""

    application: str
    state: str
    began_at: float
    took_s: float
    cpu: float
    own: bool
    deployment: str | None = None


class RunList(BaseModel):
    """The newest first."""

    runs: list[RunAnswer]


@api.get("/boxes/<box>/metrics", summary="Show what a box was like", responses={200: SeriesAnswer})
@allows(Scope.READ, Scope.FLEET)
def metrics(path: BoxPath, query: SinceQuery) -> Response:
    """Processor, memory, disk, network and temperature of a box."""
    with context().database.read() as session:
        box = boxes.find(session, path.box)
        found = services.series(session, context().redis, box.id, query.since)
    return reply(
        SeriesAnswer(
            box=path.box,
            step_s=found.step_s,
            since=found.since,
            samples=[SampleAnswer(**vars(item)) for item in found.samples],
        )
    )


@api.get("/boxes/<box>/given", summary="Show what a box gave", responses={200: GivenAnswer})
@allows(Scope.READ, Scope.FLEET)
def given(path: BoxPath, query: SinceQuery) -> Response:
    """What a box gave. Its owner sees it, and operators."""
    with context().database.read() as session:
        box = boxes.find(session, path.box)
        check_may_see(current_user(), box)
        return reply(GivenAnswer(**vars(services.given(session, box.id, query.since))))


@api.get("/boxes/<box>/runs", summary="List what ran on a box", responses={200: RunList})
@allows(Scope.READ, Scope.FLEET)
def runs(path: BoxPath) -> Response:
    """What ran on a box, and how long. Its owner sees it, and operators."""
    user = current_user()
    with context().database.read() as session:
        box = boxes.find(session, path.box)
        check_may_see(user, box)
        found = services.runs(session, box.id)
    return reply(RunList(runs=[_run(item, user) for item in found]))


def check_may_see(user: User, box: Box) -> None:
    """Raises Forbidden unless the person owns the box or operates the platform."""
    if not may_see(user, box):
        raise Forbidden(f"The box {box.id} is another person's.", field="box", remedy="Ask its owner.")


def may_see(user: User, box: Box) -> bool:
    """Whether what ran on the box is this person's business."""
    return box.owner_id == user.id or user.role != UserRole.USER


def _run(item: services.Run, user: User) -> RunAnswer:
    is_own = item.user_id == user.id
    return RunAnswer(
        application=item.application,
        state=item.state,
        began_at=item.began_at,
        took_s=item.took_s,
        cpu=item.cpu,
        own=is_own,
        deployment=item.deployment if is_own or user.role != UserRole.USER else None,
    )
