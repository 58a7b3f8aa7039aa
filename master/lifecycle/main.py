"""The lifecycle process: a Celery worker on `lifecycle` and every `report.<box>`.

Run as `python -m master.lifecycle.main`. Queues of boxes that join later are added while it runs.
"""

from __future__ import annotations

import atexit
from typing import Any

import redis
from celery import Celery, bootsteps

from common import names
from common.celery_app import queue
from common.logs import bind, get_logger
from master.context import MasterContext
from master.lifecycle.herald import Herald
from master.lifecycle.reconcile import Reconciler
from master.lifecycle.reports import Reports
from master.process import run_process
from master.simulation.keeper import Keeper

log = get_logger(__name__)

METRICS_OFFSET = 2
FOLLOW_EVERY_S = 1.0


def follow_boxes(context: MasterContext) -> type[bootsteps.StartStopStep]:
    """A step of Celery's consumer that consumes the report queue of every box that has joined."""

    class FollowBoxes(bootsteps.StartStopStep):  # type: ignore[misc]
        requires = ("celery.worker.consumer.tasks:Tasks",)

        def start(self, parent: Any) -> None:
            self._followed: set[str] = set()
            self._timer = parent.timer.call_repeatedly(FOLLOW_EVERY_S, self._follow, (parent,))
            self._follow(parent)

        def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
            if (timer := getattr(self, "_timer", None)) is not None:
                timer.cancel()

        def _follow(self, parent: Any) -> None:
            try:
                boxes = {str(box) for box in context.redis.smembers(names.BOXES)}
            except redis.RedisError as error:
                log.warning("boxes not read", error=str(error))
                return
            for box in boxes - self._followed:
                parent.call_soon(parent.add_task_queue, queue(names.report_queue(box)))
            for box in self._followed - boxes:
                parent.call_soon(parent.cancel_task_queue, names.report_queue(box))
            self._followed = boxes

    return FollowBoxes


def register(app: Celery, context: MasterContext) -> None:
    """Make the lifecycle's tasks."""
    reports = Reports(context)
    reconciler = Reconciler(context)

    @app.task(name=names.REPORT, bind=True)  # type: ignore[untyped-decorator]
    def report(task: Any, box: str, text: str) -> None:
        # Only the box itself may write to its queue; what it says of its name is not believed.
        came_by = task.request.delivery_info.get("routing_key")
        if came_by != names.report_queue(box):
            log.warning("report refused", box=box, queue=came_by)
            return
        with bind(box=box):
            reports.take(box, text)

    @app.task(name=names.RECONCILE)  # type: ignore[untyped-decorator]
    def reconcile() -> None:
        reconciler.run()

    app.steps["consumer"].add(follow_boxes(context))


def begin(app: Celery, context: MasterContext) -> None:
    """The tasks, and beside them the herald and the keeper of simulations."""
    register(app, context)
    herald = Herald(context.redis, every_s=context.settings.fleet_watch_s)
    keeper = Keeper(context)
    for beside in (herald, keeper):
        beside.start()
        atexit.register(beside.stop)


def main() -> None:
    """Run until ended."""
    run_process("lifecycle", names.LIFECYCLE_QUEUE, begin, metrics_offset=METRICS_OFFSET)


if __name__ == "__main__":
    main()
