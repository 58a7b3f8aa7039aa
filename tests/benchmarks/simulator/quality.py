"""How good the placements of every registered policy are on `openraas-paper`: a table, and what must hold."""

from __future__ import annotations

from master.scheduling.policy import policy_names
from master.simulation.loading import load_scenario
from master.simulation.many import run_all
from master.simulation.output import shown
from master.simulation.summary import Runs
from tests.benchmarks.lines import Case

OURS, PUBLISHED, BASELINES = "start-soonest", "nearest", ("cloud", "edge", "edge-with-cache")
MEASURES = ("drop_rate", "delay_s")


def judge(seeds: int, jobs: int) -> list[Case]:
    """Run everything, print the table as Markdown, and say what holds."""
    runs = run_all(load_scenario("openraas-paper"), policy_names(), range(seeds), jobs=jobs)
    print_table(runs)
    return cases(runs)


def print_table(runs: Runs) -> None:
    """As Markdown."""
    headers, rows = shown(runs)
    for row in (headers, ["---"] * len(headers), *rows):
        print(f"| {' | '.join(row)} |")


def cases(runs: Runs) -> list[Case]:
    """What must hold."""
    found = []
    for measure in MEASURES:
        found.append(_ratio(runs, measure))
        found += [_gap(runs, measure, better, worse) for better in (OURS, PUBLISHED) for worse in BASELINES]
    return [*found, _utilisation(runs)]


def _paired(runs: Runs, measure: str, one: str, other: str) -> list[float]:
    pairs = zip(runs.by_policy[one], runs.by_policy[other], strict=True)
    return [mine[measure] / theirs[measure] for mine, theirs in pairs]


def _ratio(runs: Runs, measure: str) -> Case:
    """The default policy against the published one, seed by seed."""
    ratio = runs.estimate(OURS, measure).mean / runs.estimate(PUBLISHED, measure).mean
    return Case(
        f"{measure}-{OURS}", ratio, "x", PUBLISHED, _paired(runs, measure, OURS, PUBLISHED), at_most=1.0
    )


def _gap(runs: Runs, measure: str, better: str, worse: str) -> Case:
    """How far apart the two confidence intervals are; below 0 they overlap, or lie the other way round."""
    low, high = runs.estimate(better, measure), runs.estimate(worse, measure)
    gap = (high.mean - high.half) - (low.mean + low.half)
    pairs = zip(runs.by_policy[better], runs.by_policy[worse], strict=True)
    differences = [theirs[measure] - mine[measure] for mine, theirs in pairs]
    unit = "s" if measure.endswith("_s") else "share"
    return Case(f"{measure}-{better}", gap, unit, worse, differences, at_least=0.0)


def _utilisation(runs: Runs) -> Case:
    """Computing that is used: more than with `bin-pack` is no fault, less than 95 % of it is one."""
    measure = "utilisation.compute"
    ratio = runs.estimate(OURS, measure).mean / runs.estimate("bin-pack", measure).mean
    return Case(measure, ratio, "x", "bin-pack", _paired(runs, measure, OURS, "bin-pack"), at_least=0.95)
