"""Requests from a trace: our own files, and public ones by their columns."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import BadInput
from master.simulation.demand import Asked
from master.simulation.scenario import Column, Replay
from master.simulation.world import Bools, Floats, World

# Columns of known formats: by name where files have a header, else by position. Seconds, cores and bytes come out;
# what a trace gives as a share of a machine (Google, Alibaba) is scaled by `cpu_scale` and `memory_scale`.
FORMATS: Mapping[str, Mapping[str, Column]] = {
    "openraas": {
        "arrival": Column(at="arrival_s"),
        "duration": Column(at="duration_s"),
        "cpu": Column(at="cpu"),
        "memory": Column(at="memory_bytes"),
        "task": Column(at="task"),
    },
    # AzurePublicDataset V2, vmtable.csv: no header; created and deleted in seconds, cores, GB.
    "azure": {
        "arrival": Column(at=3), "end": Column(at=4), "cpu": Column(at=9), "memory": Column(at=10, scale=2**30)
    },
    # Alibaba cluster-trace-v2018, batch_task.csv: no header; seconds, 100 is a core, percent of a machine's memory.
    "alibaba": {
        "arrival": Column(at=5), "end": Column(at=6),
        "cpu": Column(at=7, scale=0.01), "memory": Column(at=8, scale=0.01),
    },
    # Google cluster-usage traces, joined to one line per task: microseconds, shares of the largest machine.
    "google": {
        "arrival": Column(at="start_time", scale=1e-6), "end": Column(at="end_time", scale=1e-6),
        "cpu": Column(at="cpu_request"), "memory": Column(at="memory_request"),
    },
}  # fmt: skip
_NEEDED = ("arrival", "cpu")


@dataclass(frozen=True)
class Trace:
    """Requests in the order of their arrival. `task` are numbers of the scenario's tasks."""

    arrival_s: Floats
    duration_s: Floats
    cpu: Floats
    memory_bytes: Floats
    task: np.ndarray[tuple[int], np.dtype[np.int32]]

    def __len__(self) -> int:
        return len(self.arrival_s)


def read_trace(replay: Replay, tasks: Sequence[str]) -> Trace:
    """The requests of a trace's file; raises BadInput with file, line and column for what cannot be read."""
    columns = _columns(replay)
    path = Path(replay.file)
    found: list[tuple[float, float, float, float, int]] = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for line, cells in _lines(file, columns, path):
                found.append(_request(cells, columns, replay, tasks, f"{path}, line {line}"))
                if replay.limit is not None and len(found) == replay.limit:
                    break
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"The trace {path} cannot be read: {error}.", field="trace.file") from error
    if not found:
        raise BadInput(f"The trace {path} has no request in it.", field="trace.file")
    found.sort(key=lambda row: row[0])
    table = np.array(found)
    first = table[0, 0]
    return Trace(
        arrival_s=(table[:, 0] - first) * replay.time_scale,
        duration_s=table[:, 1] * replay.time_scale,
        cpu=table[:, 2],
        memory_bytes=table[:, 3],
        task=table[:, 4].astype(np.int32),
    )


def _columns(replay: Replay) -> dict[str, Column]:
    if replay.format not in FORMATS and replay.format != "columns":
        raise BadInput(
            f"There is no trace format {replay.format}.",
            field="trace.format",
            remedy=f"Take one of: {', '.join(FORMATS)}; or `columns`, and name them in trace.columns.",
        )
    columns: dict[str, Column] = dict(FORMATS.get(replay.format, {}))
    columns.update(replay.columns.items())
    for name in _NEEDED:
        if name not in columns:
            raise BadInput(f"trace.columns does not say where {name} stands.", field=f"trace.columns.{name}")
    if "duration" not in columns and "end" not in columns:
        raise BadInput(
            "trace.columns says neither where duration nor where end stands.", field="trace.columns.duration"
        )
    return columns


def _lines(
    file: Iterator[str], columns: Mapping[str, Column], path: Path
) -> Iterator[tuple[int, Mapping[str | int, str]]]:
    reader = csv.reader(file)
    named = any(isinstance(column.at, str) for column in columns.values())
    header: list[str] = []
    for cells in reader:
        if not cells:
            continue
        if named and not header:
            header = [cell.strip() for cell in cells]
            for name, column in columns.items():
                if isinstance(column.at, str) and column.at not in header and name not in ("memory", "task"):
                    raise BadInput(
                        f"{path}, line {reader.line_num}: the header has no column {column.at}.",
                        field=f"trace.columns.{name}",
                    )
            continue
        if header and len(cells) != len(header):
            raise BadInput(
                f"{path}, line {reader.line_num}: {len(cells)} columns, but the header names {len(header)}.",
                field="trace.file",
            )
        values: dict[str | int, str] = dict(enumerate(cells))
        values.update(zip(header, cells, strict=False))
        yield reader.line_num, values


def _request(
    cells: Mapping[str | int, str],
    columns: Mapping[str, Column],
    replay: Replay,
    tasks: Sequence[str],
    where: str,
) -> tuple[float, float, float, float, int]:
    def number(name: str, *, default: float | None = None) -> float:
        column = columns.get(name)
        if column is None or (default is not None and column.at not in cells):
            return default or 0.0
        if column.at not in cells:
            raise BadInput(f"{where}: there is no column {column.at} ({name}).", field=str(column.at))
        text = cells[column.at].strip()
        try:
            value = float(text) * column.scale
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and (value >= 0 or name == "arrival")):
            raise BadInput(
                f"{where}: {column.at}: {text!r} is not a number that {name} can have.", field=str(column.at)
            )
        return value

    arrival = number("arrival")
    duration = number("duration") if "duration" in columns else number("end") - arrival
    if duration < 0:
        raise BadInput(
            f"{where}: {columns['end'].at}: it ends before it arrives.", field=str(columns["end"].at)
        )
    cpu = number("cpu") * replay.cpu_scale
    memory = number("memory", default=0.0) * replay.memory_scale
    return arrival, duration, cpu, memory, _task(cells, columns.get("task"), tasks, where)


def _task(cells: Mapping[str | int, str], column: Column | None, tasks: Sequence[str], where: str) -> int:
    name = cells.get(column.at, "").strip() if column is not None else ""
    if name in tasks:
        return tasks.index(name)
    if not name and len(tasks) == 1:
        return 0
    known = ", ".join(tasks)
    raise BadInput(f"{where}: task: the scenario has no task {name!r}, only: {known}.", field="task")


class TraceDemand:
    """The requests of a trace, slot by slot; everybody is online. Stands in for Demand."""

    def __init__(self, world: World, trace: Trace) -> None:
        self._trace, self._length_s = trace, world.scenario.slots.length_s
        self._people = world.people
        tasks = world.tasks
        counts = np.array([task.applications for task in tasks])
        first = np.cumsum(counts) - counts
        # The tasks of a trace have one application each in their exported form; with more they take turns.
        self._application = first[trace.task] + np.arange(len(trace)) % counts[trace.task]
        self.online: Bools = np.ones(len(world.people), dtype=bool)
        self.slots = int(trace.arrival_s[-1] // self._length_s) + 2  # the last one has its whole patience

    def turn_over(self) -> None:
        """Nobody comes or goes."""

    def lending(self) -> Bools:
        """Nobody lends what the trace does not name."""
        return np.zeros(len(self.online), dtype=bool)

    def slot(self, begins_s: float) -> Asked:
        """The requests that arrive in the slot that begins now."""
        trace = self._trace
        begin, end = np.searchsorted(trace.arrival_s, [begins_s, begins_s + self._length_s])
        rows = np.arange(begin, end)
        return Asked(
            at_s=trace.arrival_s[rows],
            person=(self._people.start + rows % len(self._people)).astype(np.int32),
            application=self._application[rows].astype(np.int32),
            lasts_slots=np.ceil(trace.duration_s[rows] / self._length_s).clip(1, 2**15 - 1).astype(np.int16),
            salt=rows.astype(np.int64),
            lasts_s=trace.duration_s[rows],
            cpu=trace.cpu[rows],
            memory_bytes=trace.memory_bytes[rows],
        )
