"""Figures for people and programs: a table, CSV, Parquet."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from common.errors import BadInput
from master.simulation.summary import Runs

# What the table shows: header, figure, factor, unit behind the header.
_COLUMNS = (
    ("DROPPED %", "drop_rate", 100.0),
    ("DELAY s", "delay_s", 1.0),
    ("LAYERS s", "start.layers_s", 1.0),
    ("TRAFFIC s", "start.traffic_s", 1.0),
    ("LATENCY ms", "latency_ms", 1.0),
    ("JITTER ms", "jitter_ms", 1.0),
    ("SPEED Mbit/s", "speed_mbps", 1.0),
    ("COMPUTE %", "utilisation.compute", 100.0),
    ("LINK %", "utilisation.link", 100.0),
    ("FAIRNESS", "fairness.people", 1.0),
)
FIELDS = ("scenario", "policy", "seed", "figure", "value")


# With fewer seeds Student's t makes intervals so wide (12.7 standard errors with two) that they decide nothing.
FEW_SEEDS = 5


def caution(seeds: int) -> str:
    """What to say of intervals over so few seeds; empty where there are enough."""
    if seeds >= FEW_SEEDS:
        return ""
    if seeds == 1:
        return "One seed has no interval: what looks better may be chance. Take ten or more."
    return f"{seeds} seeds make wide intervals: they say little of which policy is better. Take ten or more."


def shown(runs: Runs) -> tuple[list[str], list[list[str]]]:
    """The table of a comparison: headers, and a row per policy in the order in which they were named."""
    rows = []
    for policy in runs.by_policy:
        cells = [runs.estimate(policy, name).times(factor) for _, name, factor in _COLUMNS]
        rows.append([policy, *map(str, cells)])
    return ["POLICY", *(header for header, _, _ in _COLUMNS)], rows


def rows(runs: Runs) -> Iterator[tuple[str, str, int, str, float]]:
    """Every figure of every run."""
    for policy, found in runs.by_policy.items():
        for seed, run in zip(runs.seeds, found, strict=True):
            for name, value in run.items():
                yield runs.scenario, policy, seed, name, value


def write_csv(runs: Runs, path: Path) -> None:
    """Every figure of every run, one a line; raises BadInput if the file cannot be written."""
    csv_file(FIELDS, rows(runs), path)


def write_parquet(runs: Runs, path: Path) -> None:
    """The same as Parquet; needs pyarrow."""
    parquet_file(FIELDS, rows(runs), path)


def csv_file(fields: Sequence[str], lines: Iterable[Sequence[object]], path: Path) -> None:
    """A header and lines; raises BadInput if the file cannot be written."""
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(fields)
            writer.writerows(lines)
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}.", field="csv") from error


def parquet_file(fields: Sequence[str], lines: Iterable[Sequence[object]], path: Path) -> None:
    """The same as columns of a Parquet file; needs pyarrow."""
    import pyarrow
    from pyarrow import parquet

    columns = list(zip(*lines, strict=True))
    try:
        parquet.write_table(pyarrow.table(dict(zip(fields, columns, strict=True))), path)
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}.", field="parquet") from error


def as_json(runs: Runs) -> dict[str, object]:
    """Every figure of every policy, as the mean over the seeds."""
    return {
        "scenario": runs.scenario,
        "seeds": list(runs.seeds),
        "made": dict(runs.made),
        "policies": {
            policy: {
                name: {"mean": found.mean, "half": found.half} if found.count else None
                for name in runs.names()
                if (found := runs.estimate(policy, name))
            }
            for policy in runs.by_policy
        },
    }
