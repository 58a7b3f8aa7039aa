"""What happened to each request: columns, one block per slot."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from master.simulation.demand import Asked

NOBODY = -1


class Outcome(IntEnum):
    """The end of a request. Everything but the first is final."""

    OPEN = 0
    STARTED = 1
    NO_ROOM = 2  # no eligible composition in its slot: dropped
    LATE = 3  # it had a place and did not start within its slot: dropped
    BROKEN = 4  # it started, and a box that it needed left before the end
    LEFT = 5  # it started, and the person left while files were still to be sent


DROPPED = (Outcome.NO_ROOM, Outcome.LATE)
FLOATS = ("layers_s", "launch_s", "traffic_s", "latency_ms", "speed_bps")
# The parts of a start, one after the other, where the scenario says what each step costs. `transfer` ends with the
# last byte, `unpack` is what the engine does after it.
STEPS = ("queue", "prepare", "transfer", "unpack", "files", "launch")


class Block:
    """The requests of one slot, in the order in which they came."""

    layers_s: NDArray[np.float32]
    launch_s: NDArray[np.float32]
    traffic_s: NDArray[np.float32]
    latency_ms: NDArray[np.float32]
    speed_bps: NDArray[np.float32]
    __slots__ = ("application", "asked_at", "box", "lasts", "outcome", "person", "steps_s", *FLOATS)

    def __init__(self, asked: Asked, *, steps: bool = False) -> None:
        count = len(asked)
        self.person = asked.person
        self.application = asked.application
        self.asked_at = asked.at_s
        self.lasts = asked.lasts_slots
        self.outcome: NDArray[np.int8] = np.zeros(count, dtype=np.int8)
        self.box: NDArray[np.int32] = np.full(count, NOBODY, dtype=np.int32)
        # Seconds by request and step; nothing of it is kept where nobody asked for steps.
        self.steps_s = np.full((count if steps else 0, len(STEPS)), np.nan)
        for name in FLOATS:
            setattr(self, name, np.full(count, np.nan, dtype=np.float32))

    def __len__(self) -> int:
        return len(self.person)
