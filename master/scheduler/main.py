"""The scheduler process: a Celery worker on the queue `scheduler`. Run as `python -m master.scheduler.main`."""

from __future__ import annotations

from celery import Celery

from common import names
from common.logs import bind
from master.context import MasterContext
from master.process import run_process
from master.scheduler.service import Scheduler

METRICS_OFFSET = 1


def register(app: Celery, context: MasterContext) -> Scheduler:
    """Make the scheduler's tasks."""
    scheduler = Scheduler(context)

    @app.task(name=names.PLACE)  # type: ignore[untyped-decorator]
    def place(instance: str, generation: int) -> None:
        with bind(instance=instance, generation=generation):
            scheduler.place(instance, generation)

    @app.task(name=names.PLACE_WAITING)  # type: ignore[untyped-decorator]
    def place_waiting() -> None:
        scheduler.place_waiting()

    return scheduler


def main() -> None:
    """Run until ended."""
    run_process("scheduler", names.SCHEDULER_QUEUE, register, metrics_offset=METRICS_OFFSET)


if __name__ == "__main__":
    main()
