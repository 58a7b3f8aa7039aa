"""Decides which boxes keep what ready, by the placement policy, and writes it down: wishes follow from the rows.

It runs within the reconciler, so in one process at a time, and says the same however often it runs: the rows are made
from what is wanted now and from what is there, and only what differs is written.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from sqlalchemy.orm import Session

from common.errors import OpenRaaSError
from common.logs import get_logger
from common.warm import likeness, warm_subject
from common.words import MountMode, Resources, Role
from master.catalogue.manifest import FilledService, Manifest
from master.catalogue.models import Application
from master.context import MasterContext
from master.db.session import after_commit
from master.deployments.wanted import image_variants
from master.filesets.services import find
from master.images.services import resolve
from master.lifecycle.wishes import BoxWish, WishWriter
from master.prewarming.demand import Demand, demands
from master.prewarming.models import WarmPool
from master.prewarming.planning import counts, keep
from master.prewarming.suitable import suited, targets_of
from master.prewarming.wishes import pools, warm_wish
from master.scheduler.snapshot import Snapshot
from master.scheduling.eligibility import eligible
from master.scheduling.fleet import amounts_of
from master.scheduling.place import place
from master.scheduling.policy import load_policy
from master.scheduling.request import FilesetNeed, Placement, PlacementRequest, Spread

log = get_logger(__name__)

# How often it is looked who wants what; a timetable need not be kept to the second.
EVERY_S = 6.0
HOLDERS_PER_BLOB = 16


class Planner:
    """One per lifecycle process; the reconciler's lock lets one work at a time."""

    def __init__(self, context: MasterContext) -> None:
        self._context = context
        self._policy = load_policy(context.settings.policy, context.settings)
        self._snapshot = Snapshot(context.redis, context.database, resync_s=context.settings.fleet_resync_s)
        self._writer = WishWriter(context)
        self._rng = np.random.default_rng()
        self._looked_at = float("-inf")

    def run(self) -> None:
        """Look again if it is time to. Raises redis.RedisError, Unavailable."""
        if time.monotonic() - self._looked_at < EVERY_S:
            return
        self._looked_at = time.monotonic()
        with self._context.database.read() as session:
            wanted = demands(session, self._context.settings, time.time())
            is_idle = not wanted and not pools(session)
        if not is_idle:
            self._snapshot.update()
            with self._context.database.write() as session:
                self._plan(session, wanted)

    def _plan(self, session: Session, wanted: dict[str, Demand]) -> None:
        there: dict[str, dict[str, WarmPool]] = {}
        for pool in pools(session):
            there.setdefault(pool.application_id, {})[pool.box_id] = pool
        for application in sorted(there.keys() | wanted.keys()):
            demand = wanted.get(application, Demand(0, 0))
            try:
                changed = _Plan(self, session, application, demand, there.get(application, {})).write()
            except OpenRaaSError as error:
                log.warning("not prewarmed", application=application, error=str(error))
                continue
            self._tell(session, changed)

    def _tell(self, session: Session, changed: Iterable[WarmPool]) -> None:
        """Wishes for what is new; those that are wanted no more are taken off by the reconciler."""
        session.flush()
        wishes: list[BoxWish] = [warm_wish(session, self._context, pool) for pool in changed]
        after_commit(session, lambda: self._writer.write(*wishes))

    def drop(self, session: Session, pool: WarmPool) -> None:
        """A box need keep nothing of it ready any more."""
        box, subject = pool.box_id, warm_subject(pool.application_id)
        session.delete(pool)
        after_commit(session, lambda: self._writer.drop(box, Role.COMPUTE, subject))


class _Plan:
    """What becomes of one application."""

    def __init__(
        self,
        planner: Planner,
        session: Session,
        application: str,
        demand: Demand,
        there: dict[str, WarmPool],
    ) -> None:
        self._planner = planner
        self._session = session
        self._application = application
        self._demand = demand
        self._there = there
        self._fleet = planner._snapshot.fleet

    def write(self) -> list[WarmPool]:
        """Make the rows say what is wanted; returns those that changed. Raises OpenRaaSError."""
        application = self._session.get(Application, self._application)
        if application is None or not self._demand.share:
            for pool in self._there.values():
                self._planner.drop(self._session, pool)
            return []
        filled = suited(Manifest.model_validate(application.manifest))
        request = self._request(filled)
        kept = {box: pool.share for box, pool in self._there.items() if self._is_able(request, box)}
        shares = keep(kept, self._demand.share)
        found = self._place(request, shares)
        wait = counts(shares, self._demand.count, self._demand.came)
        for box in self._there.keys() - shares.keys():
            self._planner.drop(self._session, self._there[box])
        rows = [self._row(filled, box, share, wait[box], found.get(box)) for box, share in shares.items()]
        return [row for row in rows if row is not None]

    def _request(self, filled: FilledService) -> PlacementRequest:
        image = resolve(self._session, filled.spec.image)
        needs = []
        for item in filled.filesets:
            fileset = find(self._session, item.name, None)
            needs.append(FilesetNeed(fileset.id, fileset.version, MountMode.READ_ONLY, name=fileset.name))
        rules = filled.placement
        return PlacementRequest(
            resources=filled.spec.resources,
            variants=image_variants(self._session, image),
            filesets=tuple(needs),
            boxes=frozenset(rules.boxes),
            labels=tuple(sorted(rules.labels.items())),
        )

    def _is_able(self, request: PlacementRequest, box: str) -> bool:
        """Whether a box may go on: whoever owns an instance there took some of its room, and that is no reason."""
        row = self._fleet.row_of.get(box)
        images = {variant.image for variant in request.variants}
        if row is None or self._there[box].image_digest not in images:
            return False
        roomless = replace(request, resources=Resources())
        policy = self._planner._policy
        return bool(eligible(roomless, self._fleet, policy.scope, policy.sharing)[row])

    def _place(self, request: PlacementRequest, shares: dict[str, int]) -> dict[str, Placement]:
        """Add to the shares, one by one and evenly, what is missing; fewer if there is no room for more."""
        found: dict[str, Placement] = {}
        amounts = amounts_of(request.resources)
        taken = [box for box, share in shares.items() for _ in range(share)]
        for box in taken:
            self._fleet.reserve(self._fleet.row_of[box], amounts)
        try:
            while sum(shares.values()) < self._demand.share:
                spread = replace(request, spread=Spread(there=dict(shares)))
                placements = place(
                    self._planner._policy, spread, self._fleet, self._planner._rng, most=1
                ).placements
                if not placements:
                    break
                box = placements[0].compute
                found[box] = placements[0]
                shares[box] = shares.get(box, 0) + 1
                self._fleet.reserve(self._fleet.row_of[box], amounts)
                taken.append(box)
        finally:
            for box in taken:
                self._fleet.release(self._fleet.row_of[box], amounts)
        return found

    def _row(
        self, filled: FilledService, box: str, share: int, count: int, placement: Placement | None
    ) -> WarmPool | None:
        """The box's row, if it had to be changed."""
        pool = self._there.get(box)
        digest = placement.image if placement is not None else pool.image_digest if pool else ""
        kind = likeness(filled.spec, digest, targets_of(filled))
        if pool is None or (placement is not None and pool.likeness != kind):
            assert placement is not None  # noqa: S101 - a box without a row was placed on just now
            pool = pool or self._new(box)
            pool.image_digest = digest
            pool.depositories = {
                blob: list(boxes)[:HOLDERS_PER_BLOB] for blob, boxes in placement.depositories.items()
            }
        elif (pool.share, pool.count, pool.likeness) == (share, count, kind):
            return None
        is_told = pool.version > 0 and (pool.count, pool.likeness) == (count, kind)
        pool.share, pool.count, pool.likeness = share, count, kind
        pool.version += not is_told
        return None if is_told else pool

    def _new(self, box: str) -> WarmPool:
        pool = WarmPool(application_id=self._application, box_id=box, version=int(time.time()))
        self._session.add(pool)
        return pool
