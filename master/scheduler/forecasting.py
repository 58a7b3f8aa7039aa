"""Tells those who wait their places and when they will start, as the queue moves."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from master.context import MasterContext
from master.scheduler.asks import Ask, Asks
from master.scheduler.outlook import Outlook
from master.scheduler.queue import Queued, in_order, read_queue, read_shares
from master.scheduler.snapshot import Snapshot
from master.scheduler.standing import publish
from master.scheduling.fleet import amounts_of
from master.scheduling.forecast import Candidate, predict_starts
from master.scheduling.layers import Bools
from master.scheduling.policy import Policy
from master.scheduling.waits import could_take

# For so many a start is predicted; of those further behind only the place is told.
FORESEEN = 200
# Looking ahead may take this part of the time, however long the queue is.
FORESEEING_SHARE = 0.05


class Forecaster:
    """One per scheduler process."""

    def __init__(
        self, context: MasterContext, policy: Policy, snapshot: Snapshot, outlook: Outlook, asks: Asks
    ) -> None:
        self._context = context
        self._policy = policy
        self._snapshot = snapshot
        self._outlook = outlook
        self._asks = asks
        self._known: dict[tuple[str, int], Ask] = {}
        self._told = 0
        self._next_at = float("-inf")

    def refresh(self) -> None:
        """Publish places and starts, unless that was done a moment ago. Raises redis.RedisError."""
        began = time.monotonic()
        if began < self._next_at:
            return
        with self._context.database.read() as session:
            queued = read_queue(session, per_person=None)
            held = read_shares(session) if queued else {}
        if queued or self._told:
            ordered = in_order(
                queued, held, self._snapshot.fleet, overdue_s=self._context.settings.queue_overdue_s
            )
            starts = self._starts(ordered[:FORESEEN])
            publish(self._context.redis, [item.instance for item in ordered], starts)
            self._told = len(ordered)
        ended = time.monotonic()
        self._next_at = ended + (ended - began) / FORESEEING_SHARE

    def _starts(self, ordered: Sequence[Queued]) -> dict[str, float | None]:
        asks = self._read(ordered)
        fleet = self._snapshot.fleet
        suited: dict[object, Bools] = {}
        candidates = []
        for ask in asks:
            if ask.kind not in suited:
                suited[ask.kind] = could_take(self._policy, ask.request, fleet)
            candidates.append(
                Candidate(np.array(amounts_of(ask.amounts)), suited[ask.kind], self._holds_s(ask))
            )
        starts = predict_starts(candidates, fleet.free.T, self._outlook.holds(fleet), now=time.time())
        return {ask.instance: start for ask, start in zip(asks, starts, strict=True)}

    def _read(self, ordered: Sequence[Queued]) -> list[Ask]:
        """What they ask for; read once for each."""
        keys = [(item.instance, item.generation) for item in ordered]
        unknown = [item for item, key in zip(ordered, keys, strict=True) if key not in self._known]
        found, _ = self._asks.read(unknown) if unknown else ([], {})
        self._known |= {(ask.instance, ask.queued.generation): ask for ask in found}
        self._known = {key: self._known[key] for key in keys if key in self._known}
        return list(self._known.values())

    def _holds_s(self, ask: Ask) -> float:
        usual_s = self._outlook.usual_s(ask.queued.application)
        return ask.lease_s if usual_s is None else min(usual_s, ask.lease_s)
