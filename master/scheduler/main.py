"""The scheduler process: a Celery worker on the queue `scheduler`. Run as `python -m master.scheduler.main`."""

from __future__ import annotations

from celery import Celery

from common import logs, names
from common.celery_app import run_worker
from common.logs import bind
from common.metrics import serve_metrics
from common.settings import settings
from master.context import MasterContext, make_context
from master.scheduler.service import Scheduler

METRICS_OFFSET = 1
CONCURRENCY = 4


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
    conf = settings()
    logs.configure(conf.log_level, json_lines=conf.log_format == "json", process="scheduler")
    context = make_context(conf, queues=[names.SCHEDULER_QUEUE], name="scheduler")
    register(context.celery, context)
    serve_metrics(conf.metrics_port and conf.metrics_port + METRICS_OFFSET)
    run_worker(context.celery, concurrency=CONCURRENCY, events=True, hostname="scheduler@master")


if __name__ == "__main__":
    main()
