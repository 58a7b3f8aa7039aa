"""REST: images and tags. Depositories hand tags on and ask for them; people list and remove."""

from __future__ import annotations

from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from common.errors import Forbidden, NotFound, Unauthorized
from common.signing import Verifier
from common.tickets import BadTicket, RepositoryTicket, TicketChecker
from common.words import BoxId, Digest, RepositoryName, TagName, is_digest
from master.accounts.guard import allows, bearer_token, check_scope, public, visitor
from master.accounts.models import Scope, User
from master.accounts.services import find_user
from master.audit.actors import Actor, act_as
from master.boxes.services import find as find_box
from master.images import services
from master.images.token import may_push
from master.web.current import context, nothing, reply
from master.web.description import raises

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
    architectures: list[str] = Field(description="Of the boxes on which it runs.")
    size_bytes: int = Field(description="All blobs, compressed, as they travel.")
    layers: int
    boxes: list[str] = Field(description="Depositories that hold it whole.")
    owner: str | None = Field(description="Who pushed the tag first.")
    changed_at: float


class ImageList(BaseModel):
    """All images, by name."""

    images: list[ImageAnswer]


class TagBody(services.NewTag):
    """A tag that was pushed to a depository."""

    box: BoxId


class TagPath(BaseModel):
    """A tag of a repository, whose name may have slashes."""

    repository: RepositoryName
    tag: TagName | Digest


class NamePath(BaseModel):
    """`<repository>/<tag>`, or `<repository>`, whose name may have slashes itself."""

    name: str = Field(max_length=300)


class NameAnswer(BaseModel):
    """What a name is: a tag (digest and media type), a repository (its tags), or both."""

    digest: Digest | None = None
    media_type: str | None = None
    tags: list[str] | None = None


@api.get("/images", summary="List images", responses={200: ImageList})
@allows(Scope.READ, Scope.IMAGES)
def list_images() -> Response:
    """What can be deployed."""
    with context().database.read() as session:
        return reply(ImageList(images=[_answer(row) for row in services.list_tags(session)]))


@api.put("/images/tags", summary="Set a tag", responses={204: None})
@public
@raises(401, 403, 404)
def set_tag(body: TagBody) -> Response:
    """Let a tag name an image that was pushed. Needs the pusher's RepositoryTicket as Bearer."""
    ticket = _ticket()
    if "push" not in ticket.actions.get(body.repository, frozenset()):
        raise Forbidden(f"This ticket does not allow a push to {body.repository}.", field="repository")
    if ticket.box not in (None, body.box):
        raise Forbidden(
            f"This ticket is for the depository {ticket.box}.", field="box", remedy="Run docker login there."
        )
    with context().database.write() as session:
        find_box(session, body.box)
        owner = find_user(session, ticket.user)
        act_as(_actor(owner))
        services.set_tag(session, body, box=body.box, owner=owner)
    return nothing()


@api.get("/images/tags/<path:name>", summary="Look up a tag or a repository", responses={200: NameAnswer})
@public
@raises(401, 403)
def get_tag(path: NamePath) -> Response:
    """`a/b` may be the tag b of the repository a, and the repository a/b: the answer tells both."""
    repository, _, tag = path.name.rpartition("/")
    answer = NameAnswer()
    with context().database.read() as session:
        if _may_pull(repository) and (image := services.find_image(session, repository, tag)):
            answer.digest, answer.media_type = image.digest, image.media_type
        if _may_pull(path.name):
            answer.tags = [row.tag.tag for row in services.list_tags(session, path.name)] or None
    if answer.digest is None and answer.tags is None:
        raise NotFound(f"There is no image {path.name}.", field="name", remedy="See openraas image list.")
    return reply(answer)


@api.delete("/images/tags/<path:repository>/<tag>", summary="Remove a tag", responses={204: None})
@public
@raises(401, 403)
def remove_tag(path: TagPath) -> Response:
    """Depositories drop the image with its last tag. With a digest, all tags that name it go."""
    _check_may_remove(path.repository)
    with context().database.write() as session:
        if is_digest(path.tag):
            services.remove_tags_of(session, path.repository, path.tag)
        else:
            services.remove_tag(session, path.repository, path.tag)
    return nothing()


def _check_may_remove(repository: str) -> None:
    """A person who may push there, or a depository with the ticket of one who may delete."""
    check_scope(Scope.IMAGES)
    if (user := visitor()) is None:
        ticket = _ticket()
        if "delete" not in ticket.actions.get(repository, frozenset()):
            raise Forbidden(f"This ticket does not let you delete in {repository}.", field="repository")
        with context().database.read() as session:
            act_as(_actor(find_user(session, ticket.user)))
    elif not may_push(user, repository):
        raise Forbidden(
            f"You may change repositories below {user.name}/ only, not {repository}.",
            field="repository",
            remedy="Ask an operator.",
        )


def _may_pull(repository: str) -> bool:
    """Whoever is signed in may pull everything, a ticket what stands in it."""
    check_scope(Scope.IMAGES, Scope.READ)
    return visitor() is not None or "pull" in _ticket().actions.get(repository, frozenset())


def _actor(user: User) -> Actor:
    """Of a ticket nobody knows but its box and this call, so that the audit log says whose it was."""
    return Actor(user.id, user.name, "registry ticket", request.remote_addr or "")


def _answer(row: services.TagRow) -> ImageAnswer:
    return ImageAnswer(
        repository=row.tag.repository,
        tag=row.tag.tag,
        digest=row.image.digest,
        architectures=row.architectures,
        size_bytes=row.image.size_bytes,
        layers=row.layers,
        boxes=row.boxes,
        owner=row.tag.owner.name if row.tag.owner else None,
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
