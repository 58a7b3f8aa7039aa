"""What the keeper and the child process that runs a simulation tell each other: files in one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from common.words import Frozen

JOB, TRACE, PROGRESS, SUMMARY, ERROR = "job.json", "trace.csv", "progress.json", "summary.json", "error.txt"
CSV, PARQUET, RESULT, REPORT = "figures.csv", "figures.parquet", "result.json", "report.html"
PLOTS = "plot-*.svg"
# What people may get: names with their media types.
MEDIA = {
    ".csv": "text/csv; charset=utf-8",
    ".json": "application/json",
    ".html": "text/html; charset=utf-8",
    ".parquet": "application/vnd.apache.parquet",
    ".svg": "image/svg+xml",
}


class Job(Frozen):
    """What the child is to do."""

    scenario: str
    settings: list[str]
    policies: list[str]
    seeds: int
    first_seed: int
    memory_bytes: int
    limit_s: float


class Progress(Frozen):
    """How far it is."""

    done: int
    of: int


class Plot(BaseModel):
    """A picture among the files."""

    file: str
    title: str


class Summary(BaseModel):
    """What came out, for pages."""

    made: dict[str, int] = Field(description="How many of each thing the scenario made.")
    headers: list[str]
    rows: list[list[str]] = Field(description="A row per policy: means with half the 95 % interval.")
    caution: str = Field(description="What to keep in mind of the intervals; empty: nothing.")
    plots: list[Plot]
    lacking: list[str] = Field(description="What was left out for want of a package, and how to install it.")


def write(path: Path, value: BaseModel) -> None:
    """Whole or not at all: somebody else may read it at any moment."""
    half = path.with_suffix(".half")
    half.write_text(value.model_dump_json(), encoding="utf-8")
    half.replace(path)


def read(path: Path, kind: type[Any]) -> Any:
    """What lies there, as a model; None if nothing does."""
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
