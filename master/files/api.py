"""REST: a person's files. Content travels between the person and the box; the master signs the ticket."""

from __future__ import annotations

from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from common.units import Duration
from common.words import Endpoint, Frozen
from master.accounts.guard import allows, current_user
from master.accounts.models import Scope
from master.audit.trail import changes_nothing
from master.files import services, sharing
from master.files.models import FileShare, ShareKind
from master.web.current import context, nothing, reply
from master.web.description import raises
from master.web.paging import Page, reply_page

api = APIBlueprint(
    "files_api",
    __name__,
    url_prefix="/api/v1",
    abp_tags=[Tag(name="files", description="A person's home: what applications see as their files.")],
)

PATH = "Below the home's top; percent-encode what is no plain text, and '%' itself."
MOST_PATH = 12_300


class TicketBody(Frozen):
    """What the ticket is for."""

    webdav: bool = Field(False, description="A box asks for a client that sent this token as password.")
    write: bool = True


class FilesTicketAnswer(BaseModel):
    """Where the home answers, and the ticket (Bearer) that opens it."""

    box: str
    endpoint: Endpoint
    url: str
    webdav_url: str = Field(description="For file managers; the password is an API token.")
    ticket: str


class FolderQuery(BaseModel):
    """A part of a folder."""

    path: str = Field("", max_length=MOST_PATH, description=PATH)
    offset: int = Field(0, ge=0, le=200_000)
    limit: int = Field(200, ge=1, le=1000)


class FileAnswer(BaseModel):
    """One name in a folder."""

    path: str = Field(description=PATH)
    name: str = Field(description="For people: what cannot be shown is replaced.")
    kind: str = Field(description="file, folder, link (that leads nowhere here) or other.")
    size_bytes: int
    modified_at: float


class FolderAnswer(BaseModel):
    """A part of a folder, folders first."""

    entries: list[FileAnswer]
    total: int
    cut: bool = Field(description="It has more than are looked at.")


class LargeFile(BaseModel):
    """A file that takes much room."""

    path: str
    shown: str
    size_bytes: int


class UsageAnswer(BaseModel):
    """How full the home is."""

    free_bytes: int
    size_bytes: int
    largest: list[LargeFile]


class PathBody(Frozen):
    """A path."""

    path: str = Field(min_length=1, max_length=MOST_PATH, description=PATH)


class MoveBody(PathBody):
    """From where to where."""

    to: str = Field(min_length=1, max_length=MOST_PATH, description=PATH)


class PathQuery(BaseModel):
    """A path."""

    path: str = Field(min_length=1, max_length=MOST_PATH, description=PATH)


class ShareBody(Frozen):
    """A link that is wanted."""

    path: str = Field("", max_length=MOST_PATH, description=PATH)
    kind: ShareKind = Field(
        ShareKind.READ, description="read, or add: put files into the folder and see none."
    )
    ttl_s: Duration = Field(7 * 86400.0, description="How long it holds.")


class ShareAnswer(BaseModel):
    """A link, without the secret half of its address."""

    id: str
    path: str
    kind: ShareKind
    expires_at: float
    created_at: float
    url: str | None = Field(None, description="Shown once, when it is made.")


class LinkList(BaseModel):
    """A person's links that hold, the newest first."""

    shares: list[ShareAnswer]


class SharePath(BaseModel):
    """A link."""

    share: str = Field(max_length=64)


@api.post("/files/ticket", summary="Open one's files", responses={200: FilesTicketAnswer})
@allows(Scope.FILES)
@changes_nothing
@raises(404, 409)
def ticket(body: TicketBody) -> Response:
    """Where the home is, and a ticket to use it there."""
    user, master = current_user(), context()
    place = services.place_of(master, user)
    may = services.EVERYTHING if body.write else services.READING
    signed = services.ticket_for(master, place, user, may, webdav=body.webdav)
    return reply(
        FilesTicketAnswer(
            box=place.box, endpoint=place.front, url=place.url, webdav_url=place.webdav_url, ticket=signed
        )
    )


@api.get("/files", summary="List a folder", responses={200: FolderAnswer})
@allows(Scope.READ, Scope.FILES)
@raises(404, 409)
def list_folder(query: FolderQuery) -> Response:
    """A part of a folder of one's home."""
    found = services.desk_of(context(), current_user()).list(query.path, query.offset, query.limit)
    return reply(FolderAnswer.model_validate(found))


@api.get("/files/usage", summary="Show how full the home is", responses={200: UsageAnswer})
@allows(Scope.READ, Scope.FILES)
@raises(404, 409)
def usage() -> Response:
    """How much is free, and what is large."""
    return reply(UsageAnswer.model_validate(services.desk_of(context(), current_user()).usage()))


@api.post("/files/folder", summary="Make a folder", responses={204: None})
@allows(Scope.FILES)
@raises(404, 409)
def make_folder(body: PathBody) -> Response:
    """Make a folder."""
    services.desk_of(context(), current_user()).make_folder(body.path)
    return nothing()


@api.post("/files/move", summary="Move or rename", responses={204: None})
@allows(Scope.FILES)
@raises(404, 409)
def move(body: MoveBody) -> Response:
    """Move or rename a file or folder."""
    services.desk_of(context(), current_user()).move(body.path, body.to)
    return nothing()


@api.delete("/files", summary="Remove a file or folder", responses={204: None})
@allows(Scope.FILES)
@raises(404, 409)
def remove(query: PathQuery) -> Response:
    """Remove a file, or a folder with all in it."""
    services.desk_of(context(), current_user()).remove(query.path)
    return nothing()


@api.get("/files/shares", summary="List links to files", responses={200: LinkList})
@allows(Scope.READ, Scope.FILES)
@raises(404, 409)
def shares(query: Page) -> Response:
    """One's links that hold."""
    with context().database.read() as session:
        found = [_answer(item) for item in query.cut(sharing.list_shares(session, current_user()))]
    return reply_page(LinkList(shares=found[: query.limit]), query, more=len(found) > query.limit)


@api.post("/files/shares", summary="Make a link", responses={201: ShareAnswer})
@allows(Scope.FILES)
@raises(404, 409)
def share(body: ShareBody) -> Response:
    """Make a link to a file or folder."""
    with context().database.write() as session:
        made, secret = sharing.make_share(session, current_user(), body.path, body.kind, body.ttl_s)
        answer = _answer(made)
    answer.url = f"{request.host_url}s/{secret}"
    return reply(answer, 201)


@api.delete("/files/shares/<share>", summary="Take a link back", responses={204: None})
@allows(Scope.FILES)
@raises(404, 409)
def unshare(path: SharePath) -> Response:
    """Take a link back."""
    with context().database.write() as session:
        sharing.end_share(session, current_user(), path.share)
    return nothing()


def _answer(share: FileShare) -> ShareAnswer:
    return ShareAnswer(
        id=share.id,
        path=share.path,
        kind=ShareKind(share.may),
        expires_at=share.expires_at,
        created_at=share.created_at,
    )
