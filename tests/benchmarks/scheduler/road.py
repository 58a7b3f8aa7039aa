"""Placements per second through Celery, Redis, reservation and commit: the scheduler's whole road.

Two scheduler processes, 50 producers, boxes that are only records with room for a few more than all who ask.
Afterwards nothing may be given away twice, by SQL and by Redis.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

from common import names
from common.settings import Settings
from master.context import MasterContext, make_context
from master.db.migrate import upgrade
from tests.benchmarks.lines import Case
from tests.support.crowd import ask, count, make_boxes, overcommitted, produce, schedulers
from tests.support.postgresql import is_there, run_postgresql
from tests.support.redis import run_redis

PROCESSES, PRODUCERS, PEOPLE = 2, 50, 40
BOXES, CORES, REQUESTS = 100, 21, 2000
LIMIT_S = 120.0
LOOK_S = 0.02
AT_LEAST = 200.0
# Of that is taken what Celery alone carries on such a machine, four-step starts per second.
RIVAL = "Celery alone, four steps: 217-234/s"


def one_run(master: MasterContext) -> float:
    """Placements per second, from the first message to the last commit."""
    boxes = make_boxes(master, BOXES, cores=CORES)
    with schedulers(master, PROCESSES):
        first = ask(master, PROCESSES, 1)
        produce(master, first, 1)
        _wait(master, len(first))
        asked = ask(master, REQUESTS, PEOPLE)
        began = time.perf_counter()
        produce(master, asked, PRODUCERS)
        _wait(master, len(first) + len(asked))
        took = time.perf_counter() - began
    if wrong := overcommitted(master, boxes):
        raise SystemExit("Room was given away twice:\n" + "\n".join(wrong))
    return len(asked) / took


def _wait(master: MasterContext, placed: int) -> None:
    end = time.monotonic() + LIMIT_S
    while count(master, "placed") < placed:
        if time.monotonic() > end:
            raise SystemExit(
                f"Only {count(master, 'placed')} of {placed} were placed within {LIMIT_S:.0f} s."
            )
        time.sleep(LOOK_S)


def run_on(database_url: str) -> float:
    """One run on an empty database (SQLite if there is no URL) and an empty Redis."""
    with tempfile.TemporaryDirectory(prefix="openraas-bench-") as name, run_redis(Path(name)) as server:
        conf = Settings(state_dir=Path(name), redis_url=server.url, database_url=database_url)
        master = make_context(conf, queues=[names.SCHEDULER_QUEUE])
        upgrade(master.database.engine)
        master.redis.mset({names.EPOCH: "e1", names.EPOCH_READY: "e1"})
        try:
            return one_run(master)
        finally:
            master.database.engine.dispose()


def end_to_end(runs: int = 3) -> list[Case]:
    """The cases, on SQLite and where it is installed on PostgreSQL."""
    rates: dict[str, list[float]] = {}
    for _ in range(runs):
        rates.setdefault("sqlite", []).append(run_on(""))
        if is_there():
            with run_postgresql(durable=True) as url:
                rates.setdefault("postgresql", []).append(run_on(url))
    return [
        Case(f"end-to-end-{name}", median(values), "placements/s", RIVAL, values, at_least=AT_LEAST)
        for name, values in rates.items()
    ]
