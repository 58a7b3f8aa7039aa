"""Boxes that fetch the same image at the same time: each is told of the others, so that they share it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from common.words import InstanceState
from master.deployments.models import Instance

# With so many others a box has enough to ask; more would only make wishes longer.
MOST_PEERS = 8
FETCHING = (InstanceState.PLACED.value, InstanceState.PREPARING.value)


class Peer(NamedTuple):
    """An instance for which an image may be on its way to a box."""

    instance: str
    box: str


def fetching(session: Session, image_digest: str, *, besides: Collection[str] = ()) -> list[Peer]:
    """For whom an image may be on its way, the newest first; enough of them, not all."""
    rows = session.execute(
        select(Instance.id, Instance.box_id)
        .where(
            Instance.image_digest == image_digest,
            Instance.state.in_(FETCHING),
            Instance.box_id.is_not(None),
            Instance.id.not_in(besides),
        )
        .order_by(Instance.state_at.desc(), Instance.id)
        .limit(4 * MOST_PEERS)
    )
    return [Peer(instance, str(box)) for instance, box in rows]


def others(instance: Instance, peers: Iterable[Peer]) -> list[Peer]:
    """Of these the newest on other boxes, one per box; none if the instance itself fetches no more."""
    if instance.state not in FETCHING:
        return []
    by_box: dict[str, Peer] = {}
    for peer in peers:
        if peer.box != instance.box_id:
            by_box.setdefault(peer.box, peer)
    return list(by_box.values())[:MOST_PEERS]


def others_fetching(session: Session, instance: Instance) -> list[Peer]:
    """Instances on other boxes for which the same image may be on its way."""
    return others(instance, fetching(session, instance.image_digest))
