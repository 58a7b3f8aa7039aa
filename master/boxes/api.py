"""REST: boxes. Joining needs no sign-in, but a token that an operator made; everything else does."""

from __future__ import annotations

import redis
from flask import Blueprint, Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from common.errors import TooMany, Unavailable
from common.join import JoinAnswer, JoinRequest
from common.names import JOIN_TRIES
from common.status import BoxStatus
from common.units import Duration
from common.words import BoxId, Coordinate, Frozen
from master.accounts.guard import allows, current_user, public, requires
from master.accounts.models import Scope, UserRole
from master.boxes import services
from master.boxes.draining import drain
from master.boxes.models import Box
from master.boxes.standing import accusers
from master.nearness.map import Map, read_map
from master.trust.authorities import Authorities
from master.web.current import context, nothing, reply
from master.web.description import raises

api = APIBlueprint(
    "boxes_api",
    __name__,
    url_prefix="/api/v1",
    abp_tags=[Tag(name="boxes", description="Machines that have joined.")],
)
authority_views = Blueprint("authority", __name__)

# Joining is rare; a secret of 256 bits is not guessed, but each try costs a transaction.
TRIES, TRIES_S = 20, 60
MAX_TOKEN_S = 7 * 86400.0


class TokenBody(Frozen):
    """A token for one box."""

    ttl_s: Duration | None = Field(None, gt=0, le=MAX_TOKEN_S, description="None: the setting join_token_s.")


class TokenAnswer(BaseModel):
    """Shown once; the master keeps only its hash."""

    token: str
    expires_in_s: float
    fingerprint: str = Field(description="sha256 of the master's certificate authority.")


class BoxPath(BaseModel):
    """A box."""

    box: BoxId


class RemoveQuery(BaseModel):
    """How far to go."""

    force: bool = Field(False, description="Even if the box has the only copy of a fileset.")


class CordonBody(Frozen):
    """Whether the box takes no new placements."""

    cordoned: bool


class DrainAnswer(BaseModel):
    """How many instances begin again elsewhere."""

    moved: int


class BoxAnswer(BaseModel):
    """A box: what was told when it joined, and what it says of itself now."""

    id: str
    kind: str
    roles: list[str]
    open: bool
    fixed: bool
    address: str
    own: bool
    up: bool
    cordoned: bool
    joined_at: float
    accused_by: list[str] = Field(
        default_factory=list, description="Boxes that got bad bytes of a layer from it within a day."
    )
    status: BoxStatus | None = Field(None, description="None: it is not up.")
    believed: Coordinate | None = Field(
        None, description="Where placements count it as being, whatever it claims; none: it is not up."
    )


class BoxList(BaseModel):
    """All boxes, by id."""

    boxes: list[BoxAnswer]


@authority_views.get("/ca.crt")
@public
def authority() -> Response:
    """The certificate authority; whoever fetches it compares its fingerprint with one that came otherwise."""
    return Response(Authorities.load(context().paths).in_office.pem, mimetype="application/x-pem-file")


@api.post("/boxes/join", summary="Join", responses={200: JoinAnswer})
@public
@raises(401, 403, 409, 429)
def join(body: JoinRequest) -> Response:
    """Let a box join with a one-time token."""
    _count_try()
    host = request.host.rsplit(":", 1)[0].strip("[]")
    return reply(services.join(context(), body, reached_at=host))


@api.post("/boxes/token", summary="Make a join token", responses={201: TokenAnswer})
@requires(UserRole.OPERATOR)
@allows(Scope.FLEET)
def make_token(body: TokenBody) -> Response:
    """Make a token with which one box may join."""
    master = context()
    ttl_s = body.ttl_s or master.settings.join_token_s
    with master.database.write() as session:
        token = services.make_token(session, Authorities.load(master.paths).in_office, current_user(), ttl_s)
    return reply(TokenAnswer(token=str(token), expires_in_s=ttl_s, fingerprint=token.fingerprint), 201)


@api.post("/boxes/own-token", summary="Make a token for a machine of one's own", responses={201: TokenAnswer})
@allows(Scope.FLEET)
def make_own_token() -> Response:
    """Make a token with which one machine of one's own may join, where people may add theirs."""
    master, user = context(), current_user()
    services.check_may_add(master.settings, user)
    ttl_s = master.settings.join_token_s
    with master.database.write() as session:
        token = services.make_token(session, Authorities.load(master.paths).in_office, user, ttl_s)
    return reply(TokenAnswer(token=str(token), expires_in_s=ttl_s, fingerprint=token.fingerprint), 201)


@api.get("/boxes", summary="List boxes", responses={200: BoxList})
@allows(Scope.READ, Scope.FLEET)
def list_boxes() -> Response:
    """All boxes, by id."""
    now, drawn = _statuses(), _map()
    with context().database.read() as session:
        found = [_answer(box, now.get(box.id), drawn) for box in services.list_boxes(session)]
    return reply(BoxList(boxes=found))


@api.get("/boxes/<box>", summary="Show a box", responses={200: BoxAnswer})
@allows(Scope.READ, Scope.FLEET)
def show(path: BoxPath) -> Response:
    """One box."""
    now, drawn = _statuses(), _map()
    with context().database.read() as session:
        return reply(_answer(services.find(session, path.box), now.get(path.box), drawn))


@api.post("/boxes/<box>/cordon", summary="Cordon a box", responses={200: BoxAnswer})
@allows(Scope.FLEET)
def cordon(path: BoxPath, body: CordonBody) -> Response:
    """Keep new placements away from a box, or let them come again. Its owner may, and an operator."""
    with context().database.write() as session:
        box = services.find(session, path.box)
        services.check_may_change(current_user(), box)
        services.cordon(session, context().redis, box, body.cordoned)
        return reply(_answer(box, _statuses().get(box.id), _map()))


@api.post("/boxes/<box>/drain", summary="Drain a box", responses={200: DrainAnswer})
@allows(Scope.FLEET)
def drain_box(path: BoxPath) -> Response:
    """Cordon a box and let all that it runs begin again on others. Its owner may, and an operator."""
    with context().database.write() as session:
        box = services.find(session, path.box)
        services.check_may_change(current_user(), box)
        moved = drain(session, context(), box)
    return reply(DrainAnswer(moved=moved))


@api.delete("/boxes/<box>", summary="Remove a box", responses={204: None})
@allows(Scope.FLEET)
def remove(path: BoxPath, query: RemoveQuery) -> Response:
    """Let a box go. Its owner may, and an operator."""
    master = context()
    with master.database.write() as session:
        box = services.find(session, path.box)
        services.check_may_change(current_user(), box)
        services.remove(session, master.redis, box, force=query.force)
    return nothing()


def _count_try() -> None:
    key = f"{JOIN_TRIES}:{request.remote_addr}"
    try:
        with context().redis.pipeline() as pipeline:
            pipeline.incr(key)
            pipeline.expire(key, TRIES_S, nx=True)
            tries = pipeline.execute()[0]
    except redis.RedisError as error:
        raise Unavailable("Redis does not answer, so no box can join.", remedy="Try again.") from error
    if tries > TRIES:
        raise TooMany("Too many boxes tried to join from this address.", remedy=f"Try again in {TRIES_S} s.")


def _statuses() -> dict[str, BoxStatus]:
    try:
        return services.statuses(context().redis)
    except redis.RedisError as error:
        raise Unavailable("Redis does not answer.", remedy="Try again in a moment.") from error


def _map() -> Map:
    try:
        return read_map(context().redis)
    except redis.RedisError as error:
        raise Unavailable("Redis does not answer.", remedy="Try again in a moment.") from error


def _answer(box: Box, status: BoxStatus | None, drawn: Map) -> BoxAnswer:
    return BoxAnswer(
        id=box.id,
        kind=box.kind,
        roles=box.roles,
        open=box.open,
        fixed=box.fixed,
        address=box.address,
        own=box.owner_id == current_user().id,
        up=status is not None,
        cordoned=box.cordoned,
        joined_at=box.joined_at,
        accused_by=accusers(context().redis, box.id),
        status=status,
        believed=None if status is None else drawn.of(status),
    )
