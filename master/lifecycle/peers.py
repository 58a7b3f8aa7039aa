"""Boxes that fetch the same image at the same time: each is told of the others, so that they share it."""

from __future__ import annotations

from collections.abc import Collection

import redis
from sqlalchemy import select
from sqlalchemy.orm import Session

from common.wishes import ImageSource
from common.words import InstanceState
from master.boxes.services import statuses_of
from master.deployments.models import Instance

# With so many others a box has enough to ask; more would only make wishes longer.
MOST_PEERS = 8
FETCHING = (InstanceState.PLACED.value, InstanceState.PREPARING.value)


def others_fetching(session: Session, instance: Instance, *, besides: Collection[str] = ()) -> list[Instance]:
    """Instances on other boxes for which the same image may be on its way, the newest first, one per box."""
    if instance.state not in FETCHING:
        return []
    found = session.scalars(
        select(Instance)
        .where(
            Instance.image_digest == instance.image_digest,
            Instance.state.in_(FETCHING),
            Instance.box_id.is_not(None),
            Instance.box_id != instance.box_id,
            Instance.id.not_in(besides),
        )
        .order_by(Instance.state_at.desc(), Instance.id)
        .limit(4 * MOST_PEERS)
    )
    by_box: dict[str, Instance] = {}
    for other in found:
        by_box.setdefault(str(other.box_id), other)
    return list(by_box.values())[:MOST_PEERS]


def with_peers(session: Session, client: redis.Redis, instance: Instance, source: ImageSource) -> ImageSource:
    """The image's source with the boxes that fetch it too and say where they can be reached."""
    others = [str(other.box_id) for other in others_fetching(session, instance)]
    if not others:
        return source
    known = statuses_of(client, others)
    fronts = {
        box: status.front
        for box in others
        if (status := known.get(box)) is not None and status.front is not None
    }
    return source.model_copy(update={"endpoints": {**source.endpoints, **fronts}, "fetching": sorted(fronts)})
