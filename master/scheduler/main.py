"""A scheduler process: a Celery worker on the queue `scheduler`.

Run as `python -m master.scheduler.main [NUMBER]`; several with different numbers share the work.
"""

from __future__ import annotations

import sys

from celery import Celery

from common import names
from master.context import MasterContext
from master.process import run_process
from master.scheduler.service import Scheduler
from master.scheduler.wakes import Wakes

# The lifecycle's is 2; the second scheduler's is 3.
FIRST_METRICS_OFFSET, MORE_METRICS_OFFSET = 1, 1


def register(app: Celery, context: MasterContext) -> Scheduler:
    """Make the scheduler's tasks."""
    scheduler = Scheduler(context)
    wakes = Wakes(scheduler.place_waiting)

    @app.task(name=names.PLACE)  # type: ignore[untyped-decorator]
    def place(instance: str, generation: int) -> None:  # noqa: ARG001 - the wake is for all that wait
        wakes.wake()

    @app.task(name=names.PLACE_WAITING)  # type: ignore[untyped-decorator]
    def place_waiting() -> None:
        wakes.wake()

    return scheduler


def main(number: int = 1) -> None:
    """Run until ended."""
    name = "scheduler" if number == 1 else f"scheduler-{number}"
    offset = FIRST_METRICS_OFFSET if number == 1 else number + MORE_METRICS_OFFSET
    run_process(name, names.SCHEDULER_QUEUE, register, metrics_offset=offset)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:2]))
