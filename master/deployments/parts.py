"""What an application is made of, and whether it is there: images, filesets, boxes that it is pinned to."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import Session

from common.errors import NotFound, Unavailable
from master.accounts.models import User
from master.boxes.models import Box
from master.catalogue.manifest import Manifest
from master.catalogue.placement import ManifestPlacement
from master.context import MasterContext
from master.filesets.models import FilesetKind
from master.filesets.services import find
from master.filesets.services import holders as fileset_holders
from master.images.models import Image
from master.images.services import holders as image_holders
from master.images.services import is_expected, resolve


def usable_image(session: Session, context: MasterContext, name: str) -> Image:
    """The image, which some box that is up holds. Raises NotFound, Unavailable."""
    image = resolve(session, name)
    if not image_holders(session, context.redis, image) and not is_expected(session, context.redis, image):
        raise Unavailable(
            f"No box that is up holds the image {name}.",
            field="image",
            remedy="Push it again (openraas image push) or start a depository that has it.",
        )
    return image


def check_fileset(session: Session, user: User, name: str) -> None:
    """Raise NotFound or Unavailable unless some filestore has the fileset for this person."""
    fileset = find(session, name, user)
    if fileset.kind != FilesetKind.HOME.value and not fileset_holders(fileset):
        raise Unavailable(
            f"No filestore holds the fileset {name}.",
            field="fileset",
            remedy=f"Put it: openraas fileset put {name} DIRECTORY.",
        )


def check_pins(session: Session, service: str, placement: ManifestPlacement) -> None:
    """Raise NotFound if a service is pinned to boxes none of which has joined: it would wait for ever."""
    if not placement.boxes:
        return
    known = select(Box.id).where(Box.id.in_(placement.boxes), Box.removed_at.is_(None)).limit(1)
    if session.scalar(known) is None:
        raise NotFound(
            f"Service {service} may run only on {' or '.join(placement.boxes)}, and no such box has joined.",
            field=f"services.{service}.placement.boxes",
            remedy="Name a box of openraas box list there, or let that one join.",
        )


def missing_parts(session: Session, context: MasterContext, user: User, manifest: Manifest) -> list[str]:
    """Why a deployment of it would be refused now: a sentence for each part that is not there."""
    services = manifest.services.values()
    found: list[str] = []

    def look(check: Callable[[str], object], name: str) -> None:
        try:
            check(name)
        except (NotFound, Unavailable) as error:
            found.append(str(error))

    for image in sorted({service.image for service in services}):
        look(lambda name: usable_image(session, context, name), image)
    for fileset in sorted({use.name for service in services for use in service.filesets}):
        look(lambda name: check_fileset(session, user, name), fileset)
    for service, wanted in manifest.services.items():
        look(lambda name, wanted=wanted: check_pins(session, name, wanted.placement), service)  # type: ignore[misc]
    return found
