"""From what happened to figures: one run's, and over seeds their mean with a confidence interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from master.simulation.engine import Result
from master.simulation.record import DROPPED, Block, Outcome
from master.simulation.tally import RESOURCES

# Two-sided 95 % quantiles of Student's t distribution for 1 to 30 degrees of freedom.
_T_95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
_Z_95 = 1.960

PARTS = ("layers_s", "launch_s", "traffic_s")


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and half the width of its 95 % confidence interval (nan with one seed)."""

    mean: float
    half: float
    count: int

    def times(self, factor: float) -> Estimate:
        """The same in another unit."""
        return Estimate(self.mean * factor, self.half * factor, self.count)

    def __str__(self) -> str:
        if math.isnan(self.mean):
            return "-"
        half = "" if math.isnan(self.half) else f" ± {_show(self.half)}"
        return f"{_show(self.mean)}{half}"


def _show(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def estimate(values: Iterable[float]) -> Estimate:
    """Mean and t interval; what is not a number in a run counts not."""
    known = np.array([value for value in values if not math.isnan(value)])
    count = len(known)
    if count == 0:
        return Estimate(math.nan, math.nan, 0)
    if count == 1:
        return Estimate(float(known[0]), math.nan, 1)
    quantile = _T_95[count - 2] if count - 1 <= len(_T_95) else _Z_95
    return Estimate(float(known.mean()), float(quantile * known.std(ddof=1) / math.sqrt(count)), count)


def figures(result: Result) -> dict[str, float]:
    """All figures of a run by dotted names, such as `drop_rate.desktop` or `bytes.layers.server`."""
    found: dict[str, float] = {"requests": float(sum(len(block) for block in result.blocks))}
    found |= _rates(result, result.blocks, "")
    if len(result.world.tasks) > 1:
        for number, name in enumerate(result.scenario.tasks):
            found |= _rates(result, result.blocks, f".{name}", number)
    found["fairness.people"] = _fairness_of_people(result)
    tally = result.tally
    for resource in RESOURCES:
        offered, used = tally.offered[resource], tally.used[resource]
        edge = [kind for kind in offered if kind != "centre" and offered[kind] > 0]
        total = sum(offered[kind] for kind in edge)
        found[f"utilisation.{resource}"] = sum(used[kind] for kind in edge) / total if total else math.nan
        for kind in sorted(offered):
            if offered[kind] > 0:
                found[f"utilisation.{resource}.{kind}"] = used[kind] / offered[kind]
    for (what, kind), size in sorted(tally.bytes.items()):
        found[f"bytes.{what}.{kind}"] = float(size)
    found |= {
        "evictions": float(result.evicted),
        "expired_layers": float(result.expired),
        "copies_made": float(tally.copies_made),
        "cut_bytes": tally.cut_bytes,
        "public_files_kept": float(tally.public_kept),
        "storage_complete": float(tally.complete),
    }
    for kind, count in sorted(tally.worker_slots.items()):
        found[f"workers.{kind}"] = count / len(result.blocks)
    return found


def _rates(result: Result, blocks: Sequence[Block], suffix: str, task: int | None = None) -> dict[str, float]:
    task_of = np.array([application.task for application in result.world.applications])

    def all_of(name: str) -> NDArray[Any]:
        columns = [(getattr(block, name), block.application) for block in blocks]
        chosen = [column if task is None else column[task_of[number] == task] for column, number in columns]
        return np.concatenate(chosen)

    outcome = all_of("outcome")
    asked = max(1, len(outcome))
    dropped = np.isin(outcome, DROPPED)
    parts = {name: all_of(name) for name in (*PARTS, "latency_ms", "speed_bps")}
    patience_s = result.scenario.slots.length_s
    start_s = sum(np.where(dropped, 0.0, parts[name]) for name in PARTS)
    found = {
        "drop_rate": dropped.sum() / asked,
        "drop_rate_no_room": (outcome == Outcome.NO_ROOM).sum() / asked,
        "drop_rate_late": (outcome == Outcome.LATE).sum() / asked,
        "broken_rate": (outcome == Outcome.BROKEN).sum() / asked,
        "left_rate": (outcome == Outcome.LEFT).sum() / asked,
        "delay_s": float(np.where(dropped, patience_s, start_s).sum(dtype=np.float64)) / asked,
        "latency_ms": _mean(parts["latency_ms"][~dropped]),
        "jitter_ms": _mean(parts["latency_ms"][~dropped]) * result.scenario.network.jitter,
        "speed_mbps": _mean(parts["speed_bps"][~dropped]) / 1e6,
    }
    found |= {f"start.{name}": _mean(parts[name][~dropped]) for name in PARTS}
    return {f"{name}{suffix}": float(value) for name, value in found.items()}


def _mean(values: NDArray[np.float32]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean(dtype=np.float64)) if len(known) else math.nan


def _fairness_of_people(result: Result) -> float:
    """Jain's index of the share of their requests that people got: 1 is the same for all, 1/n all for one."""
    first, count = result.world.people.start, len(result.world.people)
    asked, got = np.zeros(count), np.zeros(count)
    for block in result.blocks:
        people = block.person - first
        asked += np.bincount(people, minlength=count)
        got += np.bincount(people[~np.isin(block.outcome, DROPPED)], minlength=count)
    share = got[asked > 0] / asked[asked > 0]
    if not len(share) or not share.any():
        return math.nan
    return float(share.sum() ** 2 / (len(share) * (share**2).sum()))


@dataclass(frozen=True)
class Runs:
    """The figures of all runs of a scenario: policy → one mapping per seed, in the order of the seeds."""

    scenario: str
    seeds: tuple[int, ...]
    by_policy: Mapping[str, Sequence[Mapping[str, float]]]
    made: Mapping[str, int]

    def names(self) -> list[str]:
        """All figures that any run has, in their order."""
        return list(dict.fromkeys(name for runs in self.by_policy.values() for run in runs for name in run))

    def estimate(self, policy: str, name: str) -> Estimate:
        """A figure of a policy over the seeds; one that a run lacks counts as nothing there (bytes) or not at all."""
        missing = 0.0 if name.startswith("bytes.") else math.nan
        return estimate(run.get(name, missing) for run in self.by_policy[policy])
