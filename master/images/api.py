"""REST: images and tags. Depositories hand tags on and ask for them; people list and remove."""

from __future__ import annotations

from urllib.parse import quote, unquote, urlsplit

from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from common.errors import BadInput, Forbidden, NotFound, Unauthorized
from common.signing import Verifier
from common.tickets import BadTicket, RepositoryTicket, TicketChecker
from common.words import BoxId, Digest, Frozen, RepositoryName, TagName
from master.accounts.guard import bearer_token, public, visitor
from master.accounts.models import User
from master.accounts.services import find_user
from master.boxes.services import find as find_box
from master.images import services
from master.images.manifests import BlobRef
from master.images.token import may_push
from master.web.current import context, nothing, reply

api = APIBlueprint(
    "images_api",
    __name__,
    url_prefix="/api/v1",
    abp_tags=[Tag(name="images", description="Images and tags.")],
)


class ImageAnswer(BaseModel):
    """A tag and the image that it names."""

    repository: str
    tag: str
    digest: Digest
    architecture: str
    size_bytes: int = Field(description="All blobs, compressed, as they travel.")
    layers: int
    boxes: list[str] = Field(description="Depositories that hold it whole.")
    changed_at: float


class ImageList(BaseModel):
    """All images, by name."""

    images: list[ImageAnswer]


class TagBody(Frozen):
    """A tag that was pushed to a depository."""

    repository: RepositoryName
    tag: TagName
    digest: Digest
    media_type: str = Field(max_length=120)
    box: BoxId
    manifest: str = Field(
        max_length=1_000_000, description="The manifest's text, whose sha256 is the digest."
    )
    blobs: list[BlobRef] = Field(max_length=1000, description="Manifest, config, layers in order.")
    architecture: str = Field(max_length=32)


class NamePath(BaseModel):
    """`<repository>` or `<repository>/<tag>`; slashes in the repository's name are written `%2F`."""

    name: str = Field(max_length=400)


class TagAnswer(BaseModel):
    """What a tag names."""

    digest: Digest
    media_type: str


class TagList(BaseModel):
    """The tags of a repository."""

    tags: list[str]


@api.get("/images", summary="List images", responses={200: ImageList})
def list_images() -> Response:
    """What can be deployed."""
    with context().database.read() as session:
        return reply(ImageList(images=[_answer(row) for row in services.list_tags(session)]))


@api.put("/images/tags", summary="Set a tag", responses={204: None})
@public
def set_tag(body: TagBody) -> Response:
    """Let a tag name an image that was pushed. Needs the pusher's RepositoryTicket as Bearer."""
    ticket = _ticket()
    if "push" not in ticket.actions.get(body.repository, frozenset()):
        raise Forbidden(f"This ticket does not allow a push to {body.repository}.", field="repository")
    if ticket.box not in (None, body.box):
        raise Forbidden(f"This ticket is for the depository {ticket.box}.", field="box")
    new = services.NewTag(
        repository=body.repository,
        tag=body.tag,
        digest=body.digest,
        media_type=body.media_type,
        manifest=body.manifest,
        blobs=body.blobs,
        architecture=body.architecture,
    )
    with context().database.write() as session:
        find_box(session, body.box)
        services.set_tag(session, new, box=body.box, owner=find_user(session, ticket.user))
    return nothing()


@api.get(
    "/images/tags/<path:name>", summary="Look up a tag, or a repository's tags", responses={200: TagAnswer}
)
@public
def get_tag(path: NamePath) -> Response:  # noqa: ARG001 - see _asked
    """`<repository>/<tag>` answers digest and media type, `<repository>` answers `{"tags": […]}`."""
    repository, tag = _asked()
    if visitor() is None and "pull" not in _ticket().actions.get(repository, frozenset()):
        raise Forbidden(f"This ticket does not allow a pull from {repository}.", field="repository")
    with context().database.read() as session:
        if tag is not None:
            image = services.resolve(session, f"{repository}:{tag}")
            return reply(TagAnswer(digest=image.digest, media_type=image.media_type))
        rows = services.list_tags(session, repository)
    if not rows:
        raise NotFound(f"There is no repository {repository}.", field="repository")
    return reply(TagList(tags=[row.tag.tag for row in rows]))


@api.delete("/images/tags/<path:name>", summary="Remove a tag", responses={204: None})
@public
def remove_tag(path: NamePath) -> Response:  # noqa: ARG001 - see _asked
    """Depositories drop the image with its last tag."""
    repository, tag = _asked()
    if tag is None:
        raise BadInput("A tag is missing.", field="tag", remedy="Write /images/tags/REPOSITORY/TAG.")
    user = visitor()
    if user is not None:
        _check_may_change(user, repository)
    elif "delete" not in _ticket().actions.get(repository, frozenset()):
        raise Forbidden(f"This ticket lets nobody remove tags of {repository}.", field="repository")
    with context().database.write() as session:
        services.remove_tag(session, repository, tag)
    return nothing()


def _asked() -> tuple[str, str | None]:
    """Repository and tag of the address as it was sent: WSGI's own path no longer tells `%2F` from `/`."""
    raw = request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI") or quote(request.path)
    rest = urlsplit(raw).path.partition("/images/tags/")[2]
    repository, slash, tag = rest.rpartition("/")
    return (unquote(repository), unquote(tag)) if slash else (unquote(rest), None)


def _answer(row: services.TagRow) -> ImageAnswer:
    return ImageAnswer(
        repository=row.tag.repository,
        tag=row.tag.tag,
        digest=row.image.digest,
        architecture=row.image.architecture,
        size_bytes=row.image.size_bytes,
        layers=max(0, len(row.image.blobs) - 2),
        boxes=row.boxes,
        changed_at=row.tag.changed_at,
    )


def _ticket() -> RepositoryTicket:
    token = bearer_token()
    if token is None:
        raise Unauthorized("This needs a ticket.", remedy="Run docker login, then try again.")
    try:
        return TicketChecker(Verifier(context().signer.public_key)).check(token, RepositoryTicket)
    except BadTicket as error:
        raise BadTicket(error.message, remedy="Run docker login, then try again.") from error


def _check_may_change(user: User, repository: str) -> None:
    if not may_push(user, repository):
        raise Forbidden(
            f"You may change repositories below {user.name}/ only, not {repository}.", field="repository"
        )
