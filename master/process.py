"""A process of the master that works off queues: how the scheduler and the lifecycle begin."""

from __future__ import annotations

from collections.abc import Callable

from celery import Celery

from common import logs
from common.celery_app import run_worker
from common.metrics import serve_metrics
from common.settings import settings
from master.context import MasterContext, make_context

CONCURRENCY = 4


def run_process(
    name: str, queue: str, register: Callable[[Celery, MasterContext], object], *, metrics_offset: int
) -> None:
    """Run until ended: `register` makes the tasks, `metrics_offset` is added to the port of the settings."""
    conf = settings()
    logs.configure(conf.log_level, json_lines=conf.log_format == "json", process=name)
    context = make_context(conf, queues=[queue], name=name)
    register(context.celery, context)
    serve_metrics(conf.metrics_port and conf.metrics_port + metrics_offset)
    run_worker(context.celery, concurrency=CONCURRENCY, events=True, hostname=f"{name}@master")
