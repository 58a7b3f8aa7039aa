"""Subjects of wishes: an instance's id, `<instance>.<fileset>`, `image.<12 hex>`, `fileset.<id>` and so on."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from common.warm import SUBJECT as WARM
from master.images.models import Image
from master.layers.models import LayerOrder
from master.mirrors.services import PREFIX as MIRROR

IMAGE, FILESET, LAYERS = "image.", "fileset.", "layers."
DIGITS = 12


def instance_of_subject(subject: str) -> str | None:
    """The instance that a subject is, or one of whose filesets it is."""
    return None if subject.startswith((IMAGE, FILESET, LAYERS, MIRROR, WARM)) else subject.partition(".")[0]


def log_fields(subject: str, generation: int | None = None) -> dict[str, Any]:
    """What a line about a subject carries."""
    fields: dict[str, Any] = {"subject": subject}
    if (instance := instance_of_subject(subject)) is not None:
        fields["instance"] = instance
        if generation is not None:
            fields["generation"] = generation
    return fields


def image_subject(digest: str) -> str:
    """The subject under which a depository holds an image."""
    return IMAGE + digest.removeprefix("sha256:")[:DIGITS]


def layers_subject(digest: str) -> str:
    """The subject under which a box keeps or drops blobs because an operator said so."""
    return LAYERS + digest.removeprefix("sha256:")[:DIGITS]


def fileset_subject(fileset: str) -> str:
    """The subject under which a filestore holds a fileset."""
    return FILESET + fileset


def image_of_subject(session: Session, subject: str) -> str | None:
    """The digest that a subject names, if it names an image."""
    if not subject.startswith(IMAGE):
        return None
    prefix = "sha256:" + subject.removeprefix(IMAGE)
    return session.scalar(
        select(Image.digest).where(Image.digest.startswith(prefix, autoescape=True)).limit(1)
    )


def fileset_of_subject(subject: str) -> str | None:
    """The fileset that a subject names, if it names one."""
    return subject.removeprefix(FILESET) if subject.startswith(FILESET) else None


def layer_order_of_subject(session: Session, box: str, subject: str) -> str | None:
    """The digest that an operator's order for a box is about, if the subject names one."""
    if not subject.startswith(LAYERS):
        return None
    prefix = "sha256:" + subject.removeprefix(LAYERS)
    orders = select(LayerOrder.digest).where(
        LayerOrder.box_id == box, LayerOrder.digest.startswith(prefix, autoescape=True)
    )
    return session.scalar(orders.limit(1))
