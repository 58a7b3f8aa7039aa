"""What should be on the boxes' wish lists, by SQL alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from common.images import BlobRef
from common.status import BoxStatus
from common.tickets import FilesetTicket, issue
from common.wishes import FilesetSource, FilesetWish, HoldWish, LayersWish, wish_field
from common.words import Coordinate, Role, distance_ms
from master.boxes.standing import accused, trusted
from master.context import MasterContext
from master.deployments.models import Instance, Mount
from master.filesets.models import FilesetCopy
from master.filesets.services import HELD, REMOVED
from master.images.models import Image, ImageHolding
from master.images.referrers import HeldBlobs
from master.images.services import blob_holders
from master.layers.models import LayerOrder
from master.lifecycle.reads import Reads
from master.lifecycle.states import ON_A_BOX
from master.lifecycle.subjects import fileset_subject, image_subject, layers_subject
from master.lifecycle.wishes import (
    BoxWish,
    compute_wish,
    depository_boxes,
    export_wish,
    image_source,
    mirror_wish,
    mount_subject,
    offer_wishes,
)
from master.mirrors.models import Mirror
from master.mirrors.services import FETCHING
from master.nearness.map import located_statuses
from master.prewarming.models import WarmPool
from master.prewarming.wishes import field_of, pools, warm_wish

Order = tuple[int, int]


@dataclass(frozen=True)
class Expected:
    """One wish that should be listed, and how to derive it if it is not."""

    box: str
    field: str
    order: Order
    derive: Callable[[], BoxWish]


def expected_wishes(session: Session, context: MasterContext) -> list[Expected]:
    """Every wish of every box. Deriving one later needs the same session."""
    found: list[Expected] = []
    depositories = depository_boxes(session)
    on_boxes = select(Instance).where(Instance.state.in_([state.value for state in ON_A_BOX]))
    for instance in session.scalars(on_boxes):
        found.append(_compute(session, context, instance))
        found += [_ready(item) for item in offer_wishes(instance, depositories=depositories)]
    mounted = select(Mount).where(Mount.state.in_(("exporting", "exported", "ending")))
    found += [_export(session, mount) for mount in session.scalars(mounted)]
    every = HeldBlobs.load(session)
    found += [_hold(session, context, holding, every) for holding in session.scalars(select(ImageHolding))]
    found += [_fileset(context, copy) for copy in session.scalars(select(FilesetCopy))]
    found += [_ready(_order(order)) for order in session.scalars(select(LayerOrder))]
    found += [_warm(session, context, pool) for pool in pools(session)]
    fetching = select(Mirror).where(Mirror.state == FETCHING)
    found += [_ready(mirror_wish(mirror)) for mirror in session.scalars(fetching)]
    return found


def _warm(session: Session, context: MasterContext, pool: WarmPool) -> Expected:
    order, derive = (0, pool.version), lambda: warm_wish(session, context, pool)
    return Expected(pool.box_id, field_of(pool), order, derive)


def _ready(item: BoxWish) -> Expected:
    wish = item.wish
    return Expected(item.box, wish_field(wish.role, wish.subject), wish.order, lambda: item)


def _compute(session: Session, context: MasterContext, instance: Instance) -> Expected:
    assert instance.box_id is not None  # noqa: S101 - an instance in these states has a box
    return Expected(
        instance.box_id,
        wish_field(Role.COMPUTE, instance.id),
        (instance.generation, instance.wish_version),
        lambda: compute_wish(session, context, instance),
    )


def _export(session: Session, mount: Mount) -> Expected:
    return Expected(
        mount.box_id,
        wish_field(Role.FILESTORE, mount_subject(mount)),
        (mount.generation, mount.wish_version),
        lambda: export_wish(session, mount),
    )


def _hold(session: Session, context: MasterContext, holding: ImageHolding, every: HeldBlobs) -> Expected:
    subject = image_subject(holding.digest)

    def derive() -> BoxWish:
        image = session.get_one(Image, holding.digest)
        blobs, boxes = _obtainable(context, image, every, holding.box_id)
        wish = HoldWish(
            subject=subject,
            generation=0,
            version=holding.version,
            wanted="held" if holding.wanted == "held" else "removed",
            image=image_source(context, Reads(session, context), image.digest, boxes, holding.box_id, blobs),
        )
        return BoxWish(holding.box_id, wish)

    return Expected(holding.box_id, wish_field(Role.DEPOSITORY, subject), (0, holding.version), derive)


def _obtainable(
    context: MasterContext, image: Image, every: HeldBlobs, target: str
) -> tuple[list[BlobRef], dict[str, list[str]]]:
    """The blobs that a box is to hold, and which others offer each now: the nearest first, liars only if alone."""
    boxes = nearest_first(located_statuses(context.redis), target)
    found = blob_holders(context.redis, [target, *boxes], [blob.digest for blob in every.of(image)])
    good = set(trusted(boxes, accused(context.redis, boxes)))
    holders = {}
    for digest, named in found.items():
        others = [box for box in named if box != target]
        holders[digest] = [box for box in others if box in good] or others
    there = {digest for digest, named in found.items() if named}
    return every.of(image, there), holders


def nearest_first(known: Mapping[str, BoxStatus], target: str) -> list[str]:
    """Boxes from which layers can be fetched, other than `target`, by their distance from it."""
    here = known[target].coordinate if target in known else Coordinate()
    others = [item for box, item in known.items() if box != target and item.offers_layers]
    return [
        item.box for item in sorted(others, key=lambda item: (distance_ms(here, item.coordinate), item.box))
    ]


def _fileset(context: MasterContext, copy: FilesetCopy) -> Expected:
    subject, fileset = fileset_subject(copy.fileset_id), copy.fileset
    removed = copy.wanted == REMOVED
    # A copy that is asked for again gets a new ticket; what somebody puts is announced by `offered_version`.
    version = fileset.offered_version + int(copy.asked_at) + removed

    def derive() -> BoxWish:
        wish = FilesetWish(
            subject=subject,
            generation=0,
            version=version,
            wanted="removed" if removed else "held",
            fileset=copy.fileset_id,
            fileset_version=fileset.version,
            source=None if removed else fileset_source(context, copy),
            follows=copy.follows,
            size_limit_bytes=fileset.size_limit_bytes,
            every_s=context.settings.home_copy_every_s if copy.follows else 0.0,
        )
        return BoxWish(copy.box_id, wish)

    return Expected(copy.box_id, wish_field(Role.FILESTORE, subject), (0, version), derive)


def fileset_source(context: MasterContext, copy: FilesetCopy) -> FilesetSource | None:
    """The nearest box that is up from which a copy can be fetched; a home is read from where it is written."""
    fileset, known = copy.fileset, located_statuses(context.redis)
    here = known[copy.box_id].coordinate if copy.box_id in known else Coordinate()
    able = [
        status
        for other in fileset.copies
        if other.box_id != copy.box_id
        and other.wanted == HELD
        and not other.follows
        and 0 < other.version == fileset.version
        and (status := known.get(other.box_id)) is not None
        and status.front is not None
    ]
    if not able or (copy.version == fileset.version and not copy.follows):
        return None
    best = min(able, key=lambda status: (distance_ms(here, status.coordinate), status.box))
    ticket = FilesetTicket(
        user=f"box.{copy.box_id}",
        box=best.box,
        fileset=fileset.id,
        version=fileset.version,
        action="get",
        size_limit_bytes=fileset.size_limit_bytes or context.settings.max_upload_bytes,
        expires_at=time.time() + context.settings.fileset_ticket_s,
    )
    assert best.front is not None  # noqa: S101 - only such boxes are able
    return FilesetSource(box=best.box, endpoint=best.front, ticket=issue(context.signer, ticket))


def _order(order: LayerOrder) -> BoxWish:
    wish = LayersWish(
        subject=layers_subject(order.digest),
        generation=0,
        version=order.version,
        wanted="kept" if order.wanted == "kept" else "evicted",
        blobs=order.blobs,
    )
    return BoxWish(order.box_id, wish)
