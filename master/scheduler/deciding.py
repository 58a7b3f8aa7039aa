"""Decides a batch on the snapshot and reserves it: who gets which box, and why the others wait."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import redis

from common.words import Resources
from master.scheduler.asks import Ask
from master.scheduler.heads import agree
from master.scheduler.outlook import Outlook
from master.scheduler.reservations import Reservation, Reservations
from master.scheduler.snapshot import Snapshot
from master.scheduler.writing import Refused, Taken
from master.scheduling.fleet import SLACK, Fleet, amounts_of
from master.scheduling.forecast import Protection, protect
from master.scheduling.holders import NOBODY, Indices
from master.scheduling.place import place
from master.scheduling.policy import Policy
from master.scheduling.request import Decision, Placement
from master.scheduling.waits import could_take, needs_of, why_waits

# In a larger fleet only those that wait are told of every box why it was left out.
EXPLAINED_BOXES = 1000
NOT_READY = "Room is being counted anew after a restart of Redis; this takes a few seconds."


@dataclass
class _Open:
    """A request with candidates that may still be tried; the first is reserved in the snapshot."""

    ask: Ask
    decision: Decision
    candidates: list[Placement]
    lost: list[str] = field(default_factory=list)


class Decider:
    """One per scheduler process."""

    def __init__(
        self,
        policy: Policy,
        snapshot: Snapshot,
        reservations: Reservations,
        outlook: Outlook,
        client: redis.Redis,
        *,
        reservation_s: float,
    ) -> None:
        self._policy = policy
        self._redis = client
        self._snapshot = snapshot
        self._reservations = reservations
        self._outlook = outlook
        self._reservation_s = reservation_s
        self._rng = np.random.default_rng()

    def decide(self, asks: Sequence[Ask], head: Ask | None) -> tuple[list[Taken], list[Refused]]:
        """Reserve room for those that fit, in their order. Raises redis.RedisError.

        `head` is the first of the whole queue, if it found no room before and is not among them: none of them
        may delay it. Whoever finds no room, or loses every race, gets a second chance on a fleet that was read again.
        """
        self._snapshot.update()
        try:
            taken, refused = _Batch(self, head).run(asks)
            if refused and self._snapshot.look_again():
                more, refused = _Batch(self, head).run([item.ask for item in refused])
                taken += more
        except Exception:
            self._snapshot.distrust()  # it has room taken out that nobody may have got
            raise
        return taken, refused

    def fleet(self) -> Fleet:
        """The fleet as it is known."""
        return self._snapshot.fleet

    def best(self, ask: Ask) -> Decision:
        """Where a request would go now."""
        fleet = self.fleet()
        return place(self._policy, ask.request, fleet, self._rng, explain=len(fleet.names) <= EXPLAINED_BOXES)

    def refuse(self, ask: Ask) -> Refused:
        """Why a request finds no room."""
        decision = place(self._policy, ask.request, self.fleet(), self._rng, explain=True)
        why = why_waits(self._policy, ask.request, self.fleet())
        return Refused(ask, why or decision.waits_for, decision.left_out)

    def keep_for(self, ask: Ask) -> Protection | None:
        """The reservation in time of the head of the queue; none if nobody knows when it will fit."""
        fleet = self.fleet()
        suited = could_take(self._policy, ask.request, fleet)
        if not suited.any():
            return None
        needs, holds = needs_of(ask.request, fleet), self._outlook.holds(fleet)
        mine = protect(needs, suited, fleet.free.T, holds)
        if mine is None:
            return None
        agreed = fleet.row_of.get(agree(self._redis, ask.instance, fleet.names[mine.row]))
        if agreed is None or agreed == mine.row:
            return mine
        there = np.zeros(len(suited), dtype=bool)
        there[agreed] = suited[agreed]
        # Where the others' choice has become none, each goes by its own until they agree anew.
        return protect(needs, there, fleet.free.T, holds) or mine

    def reserve(self, wanted: Sequence[tuple[Ask, Placement]]) -> list[tuple[Reservation, str]]:
        """Try to take the room of each, with the answers; what proves wrong in the snapshot is read again."""
        until = time.time() + self._reservation_s
        reservations = [
            Reservation(
                box=placement.compute,
                instance=ask.instance,
                generation=ask.queued.generation,
                amounts=self.amounts(ask, placement),
                expires_at=until,
            )
            for ask, placement in wanted
        ]
        answers = self._reservations.take_all(reservations)
        for reservation, answer in zip(reservations, answers, strict=True):
            if answer != "reserved":
                self._snapshot.suspect(reservation.box)
        return list(zip(reservations, answers, strict=True))

    def amounts(self, ask: Ask, placement: Placement) -> Resources:
        """What a placement takes of its box while it starts: layers, packed and unpacked, and a home that is new."""
        layers = round(placement.missing_bytes * self.fleet().layer_room)
        homes = sum(
            need.room_bytes
            for need in ask.request.filesets
            if need.is_new and placement.filestores[need.fileset] == placement.compute
        )
        return ask.amounts + Resources(disk_bytes=layers + homes)


class _Batch:
    """One pass over a batch."""

    def __init__(self, decider: Decider, head: Ask | None) -> None:
        self._decider = decider
        self._fleet = decider.fleet()
        self._head = head
        self._kept: Protection | None = None
        self._hopeless: dict[object, Refused] = {}
        self.refused: list[Refused] = []

    def run(self, asks: Sequence[Ask]) -> tuple[list[Taken], list[Refused]]:
        """In their order; those that are refused keep theirs too."""
        trying = [one for ask in asks if (one := self._open(ask)) is not None]
        taken: list[Taken] = []
        while trying:
            answers = self._decider.reserve([(one.ask, one.candidates[0]) for one in trying])
            again: list[_Open] = []
            for one, (reservation, answer) in zip(trying, answers, strict=True):
                if answer == "reserved":
                    taken.append(Taken(one.ask, one.candidates[0], reservation, one.decision))
                elif self._next(one, answer):
                    again.append(one)
            trying = again
        order = {ask.instance: number for number, ask in enumerate(asks)}
        self.refused.sort(key=lambda item: order[item.ask.instance])
        return taken, self.refused

    def _open(self, ask: Ask) -> _Open | None:
        """Where the request goes, as far as this process knows; none if it has to wait."""
        if (known := self._hopeless.get(ask.kind)) is not None:
            self.refused.append(Refused(ask, known.reason, known.left_out))
            return None
        decision = self._decider.best(ask)
        if not decision.placements:
            refused = self._decider.refuse(ask)
            self._hopeless[ask.kind] = refused
            self._wait(refused)
            return None
        self._protect()
        one = _Open(ask, decision, list(decision.placements))
        if not self._take_first(one):
            box = decision.placements[0].compute
            why = f"The room on {box} is kept for a request that has waited longer."
            self._wait(Refused(ask, why, decision.left_out))
            return None
        return one

    def _wait(self, refused: Refused) -> None:
        self.refused.append(refused)
        if self._head is None:
            self._head = refused.ask  # from here on nobody may delay it

    def _protect(self) -> None:
        if self._head is not None and self._kept is None:
            self._kept = self._decider.keep_for(self._head)

    def _take_first(self, one: _Open) -> bool:
        """Take the first candidate that is still allowed and fits, in the snapshot."""
        while one.candidates:
            placement = one.candidates[0]
            row = self._fleet.row_of[placement.compute]
            taken = amounts_of(self._decider.amounts(one.ask, placement))
            amounts = np.array(taken)
            fits = bool((amounts <= self._fleet.free[:, row] + SLACK).all())
            if fits and (self._kept is None or self._kept.allows(row, amounts, one.ask.ends_by)):
                self._fleet.reserve(row, taken)
                self._fleet.begin_fetch(row, placement.missing_bytes, self._sources(placement))
                self._fleet.take_prewarmed(row, one.ask.request.warm)
                if self._kept is not None:
                    self._kept.note(row, amounts, one.ask.ends_by)
                return True
            one.candidates.pop(0)
        return False

    def _sources(self, placement: Placement) -> Indices:
        """Who is asked for what is missing: the others of a surge find their lines taken."""
        if not placement.missing_bytes:
            return NOBODY
        names = {name for holders in placement.depositories.values() for name in holders}
        return self._fleet.rows_of(names - {placement.compute})

    def _next(self, one: _Open, answer: str) -> bool:
        """A race for the first candidate is lost: go on to the next; false if there is none."""
        placement = one.candidates.pop(0)
        row = self._fleet.row_of[placement.compute]
        self._fleet.release(row, amounts_of(self._decider.amounts(one.ask, placement)))
        self._fleet.end_fetch(row, placement.missing_bytes, self._sources(placement))
        one.lost.append(f"{placement.compute} was taken a moment ago ({answer}).")
        if answer == "not-ready":
            self.refused.append(Refused(one.ask, NOT_READY, one.decision.left_out))
            return False
        if self._take_first(one):
            return True
        self._wait(Refused(one.ask, one.lost[0], one.decision.left_out))
        return False
