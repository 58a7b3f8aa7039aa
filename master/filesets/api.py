"""REST: filesets. Content travels between the person and a filestore; the master names it and signs the ticket."""

from __future__ import annotations

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from common.tickets import issue
from common.words import BoxId, Endpoint, Frozen, Name
from master.accounts.guard import allows, current_user
from master.accounts.models import Scope, User
from master.filesets import services
from master.filesets.models import Fileset
from master.web.current import context, nothing, reply
from master.web.description import raises

api = APIBlueprint(
    "filesets_api",
    __name__,
    url_prefix="/api/v1",
    abp_tags=[Tag(name="filesets", description="Named trees of files.")],
)


class FilesetAnswer(BaseModel):
    """A fileset as its users see it."""

    id: str
    name: str
    kind: str
    own: bool
    version: int = Field(description="0: nothing was put yet.")
    size_bytes: int
    size_limit_bytes: int | None
    boxes: list[str] = Field(description="Filestores on which the newest version lies whole.")
    copies: dict[str, float | None] = Field(
        description="Boxes that follow a home, with the Unix time as of which their copy is."
    )
    unsettled: list[str] = Field(description="Those of them that were read while the home was written to.")
    created_at: float


class FilesetList(BaseModel):
    """Own and public filesets, by name."""

    filesets: list[FilesetAnswer]


class PutBody(Frozen):
    """A fileset that somebody wants to put."""

    name: Name
    public: bool = False
    size_bytes: int = Field(ge=0, description="Of all files together; the box counts again.")
    boxes: list[BoxId] = Field(default_factory=list, max_length=16, description="None: the master chooses.")


class TransferAnswer(BaseModel):
    """A box and the ticket with which content may be put there or got from there."""

    box: str
    endpoint: Endpoint
    ticket: str


class PutAnswer(BaseModel):
    """A put that may begin. The version counts once a box has it whole."""

    fileset: str
    version: int
    transfers: list[TransferAnswer]


class GetAnswer(BaseModel):
    """A get that may begin."""

    fileset: str
    version: int
    size_bytes: int
    transfer: TransferAnswer


class NamePath(BaseModel):
    """The name of a fileset; an own one wins over a public one."""

    name: Name


@api.get("/filesets", summary="List filesets", responses={200: FilesetList})
@allows(Scope.READ, Scope.FILES)
def list_filesets() -> Response:
    """Own and public filesets, by name."""
    user = current_user()
    with context().database.read() as session:
        found = [_answer(item, user) for item in services.list_filesets(session, user)]
    return reply(FilesetList(filesets=found))


@api.post("/filesets", summary="Begin to put a fileset", responses={201: PutAnswer})
@allows(Scope.FILES)
@raises(404)
def put(body: PutBody) -> Response:
    """Begin to put a fileset, or a new version of one: where to, and with which tickets."""
    master, user = context(), current_user()
    with master.database.write() as session:
        begun = services.begin_put(
            session,
            master.redis,
            user,
            body.name,
            public=body.public,
            size_bytes=body.size_bytes,
            limit_bytes=master.settings.max_upload_bytes,
            ticket_s=master.settings.fileset_ticket_s,
            boxes=body.boxes,
        )
        return reply(
            PutAnswer(
                fileset=begun.fileset.id,
                version=begun.version,
                transfers=[_transfer(item) for item in begun.transfers],
            ),
            201,
        )


@api.get("/filesets/<name>", summary="Show a fileset", responses={200: FilesetAnswer})
@allows(Scope.READ, Scope.FILES)
def show(path: NamePath) -> Response:
    """One fileset."""
    user = current_user()
    with context().database.read() as session:
        return reply(_answer(services.find(session, path.name, user), user))


@api.post("/filesets/<name>/get", summary="Begin to get a fileset", responses={200: GetAnswer})
@allows(Scope.FILES)
def get(path: NamePath) -> Response:
    """Begin to get a fileset: where from, and with which ticket."""
    master, user = context(), current_user()
    with master.database.read() as session:
        fileset = services.find(session, path.name, user)
        transfer = services.begin_get(master.redis, user, fileset, ticket_s=master.settings.fileset_ticket_s)
        return reply(
            GetAnswer(
                fileset=fileset.id,
                version=fileset.version,
                size_bytes=fileset.size_bytes,
                transfer=_transfer(transfer),
            )
        )


@api.delete("/filesets/<name>", summary="Remove a fileset", responses={204: None})
@allows(Scope.FILES)
def remove(path: NamePath) -> Response:
    """Remove a fileset and all copies of it."""
    user = current_user()
    with context().database.write() as session:
        services.remove(session, user, services.find(session, path.name, user))
    return nothing()


def _transfer(transfer: services.Transfer) -> TransferAnswer:
    ticket = issue(context().signer, transfer.ticket)
    return TransferAnswer(box=transfer.box, endpoint=transfer.front, ticket=ticket)


def _answer(fileset: Fileset, user: User) -> FilesetAnswer:
    return FilesetAnswer(
        id=fileset.id,
        name=fileset.name,
        kind=fileset.kind,
        own=fileset.owner_id == user.id,
        version=fileset.version,
        size_bytes=fileset.size_bytes,
        size_limit_bytes=fileset.size_limit_bytes,
        boxes=services.holders(fileset),
        copies={copy.box_id: copy.copied_at for copy in fileset.copies if copy.follows},
        unsettled=sorted(copy.box_id for copy in fileset.copies if copy.follows and not copy.settled),
        created_at=fileset.created_at,
    )
