"""The process that runs one simulation for the master: `python -m master.simulation.child FOLDER`.

It knows neither the database nor Redis. It takes no more memory and processor time than the job says, and gives way
to everything else on the machine; its keeper ends it when it takes too long or nobody wants it any more.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from common.errors import OpenRaaSError
from common.units import show_size
from master.scheduling.policy import load_policy
from master.simulation import job as files
from master.simulation.job import Job, Plot, Progress, Summary
from master.simulation.loading import parse_scenario
from master.simulation.many import run_all
from master.simulation.output import as_json, caution, shown, write_csv, write_parquet
from master.simulation.scenario import Scenario
from master.simulation.summary import Runs

NICE = 15
TELL_EVERY_S = 0.5
# What people read of an error they did not expect.
FAILED = 2


def main(folder: Path) -> int:
    """Run the job; 0, or 2 with the reason in a file."""
    job: Job = files.read(folder / files.JOB, Job)
    _limit(job)
    try:
        _run(folder, job)
    except OpenRaaSError as error:
        return _fail(folder, str(error))
    except MemoryError:
        return _fail(
            folder,
            f"It needs more than {show_size(job.memory_bytes)} of memory. Make the scenario smaller, or set "
            "OPENRAAS_SIMULATION_MEMORY_BYTES.",
        )
    return 0


def _limit(job: Job) -> None:
    os.nice(NICE)
    resource.setrlimit(resource.RLIMIT_AS, (job.memory_bytes, job.memory_bytes))
    limit_s = int(job.limit_s) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s))


def _run(folder: Path, job: Job) -> None:
    trace = folder / files.TRACE
    scenario = parse_scenario(job.scenario, job.settings, trace=trace if trace.exists() else None)
    for policy in job.policies:
        load_policy(policy)
    seeds = range(job.first_seed, job.first_seed + job.seeds)
    runs = run_all(scenario, job.policies, seeds, progress=_teller(folder))
    write_csv(runs, folder / files.CSV)
    (folder / files.RESULT).write_text(json.dumps(as_json(runs)), encoding="utf-8")
    lacking: list[str] = []
    if find_spec("pyarrow") is None:
        lacking.append("Parquet needs pyarrow on the master: pip install 'openraas[parquet]'.")
    else:
        write_parquet(runs, folder / files.PARQUET)
    plots = _draw(folder, scenario, runs)
    if plots is None:
        lacking.append("Plots need matplotlib on the master: pip install 'openraas[simulation]'.")
    headers, rows = shown(runs)
    summary = Summary(
        made=dict(runs.made),
        headers=headers,
        rows=rows,
        caution=caution(job.seeds),
        plots=plots or [],
        lacking=lacking,
    )
    files.write(folder / files.SUMMARY, summary)


def _draw(folder: Path, scenario: Scenario, runs: Runs) -> list[Plot] | None:
    """The report, and its plots one by one; none if the package for it is not there."""
    if find_spec("matplotlib") is None:
        return None
    from master.simulation.report import draw, render

    drawn = draw(scenario, runs)
    (folder / files.REPORT).write_text(render(scenario, runs, drawn), encoding="utf-8")
    plots = []
    for number, plot in enumerate(drawn, start=1):
        name = files.PLOTS.replace("*", f"{number:02}")
        (folder / name).write_text(plot.svg, encoding="utf-8")
        plots.append(Plot(file=name, title=plot.title))
    return plots


def _teller(folder: Path) -> Callable[[int, int], None]:
    told_at = float("-inf")

    def tell(done: int, of: int) -> None:
        nonlocal told_at
        if done < of and time.monotonic() - told_at < TELL_EVERY_S:
            return
        told_at = time.monotonic()
        files.write(folder / files.PROGRESS, Progress(done=done, of=of))

    return tell


def _fail(folder: Path, message: str) -> int:
    here = f"{folder}/"  # whoever reads it knows nothing of our folders
    (folder / files.ERROR).write_text(message.replace(here, ""), encoding="utf-8")
    return FAILED


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
