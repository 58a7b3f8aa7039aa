"""The state machine of an instance, as a pure table."""

from __future__ import annotations

from common.words import InstanceState as S

STEPS: dict[S, frozenset[S]] = {
    S.REQUESTED: frozenset({S.QUEUED, S.PLACED, S.STOPPED, S.FAILED}),
    S.QUEUED: frozenset({S.PLACED, S.STOPPED, S.FAILED}),
    # Back to requested: the box refused, or was lost before anything could be written there.
    S.PLACED: frozenset({S.PREPARING, S.RUNNING, S.STOPPING, S.STOPPED, S.FAILED, S.LOST, S.REQUESTED}),
    S.PREPARING: frozenset({S.RUNNING, S.STOPPING, S.STOPPED, S.FAILED, S.LOST, S.REQUESTED}),
    S.RUNNING: frozenset({S.STOPPING, S.STOPPED, S.FAILED, S.LOST, S.REQUESTED}),
    S.STOPPING: frozenset({S.STOPPED, S.FAILED, S.LOST}),
    # A lost box may come back with the instance still running on it.
    S.LOST: frozenset({S.RUNNING, S.STOPPING, S.STOPPED, S.FAILED, S.REQUESTED}),
    S.STOPPED: frozenset(),
    S.FAILED: frozenset(),
}

# What a box is working for; its reservation is held.
ON_A_BOX = frozenset({S.PLACED, S.PREPARING, S.RUNNING, S.STOPPING, S.LOST})
OVER = frozenset({S.STOPPED, S.FAILED})
WAITING = frozenset({S.REQUESTED, S.QUEUED})
WANTED = WAITING | {S.PLACED, S.PREPARING, S.RUNNING}


def may(before: S, after: S) -> bool:
    """Whether an instance may go from one state to another."""
    return after in STEPS[before]
