"""Images: what a tag names, who holds it, and which chunk lists are vouched for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import redis
from sqlalchemy import select
from sqlalchemy.orm import Session

from common.errors import Conflict, NotFound
from common.images import NO_ARCHITECTURE, BlobRef, DescribedImage
from common.logs import get_logger
from common.names import BOXES, layers_key, status_key
from common.reports import Held
from common.wishes import BlobSource, ChunkList, ImageSource
from common.words import Endpoint, RepositoryName, TagName
from master.accounts.models import User
from master.audit.services import record
from master.images.chunks import record_chunks
from master.images.manifests import check_image
from master.images.models import BlobChunks, Image, ImageHolding, Tag
from master.images.referrers import ask_anew, forget_referrers
from master.images.variants import add_image, drop_image, index_of, is_used, variants_of

log = get_logger(__name__)

HELD = "held"
REMOVED = "removed"
DEFAULT_TAG = "latest"


class NewTag(DescribedImage):
    """A tag as a depository hands it on after a push."""

    repository: RepositoryName
    tag: TagName


@dataclass(frozen=True)
class TagRow:
    """A tag with its image (and those for each platform, if it is an index), for lists."""

    tag: Tag
    image: Image
    variants: list[Image]
    boxes: list[str]

    @property
    def architectures(self) -> list[str]:
        """What boxes it runs on."""
        return list(
            dict.fromkeys(
                item.architecture for item in self.variants if item.architecture not in NO_ARCHITECTURE
            )
        )

    @property
    def layers(self) -> int:
        """Layers of the image, or of that of its images that has most."""
        return max((len(item.blobs) - 2 for item in self.variants), default=0)


def split_reference(reference: str) -> tuple[str, str]:
    """Repository and tag of `repository:tag`; without a tag it is `latest`."""
    repository, colon, tag = reference.partition(":")
    return repository, tag if colon else DEFAULT_TAG


def find_tag(session: Session, repository: str, tag: str) -> Tag:
    """The tag; raises NotFound that names it."""
    found = session.get(Tag, (repository, tag))
    if found is None:
        raise NotFound(
            f"There is no image {repository}:{tag}.",
            field="image",
            remedy=f"Push it: openraas image push PATH {repository}:{tag}.",
        )
    return found


def find_image(session: Session, repository: str, tag: str) -> Image | None:
    """The image that a tag names now, if there is such a tag."""
    found = session.get(Tag, (repository, tag))
    return session.get_one(Image, found.digest) if found else None


def resolve(session: Session, reference: str) -> Image:
    """The image that `repository:tag` names now; raises NotFound that names it."""
    tag = find_tag(session, *split_reference(reference))
    return session.get_one(Image, tag.digest)


def blobs_of(image: Image) -> list[BlobRef]:
    """The image's blobs: manifest first, then config, then layers."""
    return [BlobRef.model_validate(item) for item in image.blobs]


def set_tag(session: Session, new: NewTag, *, box: str, owner: User | None) -> Image:
    """Let a tag name an image that was pushed to `box`; the image becomes known by its manifest.

    Raises BadInput if manifests, digests and blobs do not belong together.
    """
    check_image(new)
    known = session.get(Image, new.digest)
    before = None if known is None else list(known.blobs)
    image = add_image(session, new)
    if before is not None and before != image.blobs:
        ask_anew(session, image.digest, without=box)
    _want_held(session, image, box)
    tag = session.get(Tag, (new.repository, new.tag))
    if tag is None:
        tag = Tag(repository=new.repository, tag=new.tag, owner_id=owner.id if owner else None)
        session.add(tag)
    previous = tag.digest
    changed = {"digest": previous}, {"digest": image.digest}
    record(session, "image.tag", f"image:{new.repository}:{new.tag}", before=changed[0], after=changed[1])
    tag.digest, tag.changed_at = image.digest, time.time()
    session.flush()
    if previous and previous != image.digest:
        _drop_untagged(session, previous)
    return image


def _want_held(session: Session, image: Image, box: str) -> None:
    holding = session.get(ImageHolding, (image.digest, box))
    if holding is None:
        session.add(ImageHolding(digest=image.digest, box_id=box))
    elif holding.wanted != HELD:
        # What was to go may be gone already: it counts again once the box says so.
        holding.wanted, holding.held_at = HELD, None
        holding.version += 1


def list_tags(session: Session, repository: str | None = None) -> list[TagRow]:
    """All tags, or those of one repository, by name."""
    query = select(Tag, Image).join(Image, Image.digest == Tag.digest).order_by(Tag.repository, Tag.tag)
    if repository is not None:
        query = query.where(Tag.repository == repository)
    held: dict[str, list[str]] = {}
    for holding in session.scalars(
        select(ImageHolding).where(ImageHolding.wanted == HELD).order_by(ImageHolding.box_id)
    ):
        if holding.held_at is not None:
            held.setdefault(holding.digest, []).append(holding.box_id)
    return [
        TagRow(tag, image, variants_of(session, image), held.get(image.digest, []))
        for tag, image in session.execute(query)
    ]


def remove_tag(session: Session, repository: str, tag: str) -> None:
    """Remove a tag, and with the last one its image: depositories are then wanted to drop it.

    Raises NotFound, or Conflict while an instance of the image is not over and this is its last name.
    """
    found = find_tag(session, repository, tag)
    digest = found.digest
    names = session.scalars(select(Tag.tag).where(Tag.digest == digest).limit(2)).all()
    if len(names) == 1 and (using := is_used(session, digest, now=True)):
        raise Conflict(
            f"{repository}:{tag} is in use by instance {using}.", field="image", remedy="Stop it first."
        )
    record(session, "image.untag", f"image:{repository}:{tag}", before={"digest": digest})
    session.delete(found)
    session.flush()
    _drop_untagged(session, digest)


def remove_tags_of(session: Session, repository: str, digest: str) -> None:
    """Remove all tags of a repository that name an image; that there is none is no error. Raises Conflict."""
    tags = select(Tag.tag).where(Tag.repository == repository, Tag.digest == digest)
    for tag in list(session.scalars(tags)):
        remove_tag(session, repository, tag)
    if session.get(Image, digest) is None:
        forget_referrers(session, digest)


def _drop_untagged(session: Session, digest: str) -> None:
    """Mark what depositories hold of an image without any tag; one that still runs is kept until it ends."""
    tagged = session.scalar(select(Tag.tag).where(Tag.digest == digest).limit(1))
    if tagged or is_used(session, digest, now=True):
        return
    for holding in session.scalars(select(ImageHolding).where(ImageHolding.digest == digest)):
        if holding.wanted != REMOVED:
            holding.wanted = REMOVED
            holding.version += 1
    session.flush()


def drop_unused(session: Session) -> None:
    """Mark the images that lost their last tag while they ran and no longer run; the reconciler calls it."""
    kept = (
        select(ImageHolding.digest)
        .where(ImageHolding.wanted == HELD, ImageHolding.digest.not_in(select(Tag.digest)))
        .distinct()
    )
    for digest in list(session.scalars(kept)):
        _drop_untagged(session, digest)


def record_removed(session: Session, box: str, digest: str) -> None:
    """A box reported that nothing of the image is left there; the last one takes the image with it."""
    holding = session.get(ImageHolding, (digest, box))
    if holding is None or holding.wanted != REMOVED:
        return
    session.delete(holding)
    session.flush()
    drop_image(session, session.get_one(Image, digest))


def record_held(session: Session, client: redis.Redis, box: str, held: Held) -> None:
    """Take in which blobs a box verified: their chunk lists, and whether an image is whole there now."""
    for blob in held.blobs:
        record_chunks(session, box, blob)
    session.flush()
    missing = list(
        session.scalars(
            select(ImageHolding).where(ImageHolding.box_id == box, ImageHolding.held_at.is_(None))
        )
    )
    if not missing:
        return
    reported = {blob.digest for blob in held.blobs}
    for holding in missing:
        digests = {blob.digest for blob in blobs_of(session.get_one(Image, holding.digest))} - reported
        if not digests or all(client.smismember(layers_key(box), sorted(digests))):
            holding.held_at = time.time()


def holders(session: Session, client: redis.Redis, image: Image) -> list[str]:
    """The boxes that hold every blob of the image (of an index: of one of its images) now, whatever their roles."""
    runnable = [item for item in variants_of(session, image) if item.architecture not in NO_ARCHITECTURE]
    wanted = [{blob.digest for blob in blobs_of(item)} for item in runnable or [image]]
    boxes = sorted(str(box) for box in client.smembers(BOXES))
    found = blob_holders(client, boxes, sorted(set().union(*wanted)))
    return [box for box in boxes if any(all(box in found[blob] for blob in blobs) for blobs in wanted)]


def blob_holders(client: redis.Redis, boxes: Sequence[str], digests: Sequence[str]) -> dict[str, list[str]]:
    """Which of these boxes hold each blob now, in the order of `boxes`. Raises redis.RedisError."""
    with client.pipeline(transaction=False) as pipeline:
        for box in boxes:
            pipeline.smismember(layers_key(box), list(digests))
        answers = dict(zip(boxes, pipeline.execute(), strict=True))
    return {digest: [box for box in boxes if answers[box][row]] for row, digest in enumerate(digests)}


def is_expected(session: Session, client: redis.Redis, image: Image) -> bool:
    """Whether a box that is up took the image in, although its next heartbeat may not have told so yet."""
    boxes = session.scalars(
        select(ImageHolding.box_id).where(ImageHolding.digest == image.digest, ImageHolding.wanted == HELD)
    )
    return any(client.exists(status_key(box)) for box in boxes)


def build_source(
    session: Session,
    image: Image,
    endpoints: dict[str, Endpoint],
    ticket: str,
    *,
    name: str | None = None,
    blobs: list[BlobRef] | None = None,
) -> ImageSource:
    """What a box needs to fetch the image from the boxes in `endpoints`, all of which hold it.

    `ticket` is a LayerTicket for its blobs; `name` is for people (by default one of its tags); `blobs` are
    those of the image, and of what is held with it.
    """
    blobs = blobs or blobs_of(image)
    lists = {
        row.digest: row
        for row in session.scalars(
            select(BlobChunks).where(
                BlobChunks.digest.in_([blob.digest for blob in blobs]), BlobChunks.confirmed_by.is_not(None)
            )
        )
    }
    boxes = sorted(endpoints)
    return ImageSource(
        name=name or _name_of(session, image),
        manifest=image.digest,
        blobs=[
            BlobSource(
                digest=blob.digest,
                size_bytes=blob.size_bytes,
                media_type=blob.media_type,
                boxes=boxes,
                chunk_list=_chunk_list(lists.get(blob.digest), blob),
            )
            for blob in blobs
        ],
        endpoints=endpoints,
        ticket=ticket,
    )


def _name_of(session: Session, image: Image) -> str:
    digests = [image.digest, *index_of(session, image)]
    tag = session.scalar(
        select(Tag).where(Tag.digest.in_(digests)).order_by(Tag.repository, Tag.tag).limit(1)
    )
    return f"{tag.repository}:{tag.tag}" if tag else image.digest


def _chunk_list(row: BlobChunks | None, blob: BlobRef) -> ChunkList | None:
    if row is None or row.size_bytes != blob.size_bytes:
        return None
    return ChunkList(
        blob=row.digest, size_bytes=row.size_bytes, chunk_bytes=row.chunk_bytes, chunks=row.chunks
    )
