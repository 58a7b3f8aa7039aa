"""What the steps of a start cost, learnt from runs in a lab: the figures with which the simulator repeats them best.

A search along one figure at a time, with smaller and smaller steps (Hooke and Jeeves, "Direct Search", JACM 8(2),
1961, without its pattern moves). What is compared is every step of every request, so that starts alone tell what a
step takes by itself and starts side by side how much of it is processor time. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import yaml

from master.experiment.measuring import Start
from master.experiment.predicting import predict
from master.experiment.running import Measured
from master.simulation.record import STEPS
from master.simulation.scenario import Scenario, Steps, Work

# By how much a figure is changed at first and in the end, and the least that it is worth to go on.
FIRST_STRIDE, LAST_STRIDE = 0.6, 0.04
WORTH = 2e-3
MOST_ROUNDS = 30
# A figure below this says nothing any more.
LEAST = 1e-4
_WORKS = tuple(name for name, info in Steps.model_fields.items() if info.annotation is Work)
# What several threads do.
_PARALLEL = ("launch", "unpack")
MOST_THREADS = 4.0
_RATES = ("unpack_s_per_gb", "unpack_s_per_file")

Figures = dict[str, float]
Report = Callable[[int, float], None]


def learn(
    runs: Sequence[Measured],
    report: Report = lambda _round, _error: None,
    *,
    only: Collection[str] | None = None,
) -> Figures:
    """The figures that fit all runs together, or `only` some; `report` gets round and error as it goes on."""
    figures = figures_of(runs[0].scenario)
    best, stride = error(runs, figures), FIRST_STRIDE
    for number in range(MOST_ROUNDS):
        before = best
        for name in figures if only is None else only:
            for factor in (1 + stride, 1 / (1 + stride)):
                tried = {**figures, name: _within(name, figures[name] * factor)}
                if (found := error(runs, tried)) < best:
                    figures, best = tried, found
                    break
        report(number, best)
        if before - best < WORTH * before:
            if stride <= LAST_STRIDE:
                break
            stride /= 2
    return figures


def _within(name: str, value: float) -> float:
    if name == "goodput":
        return min(1.0, value)
    if name.endswith(".threads"):
        return min(MOST_THREADS, max(1.0, value))
    return max(LEAST, value)


def error(runs: Sequence[Measured], figures: Figures) -> float:
    """How far the simulator is off: squared over steps and whole starts, as a share of each run's mean start."""
    return sum(_error_of(run, predict(with_figures(run.scenario, figures), run.seed)) for run in runs)


def _error_of(run: Measured, predicted: Sequence[Start | None]) -> float:
    mean_s = sum(start.start_s for start in run.starts) / len(run.starts)
    total = 0.0
    for said, was in zip(_ranked(predicted, run.starts), _ranked(run.starts, run.starts), strict=True):
        if was is None:  # told to the type checker
            continue
        if said is None:
            total += was.start_s**2
            continue
        total += sum((one - other) ** 2 for one, other in zip(said.steps_s, was.steps_s, strict=True))
        total += len(STEPS) * (said.start_s - was.start_s) ** 2
    return total / (len(run.starts) * mean_s**2)


def _ranked(starts: Sequence[Start | None], asked: Sequence[Start]) -> list[Start | None]:
    """Those that were asked for together in the order in which they ran: who of them is first is chance."""

    def place(at: int) -> tuple[float, str, float]:
        start = starts[at]
        return round(asked[at].asked_s), asked[at].task, start.start_s if start is not None else math.inf

    return [starts[at] for at in sorted(range(len(starts)), key=place)]


def figures_of(scenario: Scenario) -> Figures:
    """What can be learnt, as it is in a scenario."""
    steps = scenario.cost.steps or Steps()
    found = {"goodput": scenario.network.goodput}
    for name in _WORKS:
        work: Work = getattr(steps, name)
        found |= {f"{name}.wait_s": max(LEAST, work.wait_s), f"{name}.cpu_s": max(LEAST, work.cpu_s)}
        if name in _PARALLEL:
            found[f"{name}.threads"] = work.threads
    return found | {name: max(LEAST, getattr(steps, name)) for name in _RATES}


def with_figures(scenario: Scenario, figures: Figures) -> Scenario:
    """The scenario with what was learnt in place of what it said."""
    steps = scenario.cost.steps or Steps()
    works = {
        name: Work(
            wait_s=figures[f"{name}.wait_s"],
            cpu_s=figures[f"{name}.cpu_s"],
            threads=figures.get(f"{name}.threads", 1.0),
        )
        for name in _WORKS
    }
    rates = {name: figures[name] for name in _RATES}
    cost = scenario.cost.model_copy(update={"steps": steps.model_copy(update=works | rates)})
    network = scenario.network.model_copy(update={"goodput": figures["goodput"]})
    return scenario.model_copy(update={"cost": cost, "network": network})


def as_yaml(scenario: Scenario, figures: Figures) -> str:
    """The keys of a scenario that hold what was learnt."""
    known = with_figures(scenario, {name: float(f"{value:.4g}") for name, value in figures.items()})
    assert known.cost.steps is not None  # noqa: S101 - with_figures gives some
    steps: dict[str, Any] = known.cost.steps.model_dump(mode="json")
    return yaml.safe_dump(
        {"network": {"goodput": known.network.goodput}, "cost": {"steps": steps}}, sort_keys=False
    )
