"""How far the simulator is from real boxes: predicted and measured mean start of three scenarios in the lab.

What steps cost on this machine is learnt from runs with other images and other arrival times (`calibrate-…`); then
those figures are frozen, and `warm`, `cold` (from three depositories) and `surge` (twenty at once) are run afresh and
judged. Nothing is fitted to a run that is judged. Run by `make bench-fidelity`; needs root, and takes about twelve
minutes on two cores. ARGS="--rounds 3" learns from and judges more runs, ARGS="--costs FILE" takes figures that were
learnt before.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import fmean

import yaml

from master.cli.output import table
from master.experiment.cli import checked, compare
from master.experiment.comparing import Comparison
from master.experiment.learning import as_yaml, learn
from master.experiment.output import requests_shown, shown
from master.experiment.running import Measured, measure
from tests.benchmarks.lines import Case, report
from workers.lab.commands import require_root

# The other way round than they are judged: what else the machine does drifts, and so the least lies between.
LEARNT_FROM = ("calibrate-surge", "calibrate-cold", "calibrate-warm")
JUDGED = ("warm", "cold", "surge")
MOST_OFF_PERCENT = 15.0
SEED = 0
# A machine that does something else meanwhile would be measured instead of the boxes.
NICENESS = -5


def main() -> int:
    """Learn, freeze, judge; exit code 1 if a case falls short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1, help="runs of each scenario")
    parser.add_argument("--case", action="append", choices=JUDGED, help="which one; all by default")
    parser.add_argument("--costs", type=Path, help="take these figures instead of learning")
    parser.add_argument("--keep", type=Path, help="write what was learnt here")
    options = parser.parse_args()
    require_root()
    os.nice(NICENESS - os.nice(0))
    costs = options.costs.read_text() if options.costs else _learn(options.rounds)
    if options.keep:
        options.keep.write_text(costs)
    print(f"Frozen:\n{costs}", flush=True)
    found: dict[str, list[Comparison]] = {name: [] for name in options.case or JUDGED}
    for _ in range(options.rounds):
        for name, runs in found.items():
            runs.append(compare(_run(name, costs)))
            _show(runs[-1])
    return report([case for name, runs in found.items() for case in _cases(name, runs)])


def _learn(rounds: int) -> str:
    runs = [_run(name, "") for _ in range(rounds) for name in LEARNT_FROM]
    figures = learn(runs, lambda number, error: print(f"learning {number}: {error:.4f}", flush=True))
    return as_yaml(runs[0].scenario, figures)


def _run(name: str, costs: str) -> Measured:
    """A fresh run in a lab of its own, with these figures in its scenario."""
    changes = [f"{key}={value!r}" for key, value in _flat(yaml.safe_load(costs) or {}, ())]
    return measure(checked(name, changes, None, SEED), SEED, partial(_say, name))


def _flat(values: object, above: Sequence[str]) -> list[tuple[str, object]]:
    """`key.of.it` and value of everything in a mapping of mappings."""
    if not isinstance(values, dict):
        return [(".".join(above), values)]
    return [pair for key, value in values.items() for pair in _flat(value, (*above, str(key)))]


def _say(name: str, text: str) -> None:
    print(f"{name}: {text}", flush=True)


def _show(found: Comparison) -> None:
    print(f"\n{found.title}")
    table(*shown(found))
    table(*requests_shown(found))
    print(flush=True)


def _cases(name: str, runs: Sequence[Comparison]) -> list[Case]:
    """By how much the mean start is off over all runs, and in each of them."""
    said = fmean(run.start.predicted_s for run in runs)
    was = fmean(run.start.measured_s for run in runs)
    off = [100 * run.start.off for run in runs]
    all_start = all(len(run.pairs) == len(run.measured) for run in runs)
    value = 100 * abs(said - was) / was if all_start else 100.0
    print(f"{name}: mean start {said:.3f} s predicted, {was:.3f} s measured, {len(runs)} runs")
    return [Case(f"fidelity-{name}", value, "% off", "measured", off, at_most=MOST_OFF_PERCENT)]


if __name__ == "__main__":
    sys.exit(main())
