"""The images of an index: one row each, kept as long as the index is."""

from __future__ import annotations

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from common.images import DescribedImage, PlatformImage
from common.oci.manifests import parse
from common.words import InstanceState
from master.deployments.models import Instance
from master.images.models import Image, ImageHolding, ImageReferrer, ImageVariant, Tag


def add_image(session: Session, told: DescribedImage) -> Image:
    """The image's row, made if there is none; an index that comes with more of its images than before gets them."""
    image = session.get(Image, told.digest)
    known = {item.digest for item in variants_of(session, image)} if image else set()
    if image is None:
        image = _row(session, told)
    elif known >= {item.digest for item in told.variants}:
        return image
    order = [item.digest for item in parse(told.manifest.encode(), told.media_type).manifests]
    for variant in told.variants:
        if session.get(Image, variant.digest) is None:
            _row(session, variant)
        if variant.digest not in known:
            place = order.index(variant.digest)
            session.add(ImageVariant(index_digest=image.digest, position=place, digest=variant.digest))
    session.flush()
    if told.variants:
        _gather(session, image)
    return image


def _row(session: Session, told: PlatformImage) -> Image:
    image = Image(
        digest=told.digest,
        media_type=told.media_type,
        architecture=told.architecture,
        size_bytes=sum(blob.size_bytes for blob in told.blobs),
        blobs=[blob.model_dump() for blob in told.blobs],
    )
    session.add(image)
    session.flush()
    return image


def _gather(session: Session, index: Image) -> None:
    """All that a depository of the index holds: the index, and each blob of its images once."""
    blobs = {blob["digest"]: blob for blob in index.blobs[:1]}
    for variant in variants_of(session, index):
        blobs |= {blob["digest"]: blob for blob in variant.blobs}
    index.blobs = list(blobs.values())
    index.size_bytes = sum(blob["size_bytes"] for blob in index.blobs)


def variants_of(session: Session, image: Image) -> list[Image]:
    """What can be run of it: the images of an index in its order; an image for one platform is its own only one."""
    found = session.scalars(
        select(Image)
        .join(ImageVariant, ImageVariant.digest == Image.digest)
        .where(ImageVariant.index_digest == image.digest)
        .order_by(ImageVariant.position)
    )
    return list(found) or [image]


def index_of(session: Session, image: Image) -> list[str]:
    """Digests of the indexes that name the image."""
    return list(session.scalars(select(ImageVariant.index_digest).where(ImageVariant.digest == image.digest)))


def is_used(session: Session, digest: str, *, now: bool = False) -> str | None:
    """An instance that uses the image, or ever did."""
    query = select(Instance.id).where(or_(Instance.image_digest == digest, Instance.variant_digest == digest))
    if now:
        over = [state.value for state in InstanceState if state.is_over]
        query = query.where(Instance.state.not_in(over))
    return session.scalar(query.limit(1))


def drop_image(session: Session, image: Image) -> None:
    """Forget an image that has no tag, no box, no index and no instance in its history; then its variants."""
    digest = image.digest
    kept = (
        session.scalar(select(ImageHolding.box_id).where(ImageHolding.digest == digest).limit(1)),
        session.scalar(select(Tag.tag).where(Tag.digest == digest).limit(1)),
        session.scalar(select(ImageVariant.digest).where(ImageVariant.digest == digest).limit(1)),
        is_used(session, digest),
    )
    if any(kept):
        return
    for referrer in session.scalars(select(ImageReferrer).where(ImageReferrer.subject_digest == digest)):
        session.delete(referrer)
    own = [item for item in variants_of(session, image) if item is not image]
    for row in session.scalars(select(ImageVariant).where(ImageVariant.index_digest == digest)):
        session.delete(row)
    session.flush()
    session.delete(image)
    session.flush()
    for variant in own:
        drop_image(session, variant)
