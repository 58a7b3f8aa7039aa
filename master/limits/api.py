"""REST: limits, and what one uses."""

from __future__ import annotations

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from master.accounts.api import Strict
from master.accounts.guard import allows, current_user, requires
from master.accounts.models import Scope, UserRole
from master.limits import services
from master.limits.models import Limit, LimitKind
from master.web.current import context, nothing, reply
from master.web.description import raises
from master.web.paging import Page, reply_page
from master.web.versions import IfMatch, check_unchanged

api = APIBlueprint(
    "limits_api",
    __name__,
    url_prefix="/api/v1",
    abp_tags=[Tag(name="limits", description="How much people and groups may use at once.")],
)

MOST = 2**53


class LimitValues(Strict):
    """How much at once; none: nothing is said of it."""

    deployments: int | None = Field(None, ge=0, le=MOST)
    cpu: float | None = Field(None, ge=0, le=MOST, allow_inf_nan=False, description="Cores.")
    memory_bytes: int | None = Field(None, ge=0, le=MOST)
    disk_bytes: int | None = Field(None, ge=0, le=MOST)
    gpu: int | None = Field(None, ge=0, le=MOST)
    lease_s: float | None = Field(
        None, gt=0, le=MOST, allow_inf_nan=False, description="How long one may run without asking anew."
    )


class LimitView(LimitValues):
    """A limit and of whom it is."""

    subject: str = Field(description="`everybody`, `person:NAME`, `members:GROUP` or `group:GROUP`.")


class LimitList(BaseModel):
    """Limits, everybody's first."""

    limits: list[LimitView]


class LimitPath(BaseModel):
    """Of whom a limit is."""

    subject: str = Field(
        max_length=80,
        description="`everybody`, `person:NAME`, `members:GROUP` (each member) or `group:GROUP` (all together).",
    )


class BoundView(BaseModel):
    """A limit that counts for oneself now."""

    amount: str
    limit: float
    used: float
    of: str = Field(description="The limit's subject.")
    together: bool = Field(description="Whether it bounds what a whole group uses.")


class OwnLimits(BaseModel):
    """What bounds oneself; an amount that does not stand here has no limit."""

    bounds: list[BoundView]
    lease_s: float | None = Field(description="How long one may run without asking anew; none: no limit.")


def _view(subject: services.Subject, row: Limit) -> LimitView:
    return LimitView(subject=str(subject), **services.values_of(row))


@api.get("/me/limits", summary="What bounds oneself", responses={200: OwnLimits})
@allows(Scope.READ, Scope.DEPLOY)
def own_limits() -> Response:
    """Each limit that counts, and how much of it is used."""
    with context().database.read() as session:
        found = services.bounds_of(session, current_user())
        lease_s = services.longest_lease_s(session, current_user())
    views = [
        BoundView(
            amount=item.amount,
            limit=item.limit,
            used=item.used,
            of=services.name_of(item.rule),
            together=item.rule.kind is LimitKind.GROUP,
        )
        for item in found
    ]
    return reply(OwnLimits(bounds=views, lease_s=lease_s))


@api.get("/limits", summary="List limits", responses={200: LimitList})
@requires(UserRole.ADMINISTRATOR)
@allows(Scope.PEOPLE, Scope.READ)
def list_limits(query: Page) -> Response:
    """Everybody's, of groups, of people."""
    with context().database.read() as session:
        found = services.list_limits(session, limit=query.and_one, offset=query.offset)
    answer = LimitList(limits=[_view(*item) for item in found[: query.limit]])
    return reply_page(answer, query, more=len(found) > query.limit)


@api.get("/limits/<subject>", summary="Show a limit", responses={200: LimitView})
@requires(UserRole.ADMINISTRATOR)
@allows(Scope.PEOPLE, Scope.READ)
def show_limit(path: LimitPath) -> Response:
    """What it says."""
    with context().database.read() as session:
        subject = services.find_subject(session, path.subject)
        return reply(_view(subject, services.get_limit(session, subject)))


@api.patch("/limits/<subject>", summary="Set a limit", responses={200: LimitView})
@requires(UserRole.ADMINISTRATOR)
@allows(Scope.PEOPLE)
@raises(412)
def set_limit(path: LimitPath, header: IfMatch, body: LimitValues) -> Response:
    """Change what is given; null: it says nothing of it any more. What runs goes on."""
    with context().database.write() as session:
        subject = services.find_subject(session, path.subject)
        if header.if_match:
            check_unchanged(_view(subject, services.get_limit(session, subject)))
        row = services.set_limit(session, subject, body.model_dump(exclude_unset=True))
        return reply(_view(subject, row))


@api.delete("/limits/<subject>", summary="Remove a limit", responses={204: None})
@requires(UserRole.ADMINISTRATOR)
@allows(Scope.PEOPLE)
def remove_limit(path: LimitPath) -> Response:
    """From now on nothing is said of them."""
    with context().database.write() as session:
        services.remove_limit(session, services.find_subject(session, path.subject))
    return nothing()
