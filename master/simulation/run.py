"""One placed request."""

from __future__ import annotations

from dataclasses import dataclass, field

from master.simulation.links import Transfer
from master.simulation.processors import Job
from master.simulation.record import Block
from master.simulation.world import Application


@dataclass(slots=True, eq=False)
class Run:
    """One placed request. `amounts` are reserved on `box`, `room_bytes` on `store`."""

    block: Block
    at: int
    application: Application
    person: int
    box: int
    end_slot: int
    asked_at: float
    store: int | None = None
    lasts_s: float | None = None  # from its start; none: until `end_slot`
    cpu: float | None = None  # none: as its task says
    memory_bytes: float = 0.0
    salt: int = 0
    amounts: list[float] = field(default_factory=lambda: [0.0] * 5)
    room_bytes: float = 0.0
    mount_bps: float = 0.0  # reserved on the store's link
    stream_bps: float = 0.0  # held on the person's link
    expected_bytes: float = 0.0  # of the person's, announced before they are sent
    missing: set[str] = field(default_factory=set)
    layers_at: float = 0.0
    launched_at: float = 0.0
    started: bool = False
    started_at: float = 0.0
    over: bool = False
    transfers: list[Transfer] = field(default_factory=list)
    to_send: list[int] = field(default_factory=list)
    to_arrive: int = 0
    sent_bytes: float = 0.0
    # Where steps are told one by one: when the present one began, and which of them are done.
    step_at: float = 0.0
    complete: bool = False
    unpacked: bool = False
    burning: Job | None = None
