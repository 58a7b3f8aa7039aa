"""Keeps enough copies of images, filesets and homes, and tells boxes which layers they may drop.

What to do is decided in `master.scheduling` (`replication`, `spares`); here the facts are gathered, and the
decisions become rows from which wishes are derived. The reconciler calls it before it mends the wish lists.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from common.errors import Unauthorized
from common.images import BlobRef
from common.logs import get_logger
from common.names import spare_key
from common.signing import Verifier
from common.spares import read_spares, sign_spares
from common.status import BoxStatus
from common.words import BoxKind, InstanceState, Role
from master.boxes.models import Box
from master.boxes.services import statuses
from master.context import MasterContext
from master.deployments.models import Instance, Mount
from master.filesets.models import Fileset, FilesetCopy, FilesetKind
from master.filesets.services import HELD, REMOVED
from master.images.models import Image, ImageHolding, Tag
from master.images.referrers import HeldBlobs
from master.layers.models import LayerOrder
from master.layers.services import KEPT
from master.lifecycle.census import Census
from master.lifecycle.silence import silent_key
from master.mirrors.models import Mirror
from master.mirrors.services import DONE
from master.scheduling.replication import Change, Copy, Store, Thing, plan
from master.scheduling.spares import Holder, spare_lists

log = get_logger(__name__)

# What somebody is putting on several boxes one after the other is not copied to them meanwhile.
PUT_GRACE_S = 600.0


class Replicator:
    """One per lifecycle process."""

    def __init__(self, context: MasterContext) -> None:
        self._context = context
        self._settings = context.settings
        self._redis = context.redis
        self._census = Census(context.redis)

    def run(self) -> None:
        """One round. Raises redis.RedisError, Unavailable."""
        up = statuses(self._redis)
        layers = self._census.take(up)
        now = time.time()
        with self._context.database.write() as session:
            silent = self._silent_since(session)
            every = HeldBlobs.load(session)
            there = frozenset().union(*(layers[box] for box in layers if up[box].offers_layers))
            images = [_Wanted(image, every.of(image, there)) for image in wanted_images(session)]
            self._images(
                session, images, up, layers, there, self._stores(session, up, silent, Role.DEPOSITORY), now
            )
            stores = self._stores(session, up, silent, Role.FILESTORE)
            self._filesets(session, up, stores, now)
            kept = _kept(session, every)
        self._spares(images, up, layers, kept)

    # Facts

    def _silent_since(self, session: Session) -> dict[str, float]:
        boxes = list(session.scalars(select(Box.id).where(Box.removed_at.is_(None))))
        answers = self._redis.mget([silent_key(box) for box in boxes]) if boxes else []
        return {box: float(str(at)) for box, at in zip(boxes, answers, strict=True) if at is not None}

    def _stores(
        self, session: Session, up: Mapping[str, BoxStatus], silent: Mapping[str, float], role: Role
    ) -> list[Store]:
        late = time.time() - self._settings.replicate_after_s
        found = []
        for box in session.scalars(select(Box).where(Box.removed_at.is_(None)).order_by(Box.id)):
            if role.value not in box.roles:
                continue
            status = up.get(box.id)
            found.append(
                Store(
                    box=box.id,
                    kind=status.kind if status else BoxKind(box.kind),
                    fixed=status.fixed if status else box.fixed,
                    free_bytes=status.disk.free_bytes if status else 0,
                    counts=status is not None or silent.get(box.id, 0.0) > late,
                    takes=status is not None and not status.alert and not box.cordoned,
                )
            )
        return found

    # Images

    def _images(
        self,
        session: Session,
        images: list[_Wanted],
        up: Mapping[str, BoxStatus],
        layers: Mapping[str, frozenset[str]],
        offered: frozenset[str],
        stores: list[Store],
        now: float,
    ) -> None:
        rows: dict[str, list[ImageHolding]] = {item.image.digest: [] for item in images}
        mirrored = set(session.scalars(select(Mirror.digest).where(Mirror.state == DONE)))
        for holding in session.scalars(select(ImageHolding)):
            if holding.digest in rows:
                rows[holding.digest].append(holding)
        things = []
        for item in images:
            image, digests = item.image, item.digests
            obtainable = digests <= offered
            copies = []
            for holding in rows[image.digest]:
                has = digests <= layers.get(holding.box_id, frozenset())
                if holding.wanted == HELD:
                    copies.append(Copy(holding.box_id, has, holding.planned))
                    if not has and obtainable and holding.box_id in up:
                        self._ask_image(holding, now)
            is_young = image.created_at > now - self._settings.replicate_after_s
            if is_young and image.digest not in mirrored:
                continue  # somebody may be pushing it to a second depository
            leaving = frozenset(row.box_id for row in rows[image.digest] if row.wanted == REMOVED)
            things.append(Thing(image.digest, item.size_bytes, tuple(copies), obtainable, leaving))
        for change in plan(things, stores, copies=self._settings.copies):
            self._change_image(session, change, now)

    def _ask_image(self, holding: ImageHolding, now: float) -> None:
        """The box should have it, has not, and all of it can be had: a new wish with a fresh ticket and sources."""
        if now - holding.asked_at > self._settings.replicate_retry_s:
            holding.asked_at, holding.held_at = now, None
            holding.version += 1

    def _change_image(self, session: Session, change: Change, now: float) -> None:
        for box in change.add:
            log.info("image to be copied", image=change.key, box=box)
            row = ImageHolding(digest=change.key, box_id=box, planned=True, asked_at=now, version=int(now))
            session.add(row)
        for box in change.drop:
            # The wish goes and the blobs stay, for as long as somebody uses them: their timers decide.
            log.info("copy of an image given up", image=change.key, box=box)
            session.delete(session.get_one(ImageHolding, (change.key, box)))
        session.flush()

    # Filesets and homes

    def _filesets(
        self, session: Session, up: Mapping[str, BoxStatus], stores: list[Store], now: float
    ) -> None:
        mounted = select(Mount.fileset_id, Mount.box_id).where(Mount.state != "ended")
        used = {(fileset, box) for fileset, box in session.execute(mounted)}
        things, follows = [], set()
        known = select(Fileset).where(Fileset.removed_at.is_(None), Fileset.version > 0)
        for fileset in session.scalars(known):
            is_home = fileset.kind == FilesetKind.HOME.value
            if is_home:
                follows.add(fileset.id)
            held = [copy for copy in fileset.copies if copy.wanted == HELD]
            copies = []
            for copy in held:
                has = copy.copied_at is not None if copy.follows else copy.version == fileset.version
                in_use = (fileset.id, copy.box_id) in used
                copies.append(Copy(copy.box_id, has, copy.planned, in_use))
                if copy.box_id in up:
                    self._ask_fileset(copy, has, now)
            leaving = frozenset(copy.box_id for copy in fileset.copies if copy.wanted == REMOVED)
            obtainable = any(
                copy.box_id in up and not copy.follows and copy.version == fileset.version for copy in held
            )
            things.append(Thing(fileset.id, fileset.size_bytes, tuple(copies), obtainable, leaving))
        for change in plan(things, stores, copies=self._settings.copies):
            self._change_fileset(session, change, change.key in follows, now)

    def _ask_fileset(self, copy: FilesetCopy, has: bool, now: float) -> None:
        """A new ticket: soon for what did not come, in time for a copy that is read again and again."""
        if copy.follows and has:
            pause_s = self._settings.fileset_ticket_s / 2
        elif has:
            return
        else:
            pause_s = self._settings.replicate_retry_s if copy.planned or copy.version else PUT_GRACE_S
        if now - copy.asked_at > pause_s:
            copy.asked_at = now

    def _change_fileset(self, session: Session, change: Change, follows: bool, now: float) -> None:
        for box in change.add:
            log.info("fileset to be copied", fileset=change.key, box=box)
            row = FilesetCopy(
                fileset_id=change.key, box_id=box, version=0, planned=True, asked_at=now, follows=follows
            )
            session.add(row)
        for box in change.drop:
            log.info("copy of a fileset given up", fileset=change.key, box=box)
            row = session.get_one(FilesetCopy, (change.key, box))
            row.wanted, row.asked_at = REMOVED, now
        session.flush()

    # What boxes may drop

    def _spares(
        self,
        images: list[_Wanted],
        up: Mapping[str, BoxStatus],
        layers: Mapping[str, frozenset[str]],
        kept: Mapping[str, set[str]],
    ) -> None:
        wanted = frozenset().union(*(item.digests for item in images))
        before = self._lists(up)
        holders = [
            Holder(
                box=box,
                holds=layers[box],
                firm=frozenset(kept.get(box, ())),
                fixed=status.fixed,
                offers=status.offers_layers,
            )
            for box, status in up.items()
        ]
        lists = spare_lists(holders, wanted, before, copies=self._settings.copies)
        pipe = self._redis.pipeline(transaction=False)
        for box, blobs in lists.items():
            if blobs != before.get(box):
                pipe.set(spare_key(box), sign_spares(self._context.signer, box, blobs))
        pipe.execute()

    def _lists(self, up: Mapping[str, BoxStatus]) -> dict[str, frozenset[str]]:
        """The lists in force, read back: they, and no memory of this process, are what boxes go by."""
        boxes = sorted(up)
        verifier = Verifier(self._context.signer.public_key)
        found = {}
        for box, token in zip(boxes, self._redis.mget([spare_key(box) for box in boxes]), strict=True):
            if token is None:
                continue
            try:
                found[box] = read_spares(verifier, box, str(token))
            except Unauthorized:
                log.warning("list of spare layers written anew", box=box)
        return found


def wanted_images(session: Session) -> list[Image]:
    """Images that can be started, or that run."""
    over = [state.value for state in InstanceState if state.is_over]
    running = select(Instance.image_digest).where(Instance.state.not_in(over))
    query = select(Image).where(or_(Image.digest.in_(select(Tag.digest)), Image.digest.in_(running)))
    return list(session.scalars(query.order_by(Image.digest)))


@dataclass(frozen=True)
class _Wanted:
    """An image with all that is held with it."""

    image: Image
    blobs: list[BlobRef]

    @property
    def digests(self) -> frozenset[str]:
        return frozenset(blob.digest for blob in self.blobs)

    @property
    def size_bytes(self) -> int:
        return sum(blob.size_bytes for blob in self.blobs)


def _kept(session: Session, every: HeldBlobs) -> dict[str, set[str]]:
    """The blobs that wishes let each box keep."""
    kept: dict[str, set[str]] = {}
    rows = select(ImageHolding.box_id, Image).join(Image, Image.digest == ImageHolding.digest)
    for box, image in session.execute(rows.where(ImageHolding.wanted == HELD)):
        kept.setdefault(box, set()).update(blob.digest for blob in every.of(image))
    for order in session.scalars(select(LayerOrder).where(LayerOrder.wanted == KEPT)):
        kept.setdefault(order.box_id, set()).update(order.blobs)
    return kept
