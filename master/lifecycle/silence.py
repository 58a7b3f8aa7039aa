"""Boxes that say nothing: since when, and which of them count as lost or are back.

`judge` decides from plain facts; `Watch` gathers them, keeps the time in Redis and tells whom to lose. Redis is
never asked while a transaction is open.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import select

from common.names import SILENT, status_key
from master.boxes.models import Box
from master.context import MasterContext

# Longer than any limit an operator would set for a silent box.
REMEMBERED_S = 86400


@dataclass(frozen=True)
class Heard:
    """What is known of a box: whether its status lives, since when it is silent, whether it counts as lost."""

    box: str
    is_up: bool
    silent_since: float | None
    is_lost: bool


@dataclass(frozen=True)
class Verdict:
    """Boxes by what has become of them since the last round."""

    fell_silent: tuple[str, ...] = ()
    speak_again: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    returned: tuple[str, ...] = ()


def judge(known: Iterable[Heard], *, now: float, lost_after_s: float) -> Verdict:
    """Who is lost is silent for longer than `lost_after_s`, counted from the round that first noticed."""
    heard = list(known)
    silent = [item for item in heard if not item.is_up]
    return Verdict(
        fell_silent=tuple(item.box for item in silent if item.silent_since is None),
        speak_again=tuple(item.box for item in heard if item.is_up and item.silent_since is not None),
        lost=tuple(
            item.box
            for item in silent
            if not item.is_lost
            and now - (now if item.silent_since is None else item.silent_since) > lost_after_s
        ),
        returned=tuple(item.box for item in heard if item.is_up and item.is_lost),
    )


class Watch:
    """Keeps in Redis since when each box is silent."""

    def __init__(self, context: MasterContext) -> None:
        self._context = context
        self._redis = context.redis

    def look(self) -> Verdict:
        """One round. Raises redis.RedisError, Unavailable."""
        with self._context.database.read() as session:
            rows = session.execute(select(Box.id, Box.lost_at).where(Box.removed_at.is_(None))).all()
        if not rows:
            return Verdict()
        up = self._redis.mget([status_key(box) for box, _ in rows])
        since = self._redis.mget([silent_key(box) for box, _ in rows])
        now = time.time()
        verdict = judge(
            (
                Heard(box, status is not None, None if at is None else float(str(at)), lost_at is not None)
                for (box, lost_at), status, at in zip(rows, up, since, strict=True)
            ),
            now=now,
            lost_after_s=self._context.settings.lost_after_s,
        )
        with self._redis.pipeline(transaction=False) as pipe:
            for box in verdict.fell_silent:
                pipe.set(silent_key(box), now, nx=True, ex=REMEMBERED_S)
            for box in verdict.speak_again:
                pipe.delete(silent_key(box))
            pipe.execute()
        return verdict


def silent_key(box: str) -> str:
    """Where Redis keeps since when a box is silent."""
    return f"{SILENT}:{box}"
