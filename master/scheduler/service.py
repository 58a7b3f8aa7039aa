"""Places what waits, in batches: order, claim, decide on the snapshot, reserve, commit.

A batch is decided on this process's own picture of the fleet and reserved optimistically; whoever loses a race takes
the next candidate, then looks at the fleet again. Several schedulers work side by side: each claims its part of the
queue, and one Lua script decides about room.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import redis

from common.errors import Unavailable
from common.logs import get_logger
from common.metrics import PLACEMENTS
from common.words import MountMode
from master.context import MasterContext
from master.history.reading import HistoryReader
from master.scheduler.asks import Ask, Asks
from master.scheduler.deciding import Decider
from master.scheduler.forecasting import Forecaster
from master.scheduler.outlook import Outlook
from master.scheduler.queue import Claims, Queued, in_order, read_queue, read_shares
from master.scheduler.reservations import Reservations
from master.scheduler.snapshot import Snapshot
from master.scheduler.writing import PUT_OFF, Placements
from master.scheduling.policy import load_policy

log = get_logger(__name__)

BATCH = 64
# Then others get their turn with this process; what is left comes with the next wake-up.
RUN_S = 20.0
# Whoever found no room is tried again when there may be more of it, and now and then in any case: time passes for
# the room that is kept for others too. Far behind in the queue only the latter, so that a long one costs little.
IN_FRONT = 128
TRY_AGAIN_S, TRY_AGAIN_BEHIND_S = 15.0, 60.0


class Scheduler:
    """One per scheduler process; one thread at a time."""

    def __init__(self, context: MasterContext) -> None:
        conf = context.settings
        self._context = context
        self._policy = load_policy(conf.policy, conf)
        self._snapshot = Snapshot(context.redis, context.database, resync_s=conf.fleet_resync_s)
        self._history = HistoryReader(context.database)
        self._outlook = Outlook(context.database)
        self._asks = Asks(context)
        self._claims = Claims(context.redis)
        reservations = Reservations(context.redis)
        self._placements = Placements(context, reservations)
        self._decider = Decider(
            self._policy,
            self._snapshot,
            reservations,
            self._outlook,
            context.redis,
            reservation_s=conf.reservation_s,
        )
        self._forecaster = Forecaster(context, self._policy, self._snapshot, self._outlook, self._asks)
        self._refused: dict[tuple[str, int], tuple[int, float]] = {}

    def place_waiting(self) -> None:
        """Place what waits; what cannot be done now is left to the next round."""
        try:
            self.run()
        except (redis.RedisError, Unavailable) as error:
            log.warning("placement put off", error=str(error))

    def run(self) -> dict[str, str]:
        """Try everything that waits and may have room now, in fair order; returns what became of what was tried."""
        outcomes: dict[str, str] = {}
        self._snapshot.update()
        self._history.tell(self._snapshot.fleet)
        end = time.monotonic() + RUN_S
        while time.monotonic() < end:
            ordered = self._in_order()
            worth = [
                item for place, item in enumerate(ordered) if self._is_worth_trying(place, item, outcomes)
            ]
            mine = self._claims.take([item.instance for item in worth[: 4 * BATCH]], BATCH)
            if not mine:
                break
            try:
                outcomes |= self._place_batch([item for item in worth if item.instance in mine], ordered)
            finally:
                self._claims.release(mine)
        self._forecaster.refresh()
        return outcomes

    def _in_order(self) -> list[Queued]:
        with self._context.database.read() as session:
            queued = read_queue(session)
            several = len({item.waiting.person for item in queued}) > 1
            held = read_shares(session) if several else {}
        return in_order(queued, held, self._snapshot.fleet, overdue_s=self._context.settings.queue_overdue_s)

    def _is_worth_trying(self, place: int, item: Queued, outcomes: dict[str, str]) -> bool:
        if outcomes.get(item.instance, PUT_OFF) != PUT_OFF:
            return False
        known = self._refused.get((item.instance, item.generation))
        if known is None:
            return True
        version, at = known
        since_s = time.monotonic() - at
        if place >= IN_FRONT:
            return since_s > TRY_AGAIN_BEHIND_S
        return version != self._snapshot.roomier or since_s > TRY_AGAIN_S

    def _place_batch(self, mine: Sequence[Queued], ordered: Sequence[Queued]) -> dict[str, str]:
        asks, outcomes = self._asks.read(mine)
        trying = _independent(asks)
        outcomes |= {ask.instance: PUT_OFF for ask in asks if ask not in trying}
        taken, refused = self._decider.decide(trying, self._head(mine, ordered))
        outcomes |= self._placements.write(taken, refused)
        self._remember([item.ask for item in refused], ordered)
        for outcome in outcomes.values():
            PLACEMENTS.labels(self._policy.name, outcome).inc()
        return outcomes

    def _head(self, mine: Sequence[Queued], ordered: Sequence[Queued]) -> Ask | None:
        """The first of the queue, if it found no room before and is not tried now: nobody may delay it."""
        first = ordered[0]
        if not first.refused or first in mine:
            return None
        asks, _ = self._asks.read([first])
        return asks[0] if asks else None

    def _remember(self, refused: Sequence[Ask], ordered: Sequence[Queued]) -> None:
        waiting = {(item.instance, item.generation) for item in ordered}
        self._refused = {key: value for key, value in self._refused.items() if key in waiting}
        now = (self._snapshot.roomier, time.monotonic())
        self._refused |= {(ask.instance, ask.queued.generation): now for ask in refused}


def _independent(asks: Sequence[Ask]) -> list[Ask]:
    """Those of a batch of which none decides where another may go; the others come with the next.

    Of several that would write the same fileset that is the first, and of a person's requests that say beside or
    apart from what they want to run.
    """
    writing: set[str] = set()
    seen: set[str] = set()
    alone: set[str] = set()
    chosen = []
    for ask in asks:
        person = ask.queued.waiting.person
        writes = {mount.fileset.id for mount in ask.want.mounts if mount.mode is MountMode.READ_WRITE}
        bound = bool(ask.request.beside or ask.request.apart or ask.request.spread)
        if writes & writing or person in alone or (bound and person in seen):
            continue
        chosen.append(ask)
        writing |= writes
        seen.add(person)
        if bound:
            alone.add(person)
    return chosen
