"""REST: mirrors."""

from __future__ import annotations

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field, SecretStr

from common.wishes import MOST_CA
from common.words import REPOSITORY, TAG, BoxId, Frozen
from master.accounts.guard import allows, current_user, requires
from master.accounts.models import Scope, UserRole
from master.db.session import after_commit
from master.lifecycle.wishes import WishWriter, mirror_wish
from master.mirrors import services
from master.mirrors.ending import end_or_forget
from master.mirrors.models import Mirror
from master.web.current import context, nothing, reply

api = APIBlueprint(
    "mirrors_api",
    __name__,
    url_prefix="/api/v1",
    abp_tags=[Tag(name="mirrors", description="Images from registries elsewhere.")],
)


# `repository` or `repository:tag`.
_NAME = f"{REPOSITORY[:-1]}(?::{TAG[1:-1]})?$"


class MirrorBody(Frozen):
    """What to fetch."""

    source: str = Field(
        max_length=400, description="As docker pull takes it: nginx:1.27, ghcr.io/team/app:1."
    )
    name: str | None = Field(None, max_length=257, pattern=_NAME, description="What to call it here.")
    architectures: list[str] = Field(
        default_factory=list, max_length=20, description="Default: those of the boxes that compute."
    )
    username: str = Field("", max_length=255)
    password: SecretStr = Field(SecretStr(""), max_length=1024, description="Or an access token.")
    box: BoxId | None = Field(None, description="Default: the depository with most room.")
    ca: str | None = Field(
        None, max_length=MOST_CA, description="Certificates (PEM) of the authority of a private registry."
    )


class MirrorAnswer(BaseModel):
    """How a mirror stands."""

    id: str
    source: str
    repository: str
    tag: str
    architectures: list[str]
    box: str
    state: str = Field(description="fetching, done or failed.")
    error: str | None
    digest: str | None
    size_bytes: int
    done_bytes: int
    created_at: float
    changed_at: float


class MirrorList(BaseModel):
    """The newest first."""

    mirrors: list[MirrorAnswer]


class MirrorPath(BaseModel):
    """A mirror."""

    mirror: str = Field(max_length=64)


@api.post("/mirrors", summary="Mirror an image", responses={202: MirrorAnswer})
@requires(UserRole.OPERATOR)
@allows(Scope.FLEET)
def create(body: MirrorBody) -> Response:
    """Let a depository fetch an image from a registry elsewhere; ask for the mirror to see how it goes."""
    wanted = services.Wanted(
        source=body.source,
        name=body.name,
        architectures=body.architectures,
        username=body.username,
        password=body.password.get_secret_value(),
        box=body.box,
        ca=body.ca,
    )
    master = context()
    with master.database.write() as session:
        mirror = services.request_mirror(session, master, current_user(), wanted)
        wish = mirror_wish(mirror)
        after_commit(session, lambda: WishWriter(master).write(wish))
        return reply(_answer(mirror), 202)


@api.get("/mirrors", summary="List mirrors", responses={200: MirrorList})
@requires(UserRole.OPERATOR)
@allows(Scope.READ, Scope.FLEET)
def list_all() -> Response:
    """What was mirrored lately."""
    with context().database.read() as session:
        return reply(MirrorList(mirrors=[_answer(item) for item in services.list_mirrors(session)]))


@api.get("/mirrors/<mirror>", summary="Look at a mirror", responses={200: MirrorAnswer})
@requires(UserRole.OPERATOR)
@allows(Scope.READ, Scope.FLEET)
def show(path: MirrorPath) -> Response:
    """How it goes, and why it failed."""
    with context().database.read() as session:
        return reply(_answer(services.find_mirror(session, path.mirror)))


@api.delete("/mirrors/<mirror>", summary="Stop or forget a mirror", responses={204: None})
@requires(UserRole.OPERATOR)
@allows(Scope.FLEET)
def stop(path: MirrorPath) -> Response:
    """Let the depository fetch no more of it; one that is over is listed no longer, and its image stays."""
    end_or_forget(context(), path.mirror)
    return nothing()


def _answer(mirror: Mirror) -> MirrorAnswer:
    return MirrorAnswer(
        id=mirror.id,
        source=mirror.source,
        repository=mirror.repository,
        tag=mirror.tag,
        architectures=mirror.architectures,
        box=mirror.box_id,
        state=mirror.state,
        error=mirror.error,
        digest=mirror.digest,
        size_bytes=mirror.size_bytes,
        done_bytes=mirror.done_bytes,
        created_at=mirror.created_at,
        changed_at=mirror.changed_at,
    )
