"""A scheduler process: a Celery worker on the queue `scheduler`.

Run as `python -m master.scheduler.main [NUMBER]`; several with different numbers share the work.
"""

from __future__ import annotations

import sys

from celery import Celery

from common import logs, names
from common.celery_app import run_worker
from common.logs import bind
from common.metrics import serve_metrics
from common.settings import settings
from master.context import MasterContext, make_context
from master.scheduler.service import Scheduler
from master.scheduler.wakes import Wakes

# The lifecycle's is 2; the second scheduler's is 3.
FIRST_METRICS_OFFSET, MORE_METRICS_OFFSET = 1, 1
# One thread places, the others take in who asks meanwhile.
CONCURRENCY = 4


def register(app: Celery, context: MasterContext) -> Scheduler:
    """Make the scheduler's tasks."""
    scheduler = Scheduler(context)
    wakes = Wakes(scheduler.place_waiting)

    @app.task(name=names.PLACE)  # type: ignore[untyped-decorator]
    def place(instance: str, generation: int) -> None:
        with bind(instance=instance, generation=generation):
            wakes.wake()

    @app.task(name=names.PLACE_WAITING)  # type: ignore[untyped-decorator]
    def place_waiting() -> None:
        wakes.wake()

    return scheduler


def main(number: int = 1) -> None:
    """Run until ended."""
    conf = settings()
    name = "scheduler" if number == 1 else f"scheduler-{number}"
    logs.configure(conf.log_level, json_lines=conf.log_format == "json", process=name)
    context = make_context(conf, queues=[names.SCHEDULER_QUEUE], name=name)
    register(context.celery, context)
    offset = FIRST_METRICS_OFFSET if number == 1 else number + MORE_METRICS_OFFSET
    serve_metrics(conf.metrics_port and conf.metrics_port + offset)
    run_worker(context.celery, concurrency=CONCURRENCY, events=True, hostname=f"{name}@master")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:2]))
