"""What refers to images by `subject` (signatures, bills of materials): kept and copied as long as the image is.

Only depositories that are meant to hold an image are believed about it, and only what a manifest's text proves.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterable
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from common.errors import BadInput
from common.images import BlobRef, DescribedImage, PlatformImage
from common.logs import get_logger
from common.oci.manifests import parse
from master.images.manifests import check_image
from master.images.models import Image, ImageHolding, ImageReferrer, ImageVariant
from master.images.variants import index_of

log = get_logger(__name__)

# Of one image; whoever may push could fill the tables otherwise.
MOST_REFERRERS = 200


@dataclass(frozen=True)
class HeldBlobs:
    """What a depository of an image holds: its blobs, and those of what refers to it or to one of its variants."""

    referrers: dict[str, list[BlobRef]]
    variants: dict[str, list[str]]

    @classmethod
    def load(cls, session: Session) -> HeldBlobs:
        """As it is now."""
        referrers: dict[str, list[BlobRef]] = {}
        for row in session.scalars(select(ImageReferrer).order_by(ImageReferrer.digest)):
            blobs = [BlobRef.model_validate(item) for item in row.blobs]
            referrers.setdefault(row.subject_digest, []).extend(blobs)
        variants: dict[str, list[str]] = {}
        if referrers:
            for variant in session.scalars(select(ImageVariant)):
                variants.setdefault(variant.index_digest, []).append(variant.digest)
        return cls(referrers, variants)

    def of(self, image: Image, there: Container[str] | None = None) -> list[BlobRef]:
        """The image's own blobs in their order, then the others, each once.

        Of the others only those that are `there`: an image does without a signature that nobody has any more.
        """
        found = {item["digest"]: BlobRef.model_validate(item) for item in image.blobs}
        for digest in (image.digest, *self.variants.get(image.digest, ())):
            for blob in self.referrers.get(digest, ()):
                if there is None or blob.digest in there:
                    found.setdefault(blob.digest, blob)
        return list(found.values())


def record_referrers(session: Session, box: str, told: Iterable[PlatformImage]) -> bool:
    """A box says that these were pushed to it; returns whether any was new. What cannot be believed is left out."""
    new = [item for item in told if _record(session, box, item)]
    return bool(new)


def _record(session: Session, box: str, told: PlatformImage) -> bool:
    try:
        check_image(DescribedImage(**told.model_dump()))
        manifest = parse(told.manifest.encode(), told.media_type)
    except BadInput as error:
        log.warning("referrer refused", digest=told.digest, box=box, error=str(error))
        return False
    subject = None if manifest.subject is None else _root(session, manifest.subject.digest)
    if subject is None or session.get(ImageReferrer, (subject, told.digest)) is not None:
        return False
    if not _is_meant_to_hold(session, box, subject):
        return False
    count = session.scalar(
        select(func.count()).select_from(ImageReferrer).where(ImageReferrer.subject_digest == subject)
    )
    if (count or 0) >= MOST_REFERRERS:
        log.warning("referrer refused: the image has too many", image=subject, box=box, most=MOST_REFERRERS)
        return False
    blobs = [blob.model_dump() for blob in told.blobs]
    session.add(ImageReferrer(subject_digest=subject, digest=told.digest, blobs=blobs, at=time.time()))
    session.flush()
    ask_anew(session, subject, without=box)
    return True


def _root(session: Session, subject: str) -> str | None:
    """The image that a subject is, or to which it refers itself; none if nobody knows it."""
    if session.get(Image, subject) is not None:
        return subject
    found = select(ImageReferrer.subject_digest).where(ImageReferrer.digest == subject)
    return session.scalar(found.limit(1))


def _is_meant_to_hold(session: Session, box: str, digest: str) -> bool:
    return any(row.box_id == box for row in _holdings(session, digest))


def _holdings(session: Session, digest: str) -> list[ImageHolding]:
    """Who is to hold an image, or an index that names it."""
    digests = [digest, *index_of(session, session.get_one(Image, digest))]
    held = select(ImageHolding).where(ImageHolding.digest.in_(digests), ImageHolding.wanted == "held")
    return list(session.scalars(held))


def ask_anew(session: Session, digest: str, *, without: str) -> None:
    """More belongs to an image than before: all that hold it but one box are asked as soon as it can be had."""
    for holding in _holdings(session, digest):
        if holding.box_id != without:
            holding.held_at, holding.asked_at = None, 0.0
    session.flush()


def forget_referrers(session: Session, digest: str) -> None:
    """The image goes, or a manifest that refers to images was deleted."""
    rows = select(ImageReferrer).where(
        (ImageReferrer.subject_digest == digest) | (ImageReferrer.digest == digest)
    )
    for row in session.scalars(rows):
        session.delete(row)
    session.flush()
