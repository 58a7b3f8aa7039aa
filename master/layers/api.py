"""REST: layers. Everybody may look; pinning and evicting is an operator's business."""

from __future__ import annotations

import redis
from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from common.errors import Unavailable
from common.signing import Verifier
from common.transfers import BoxTransfers, Transfer
from common.words import MOST, BoxId, Frozen
from master.accounts.guard import allows, current_user, requires
from master.accounts.models import Scope, UserRole
from master.layers import services, transfers
from master.web.current import context, nothing, reply
from master.web.description import raises

api = APIBlueprint(
    "layers_api",
    __name__,
    url_prefix="/api/v1",
    abp_tags=[Tag(name="layers", description="Layers on boxes: who holds what, pins, eviction.")],
)


class HolderAnswer(BaseModel):
    """A copy of a layer. Times are Unix times."""

    box: str
    used_at: float | None = Field(description="When its timer was reset; none: not told yet.")
    goes_at: float | None = Field(description="When it goes if nobody uses it; none: it stays.")
    pinned: bool
    held: bool = Field(description="Part of an image that this depository is to hold.")


class LayerAnswer(BaseModel):
    """A blob and who holds it."""

    digest: str
    size_bytes: int | None
    media_type: str
    images: list[str] = Field(description="Names of the images that need it.")
    holders: list[HolderAnswer]
    vouched: bool = Field(description="Two boxes agree on its chunks, so it may come from several at once.")


class LayerQuery(BaseModel):
    """Which layers."""

    image: str | None = Field(None, max_length=300, description="Only those of REPO:TAG.")
    box: BoxId | None = Field(None, description="Only what this box holds.")
    offset: int = Field(0, ge=0, le=MOST, description="How many to leave out: `next` of the page before.")
    limit: int = Field(500, ge=1, le=1000)


class LayerList(BaseModel):
    """Layers, by image: one page."""

    layers: list[LayerAnswer]
    total: int = Field(description="On all pages.")
    next: int | None = Field(description="The next page's offset; none: this is the last.")


class RunningTransfer(Transfer):
    """An image on its way to a box."""

    box: BoxId


class TransferList(BaseModel):
    """All transfers that run now, by box."""

    transfers: list[RunningTransfer]
    more: int = Field(description="Transfers of boxes that run more than they tell of.")


class PinBody(Frozen):
    """What to pin or unpin, and where."""

    name: str = Field(max_length=300, description="An image (REPO:TAG or digest), or the digest of one blob.")
    boxes: list[BoxId] = Field(default_factory=list, max_length=1000, description="None: all that hold it.")


class PinAnswer(BaseModel):
    """Where it was done."""

    boxes: list[str]


class EvictBody(Frozen):
    """What to drop, and where."""

    name: str = Field(max_length=300, description="An image (REPO:TAG or digest), or the digest of one blob.")
    box: BoxId
    force: bool = Field(False, description="Even if too few other boxes hold it, or none.")


@api.get("/layers", summary="List layers", responses={200: LayerList})
@allows(Scope.READ, Scope.FLEET)
@raises(404)
def list_layers(query: LayerQuery) -> Response:
    """Every layer that an image names or a box that is up holds, page by page."""
    master = context()
    try:
        with master.database.read() as session:
            verifier = Verifier(master.signer.public_key)
            rows = services.list_layers(session, master.redis, verifier, image=query.image, box=query.box)
    except redis.RedisError as error:
        raise Unavailable("Redis does not answer.", remedy="Try again in a moment.") from error
    end = query.offset + query.limit
    page = [_answer(row) for row in rows[query.offset : end]]
    return reply(LayerList(layers=page, total=len(rows), next=end if end < len(rows) else None))


@api.get("/layers/transfers", summary="List transfers", responses={200: TransferList})
@allows(Scope.READ, Scope.FLEET)
def list_transfers() -> Response:
    """Every image on its way to a box: how far it is, and what each source gives now."""
    try:
        told = transfers.running(context().redis)
    except redis.RedisError as error:
        raise Unavailable("Redis does not answer.", remedy="Try again in a moment.") from error
    return reply(
        TransferList(
            transfers=[_transfer(record, item) for record in told for item in record.transfers],
            more=sum(record.more for record in told),
        )
    )


@api.post("/layers/pin", summary="Pin layers", responses={200: PinAnswer})
@requires(UserRole.OPERATOR)
@allows(Scope.FLEET)
@raises(404)
def pin(body: PinBody) -> Response:
    """Let boxes keep layers whatever their timers say."""
    master = context()
    with master.database.write() as session:
        boxes = services.pin(session, master.redis, current_user(), body.name, body.boxes)
    return reply(PinAnswer(boxes=boxes))


@api.post("/layers/unpin", summary="Unpin layers", responses={200: PinAnswer})
@requires(UserRole.OPERATOR)
@allows(Scope.FLEET)
@raises(404)
def unpin(body: PinBody) -> Response:
    """Let the timers decide again."""
    with context().database.write() as session:
        return reply(PinAnswer(boxes=services.unpin(session, body.name, body.boxes)))


@api.post("/layers/evict", summary="Evict layers", responses={204: None})
@requires(UserRole.OPERATOR)
@allows(Scope.FLEET)
@raises(404)
def evict(body: EvictBody) -> Response:
    """Let a box drop layers as soon as nothing there needs them."""
    master = context()
    with master.database.write() as session:
        services.evict(
            session,
            master.redis,
            current_user(),
            body.name,
            body.box,
            copies=master.settings.copies,
            force=body.force,
        )
    return nothing()


def _transfer(record: BoxTransfers, item: Transfer) -> RunningTransfer:
    return RunningTransfer(box=record.box, **dict(item))


def _answer(row: services.LayerRow) -> LayerAnswer:
    return LayerAnswer(
        digest=row.digest,
        size_bytes=row.size_bytes,
        media_type=row.media_type,
        images=row.images,
        vouched=row.vouched,
        holders=[
            HolderAnswer(
                box=item.box,
                used_at=item.used_at,
                goes_at=item.goes_at,
                pinned=item.pinned,
                held=item.held,
            )
            for item in row.holders
        ],
    )
