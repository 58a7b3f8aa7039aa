"""What should be on the boxes' wish lists, by SQL alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from common.names import BOXES, layers_key
from common.wishes import FilesetWish, HoldWish, wish_field
from common.words import Role
from master.context import MasterContext
from master.deployments.models import Instance, Mount
from master.filesets.models import FilesetCopy
from master.images.models import Image, ImageHolding
from master.images.services import blobs_of
from master.lifecycle.states import ON_A_BOX
from master.lifecycle.subjects import fileset_subject, image_subject
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
    found += [_hold(session, context, holding) for holding in session.scalars(select(ImageHolding))]
    found += [_ready(_fileset(copy)) for copy in session.scalars(select(FilesetCopy))]
    fetching = select(Mirror).where(Mirror.state == FETCHING)
    found += [_ready(mirror_wish(mirror)) for mirror in session.scalars(fetching)]
    return found


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


def _hold(session: Session, context: MasterContext, holding: ImageHolding) -> Expected:
    subject = image_subject(holding.digest)

    def derive() -> BoxWish:
        image = session.get_one(Image, holding.digest)
        wish = HoldWish(
            subject=subject,
            generation=0,
            version=holding.version,
            wanted="held" if holding.wanted == "held" else "removed",
            image=image_source(session, context, image, _holders(context, image), holding.box_id),
        )
        return BoxWish(holding.box_id, wish)

    return Expected(holding.box_id, wish_field(Role.DEPOSITORY, subject), (0, holding.version), derive)


def _holders(context: MasterContext, image: Image) -> dict[str, list[str]]:
    """Which boxes hold each blob of an image now."""
    boxes = sorted(str(box) for box in context.redis.smembers(BOXES))
    digests = [blob.digest for blob in blobs_of(image)]
    pipe = context.redis.pipeline(transaction=False)
    for box in boxes:
        pipe.smismember(layers_key(box), digests)
    answers = dict(zip(boxes, pipe.execute(), strict=True))
    return {digest: [box for box in boxes if answers[box][row]] for row, digest in enumerate(digests)}


def _fileset(copy: FilesetCopy) -> BoxWish:
    removed = copy.wanted == "removed"
    wish = FilesetWish(
        subject=fileset_subject(copy.fileset_id),
        generation=0,
        version=copy.fileset.offered_version + removed,
        wanted="removed" if removed else "held",
        fileset=copy.fileset_id,
        fileset_version=copy.fileset.version,
    )
    return BoxWish(copy.box_id, wish)
