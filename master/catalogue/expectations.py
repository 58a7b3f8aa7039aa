"""What a start would take now, told before anybody starts: the scheduler's own estimate on a picture of the fleet.

Nothing is reserved and nothing promised. A page that cannot have it (Redis is away) says nothing of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import redis
from sqlalchemy.orm import Session

from common.errors import NotFound
from common.logs import get_logger
from common.words import MountMode
from master.accounts.models import User
from master.catalogue.manifest import FilledService, Manifest, fill
from master.context import MasterContext
from master.deployments.wanted import WantedMount, fileset_need, image_variants
from master.filesets.models import Fileset
from master.filesets.services import HOME_NAME, find
from master.history.reading import HistoryReader
from master.images.services import resolve
from master.nearness.people import Near
from master.scheduler.snapshot import Snapshot
from master.scheduling.eligibility import eligible
from master.scheduling.estimate import start_s
from master.scheduling.fleet import Fleet
from master.scheduling.place import place
from master.scheduling.policy import load_policy
from master.scheduling.request import Decision, Place, PlacementRequest

log = get_logger(__name__)

# For so long the whole catalogue is told as it was looked at last, and the fleet is believed to be as it was.
KEPT_S = 5.0


@dataclass(frozen=True)
class Expectation:
    """Of one application: how soon it would run where it runs soonest, and how many boxes could begin at once."""

    start_s: float | None  # none: no box has room for it now
    holders: int  # boxes that could run it and lack none of its layers


class Preview(NamedTuple):
    """Where one service would go now, and why."""

    service: str
    decision: Decision


@dataclass
class _Kept:
    at: float = float("-inf")
    expected: dict[str, Expectation] = field(default_factory=dict)


class Expectations:
    """One per web process; several threads may ask at once, one of them looks."""

    def __init__(self, context: MasterContext) -> None:
        conf = context.settings
        self._context = context
        self._policy = load_policy(conf.policy, conf)
        self._snapshot = Snapshot(context.redis, context.database, resync_s=conf.fleet_resync_s)
        self._history = HistoryReader(context.database)
        self._looking = threading.Lock()
        self._kept = _Kept()
        self._looked_at = float("-inf")

    def of(self, manifests: Sequence[Manifest]) -> dict[str, Expectation]:
        """By name; one whose image nobody knows is left out, and so are all while Redis is away."""
        kept = self._kept
        known = all(manifest.name in kept.expected for manifest in manifests)
        if known and time.monotonic() - kept.at < KEPT_S:
            return kept.expected
        # Whoever comes while somebody looks takes what there was.
        if not self._looking.acquire(blocking=not kept.expected):
            return kept.expected
        try:
            fleet = self._fleet()
            with self._context.database.read() as session:
                found = {item.name: _expect(session, item, fleet) for item in manifests}
            self._kept = _Kept(time.monotonic(), {name: told for name, told in found.items() if told})
        except redis.RedisError as error:
            log.warning("starts not estimated", error=str(error))
            self._kept = _Kept(time.monotonic())
        finally:
            self._looking.release()
        return self._kept.expected

    def preview(self, manifest: Manifest, user: User, near: Near) -> list[Preview]:
        """Where each service would run for this person if the form were sent now; empty while Redis is away."""
        at = Place.of(near.coordinate) if near.coordinate is not None else Place()
        try:
            with self._looking, self._context.database.read() as session:
                fleet = self._fleet()
                chance = np.random.default_rng()
                return [
                    Preview(name, place(self._policy, request, fleet, chance, most=1, explain=True))
                    for name, request in _requests(session, manifest, user, at, near.round_trips_ms)
                ]
        except (redis.RedisError, NotFound) as error:
            log.warning("place not foreseen", application=manifest.name, error=str(error))
            return []

    def _fleet(self) -> Fleet:
        if time.monotonic() - self._looked_at > KEPT_S:
            self._snapshot.update()
            self._history.tell(self._snapshot.fleet)
            self._looked_at = time.monotonic()
        return self._snapshot.fleet


def _expect(session: Session, manifest: Manifest, fleet: Fleet) -> Expectation | None:
    """Services start side by side: the last one counts."""
    starts: list[float | None] = []
    holders: list[int] = []
    try:
        for _, request in _requests(session, manifest, None, Place(), {}):
            able = eligible(request, fleet)
            starts.append(float(start_s(request, fleet)[able].min()) if able.any() else None)
            holders.append(int(np.count_nonzero(fleet.takes & (fleet.column(request.variants).missing <= 0))))
    except NotFound:
        return None
    soonest = None if None in starts else max(start for start in starts if start is not None)
    return Expectation(soonest, min(holders))


def _requests(
    session: Session,
    manifest: Manifest,
    user: User | None,
    near: Place,
    measured: dict[str, float],
) -> Iterator[tuple[str, PlacementRequest]]:
    """What each service would ask for with the options as they are; raises NotFound for what is not there."""
    defaults = {option.name: option.default for option in manifest.options if option.default is not None}
    for name, service in fill(manifest, defaults).items():
        rules = service.placement
        yield (
            name,
            PlacementRequest(
                resources=service.spec.resources,
                variants=image_variants(session, resolve(session, service.spec.image)),
                filesets=tuple(fileset_need(session, mount) for mount in _mounts(session, service, user)),
                near=near,
                measured=measured,
                boxes=frozenset(rules.boxes),
                labels=tuple(sorted(rules.labels.items())),
            ),
        )


def _mounts(session: Session, service: FilledService, user: User | None) -> Iterator[WantedMount]:
    for use in service.filesets:
        yield WantedMount(find(session, use.name, user), use.target, MountMode.READ_ONLY)
    if service.home and (home := _home(session, user)) is not None:
        yield WantedMount(home, service.home, MountMode.READ_WRITE)


def _home(session: Session, user: User | None) -> Fileset | None:
    """The person's home, if it is there already: nothing is made for a look."""
    if user is None:
        return None
    try:
        return find(session, HOME_NAME, user)
    except NotFound:
        return None
