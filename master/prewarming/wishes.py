"""The wish for a box to keep instances of an application ready."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from common.warm import warm_subject
from common.wishes import Target, WarmWish, wish_field
from common.words import Role
from master.catalogue.manifest import Manifest
from master.context import MasterContext
from master.lifecycle.reads import Reads
from master.lifecycle.wishes import BoxWish, image_source
from master.prewarming.models import WarmPool
from master.prewarming.suitable import suited, targets_of


def warm_wish(session: Session, context: MasterContext, pool: WarmPool) -> BoxWish:
    """What a box is to keep ready. Raises NotSuitable if the application has become one that cannot wait."""
    filled = suited(Manifest.model_validate(pool.application.manifest))
    reads = Reads(session, context)
    wish = WarmWish(
        subject=warm_subject(pool.application_id),
        generation=0,
        version=pool.version,
        wanted="kept",
        service=filled.spec,
        image=image_source(context, reads, pool.image_digest, pool.depositories, pool.box_id),
        targets=[Target(target=path, mode=mode) for path, mode in targets_of(filled)],
        count=pool.count,
    )
    return BoxWish(pool.box_id, wish)


def pools(session: Session) -> list[WarmPool]:
    """All that boxes are to keep ready."""
    return list(session.scalars(select(WarmPool)))


def field_of(pool: WarmPool) -> str:
    """Where the wish stands on the box's list."""
    return wish_field(Role.COMPUTE, warm_subject(pool.application_id))
