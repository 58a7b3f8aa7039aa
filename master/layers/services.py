"""Layers: who holds what, and what operators decide about single copies."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import redis
from sqlalchemy import select
from sqlalchemy.orm import Session

from common.errors import BadInput, Conflict, NotFound, Unauthorized
from common.names import BOXES, layers_key, spare_key, timers_key
from common.signing import Verifier
from common.spares import read_spares
from common.words import is_digest
from master.accounts.models import User
from master.boxes.services import find as find_box
from master.boxes.services import statuses
from master.images.models import BlobChunks, Image, ImageHolding, Tag
from master.images.referrers import HeldBlobs
from master.images.services import HELD, REMOVED, resolve
from master.layers.models import LayerOrder

KEPT, EVICTED = "kept", "evicted"
# Values that one query may have (SQLite before 3.32 takes 999).
MOST_VALUES = 900


@dataclass(frozen=True)
class LayerHolder:
    """A copy of a layer on one box. Times are Unix times; none where the box has not told yet."""

    box: str
    used_at: float | None
    goes_at: float | None
    pinned: bool
    held: bool


@dataclass
class LayerRow:
    """A blob with everybody who holds it."""

    digest: str
    size_bytes: int | None = None
    media_type: str = ""
    images: list[str] = field(default_factory=list)
    holders: list[LayerHolder] = field(default_factory=list)
    vouched: bool = False  # two boxes agree on its chunks, so it may come from several at once


def list_layers(
    session: Session,
    client: redis.Redis,
    verifier: Verifier,
    *,
    image: str | None = None,
    box: str | None = None,
) -> list[LayerRow]:
    """Every blob that an image names or a box that is up holds; only of one `image`, or on one `box`, if named.

    Raises redis.RedisError.
    """
    rows = _all_layers(session, client, verifier)
    found = [
        row
        for row in rows.values()
        if (image is None or image in row.images)
        and (box is None or any(holder.box == box for holder in row.holders))
    ]
    _add_sizes(session, found)
    return sorted(found, key=lambda row: (row.images or ["~"], -(row.size_bytes or 0), row.digest))


def _all_layers(session: Session, client: redis.Redis, verifier: Verifier) -> dict[str, LayerRow]:
    rows: dict[str, LayerRow] = {}
    _add_images(session, rows)
    firm, pinned = _firm(session)
    for box, status in sorted(statuses(client).items()):
        told: Any = client.zrange(timers_key(box), 0, -1, withscores=True)  # the stubs know one form only
        timers = {str(digest): float(at) for digest, at in told}
        spare = _spare(client, verifier, box)
        for digest in sorted(str(item) for item in client.smembers(layers_key(box))):
            row = rows.setdefault(digest, LayerRow(digest))
            used_at = timers.get(digest)
            stays = digest not in spare or (box, digest) in firm or (box, digest) in pinned
            goes_at = None if stays or used_at is None else used_at + status.layer_timer_s
            row.holders.append(
                LayerHolder(box, used_at, goes_at, (box, digest) in pinned, (box, digest) in firm)
            )
    return rows


def _add_sizes(session: Session, rows: list[LayerRow]) -> None:
    """Of blobs that no image names; and whether their chunks are vouched for."""
    known = {row.digest: row for row in rows}
    for some in batched(known):
        chunks = select(BlobChunks.digest, BlobChunks.size_bytes, BlobChunks.confirmed_by)
        for digest, size_bytes, confirmed_by in session.execute(chunks.where(BlobChunks.digest.in_(some))):
            row = known[digest]
            row.size_bytes = size_bytes if row.size_bytes is None else row.size_bytes
            row.vouched = confirmed_by is not None


def batched(digests: Iterable[str]) -> Iterator[list[str]]:
    """So many at a time that every database takes them as values of one query."""
    left = list(digests)
    for start in range(0, len(left), MOST_VALUES):
        yield left[start : start + MOST_VALUES]


def _add_images(session: Session, rows: dict[str, LayerRow]) -> None:
    tagged = select(Tag, Image).join(Image, Image.digest == Tag.digest).order_by(Tag.repository, Tag.tag)
    every = HeldBlobs.load(session)
    for tag, image in session.execute(tagged):
        for blob in every.of(image):
            row = rows.setdefault(blob.digest, LayerRow(blob.digest))
            row.size_bytes, row.media_type = blob.size_bytes, blob.media_type
            row.images.append(f"{tag.repository}:{tag.tag}")


def _firm(session: Session) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """(box, blob) of what images are to be held, and of what is pinned."""
    held = select(ImageHolding.box_id, Image).join(Image, Image.digest == ImageHolding.digest)
    every = HeldBlobs.load(session)
    firm = {
        (box, blob.digest)
        for box, image in session.execute(held.where(ImageHolding.wanted == HELD))
        for blob in every.of(image)
    }
    orders = session.scalars(select(LayerOrder).where(LayerOrder.wanted == KEPT))
    return firm, {(order.box_id, digest) for order in orders for digest in order.blobs}


def _spare(client: redis.Redis, verifier: Verifier, box: str) -> frozenset[str]:
    token = client.get(spare_key(box))
    try:
        return read_spares(verifier, box, str(token)) if token else frozenset()
    except Unauthorized:
        return frozenset()


def pin(session: Session, client: redis.Redis, user: User, name: str, boxes: Iterable[str]) -> list[str]:
    """Let boxes keep an image or a blob whatever its timer says; none named: all that hold it now.

    Returns the boxes. Raises NotFound, or Conflict for a box that does not hold all of it.
    """
    digest, blobs = _target(session, name)
    holding = _holding(client, blobs)
    chosen = list(dict.fromkeys(boxes)) or sorted(
        box for box, found in holding.items() if found >= set(blobs)
    )
    if not chosen:
        raise Conflict(f"No box that is up holds all of {name}.", field="name")
    for box in chosen:
        find_box(session, box)
        if not holding.get(box, set()) >= set(blobs):
            raise Conflict(
                f"Box {box} does not hold all of {name}.", field="boxes", remedy="See openraas layer list."
            )
        _write(session, user, box, digest, blobs, KEPT)
    return chosen


def unpin(session: Session, name: str, boxes: Iterable[str]) -> list[str]:
    """Let the timers decide again, on these boxes or on all; returns where it was pinned. Raises NotFound."""
    digest, _ = _target(session, name)
    named = set(boxes)
    orders = select(LayerOrder).where(LayerOrder.digest == digest, LayerOrder.wanted == KEPT)
    found = [order for order in session.scalars(orders) if not named or order.box_id in named]
    if not found:
        raise NotFound(
            f"{name} is not pinned{' there' if named else ''}.",
            field="name",
            remedy="See openraas layer list.",
        )
    for order in found:
        session.delete(order)
    session.flush()
    return sorted(order.box_id for order in found)


def evict(
    session: Session,
    client: redis.Redis,
    user: User,
    name: str,
    box: str,
    *,
    copies: int,
    force: bool = False,
) -> None:
    """Let a box drop an image or a blob as soon as nothing there needs it, and give it up as a copy.

    Raises NotFound if the box has nothing of it, and Conflict while it is pinned there or, without `force`,
    while too few other boxes that are up hold each of its blobs: `copies` where the box is to hold the image,
    one where it only has it.
    """
    find_box(session, box)
    digest, blobs = _target(session, name)
    holding = _holding(client, blobs)
    if not holding.get(box):
        raise NotFound(f"Box {box} holds nothing of {name}.", field="name")
    order = session.get(LayerOrder, (digest, box))
    if order is not None and order.wanted == KEPT:
        raise Conflict(
            f"{name} is pinned on {box}.",
            field="name",
            remedy=f"Unpin it first: openraas layer unpin {name} --box {box}.",
        )
    fewest = min(sum(blob in found for other, found in holding.items() if other != box) for blob in blobs)
    held = session.get(ImageHolding, (digest, box))
    is_meant = held is not None and held.wanted == HELD
    least = copies if is_meant else 1
    if fewest < least and not force:
        raise Conflict(
            f"Only {fewest} other boxes that are up hold all of {name}, and there should be {least}.",
            field="force",
            remedy="Wait until it has been copied, or do it with --force.",
        )
    if held is not None and is_meant:
        held.wanted = REMOVED
        held.version += 1
    _write(session, user, box, digest, blobs, EVICTED)


def record_evicted(session: Session, box: str, digest: str) -> None:
    """A box reported that nothing of it is left there."""
    order = session.get(LayerOrder, (digest, box))
    if order is not None and order.wanted == EVICTED:
        session.delete(order)
        session.flush()


def _target(session: Session, name: str) -> tuple[str, list[str]]:
    """What a person means: an image by its name or digest, or a single blob by its digest."""
    if not is_digest(name):
        if "@" in name or name.startswith("sha256:"):
            raise BadInput(
                f"{name!r} is neither an image's name nor a digest.",
                field="name",
                remedy="See openraas layer list.",
            )
        image: Image | None = resolve(session, name)
    else:
        image = session.get(Image, name)
    if image is None:
        return name, [name]
    return image.digest, [blob.digest for blob in HeldBlobs.load(session).of(image)]


def _holding(client: redis.Redis, blobs: list[str]) -> Mapping[str, set[str]]:
    """Which of these blobs each box that is up holds."""
    boxes = sorted(statuses(client).keys() & {str(box) for box in client.smembers(BOXES)})
    with client.pipeline(transaction=False) as pipe:
        for box in boxes:
            pipe.smismember(layers_key(box), blobs)
        answers = pipe.execute()
    return {
        box: {blob for blob, there in zip(blobs, found, strict=True) if there}
        for box, found in zip(boxes, answers, strict=True)
    }


def _write(session: Session, user: User, box: str, digest: str, blobs: list[str], wanted: str) -> None:
    order = session.get(LayerOrder, (digest, box))
    if order is None:
        order = LayerOrder(digest=digest, box_id=box, blobs=blobs, version=int(time.time()))
        session.add(order)
    order.wanted, order.blobs, order.user_id, order.at = wanted, blobs, user.id, time.time()
    order.version += 1
    session.flush()
