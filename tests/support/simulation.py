"""Tiny worlds for tests of the simulator, and a policy's own run of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from master.scheduling.policy import load_policy
from master.simulation.engine import Result, Simulation, simulate
from master.simulation.scenario import Scenario

GB, MB, MBIT = 10**9, 10**6, 10**6


def kind(**changes: Any) -> dict[str, Any]:
    """A device of 50 units of compute, 100 GB and 1 Gbit/s, 1 ms away."""
    room = {"compute": 50, "disk_bytes": 100 * GB, "link_bps": 1000 * MBIT}
    return {**room, "access_ms": 1, "open": 1, "fixed": 1, **changes}


def scenario(
    task: dict[str, Any],
    *,
    servers: dict[str, Any] | None = None,
    device: dict[str, Any] | None = None,
    people: dict[str, Any] | None = None,
    **changes: Any,
) -> Scenario:
    """One kind of task and one kind of device; everything may be changed."""
    shape: dict[str, Any] = {
        "name": "tiny",
        "slots": {"count": 1},
        "network": {"areas": 1, "backbone_ms": 10},
        "master": kind(compute=10**6, disk_bytes=10**15, link_bps=10**12),
        "servers": {**kind(), "count": 1, **(servers or {})},
        "people": {
            "count": 1,
            "devices": {"desktop": {**kind(), "share": 1, **(device or {})}},
            **(people or {}),
        },
        "pools": {"base": {"count": 1, "size_bytes": 100 * MB}},
        "tasks": {"only": {"slots": 1, **task}},
        **changes,
    }
    return Scenario.model_validate(shape)


def run(world: Scenario, policy: str = "nearest", seed: int = 3) -> Result:
    """The result of a whole run."""
    return simulate(world, load_policy(policy), seed)


def begin(world: Scenario, policy: str = "nearest", seed: int = 3) -> Simulation:
    """A run that the test drives slot by slot."""
    return Simulation(world, load_policy(policy), seed)


def column(result: Result, name: str) -> np.ndarray[Any, Any]:
    """A column of all requests."""
    return np.concatenate([getattr(block, name) for block in result.blocks])
