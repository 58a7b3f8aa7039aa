"""REST: the audit log."""

from __future__ import annotations

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field, JsonValue

from master.accounts.guard import allows, requires
from master.accounts.models import Scope, UserRole
from master.audit import services
from master.audit.models import AuditEntry
from master.web.current import context
from master.web.paging import Page, reply_page

api = APIBlueprint(
    "audit_api",
    __name__,
    url_prefix="/api/v1",
    abp_tags=[Tag(name="audit", description="Who changed what; for administrators.")],
)


class AuditQuery(Page):
    """Which entries."""

    actor: str = Field("", max_length=64, description="The name of who made the change.")
    action: str = Field("", max_length=64, description="As in `user.change`, or only `user`.")
    subject: str = Field("", max_length=200, description="Part of what was changed, as in `user:ada`.")
    since: float | None = Field(None, ge=0, le=1e11, description="Unix time.")
    until: float | None = Field(None, ge=0, le=1e11, description="Unix time, not included.")


class AuditEntryView(BaseModel):
    """A change."""

    id: int
    at: float
    actor: str = Field(description="Who; empty: the platform itself.")
    means: str = Field(description="By a sign-in, or by which token.")
    address: str
    action: str
    subject: str
    before: dict[str, JsonValue]
    after: dict[str, JsonValue]


class AuditEntryList(BaseModel):
    """Changes, the newest first."""

    entries: list[AuditEntryView]


def entry_view(entry: AuditEntry) -> AuditEntryView:
    """A change as REST shows it."""
    return AuditEntryView.model_validate(entry, from_attributes=True)


@api.get("/audit", summary="List changes", responses={200: AuditEntryList})
@requires(UserRole.ADMINISTRATOR)
@allows(Scope.PEOPLE, Scope.READ)
def list_entries(query: AuditQuery) -> Response:
    """The newest first. Nothing is ever removed."""
    wanted = services.Filter(query.actor, query.action, query.subject, query.since, query.until)
    with context().database.read() as session:
        found = services.list_entries(session, wanted, limit=query.and_one, offset=query.offset)
    answer = AuditEntryList(entries=[entry_view(item) for item in found[: query.limit]])
    return reply_page(answer, query, more=len(found) > query.limit)
