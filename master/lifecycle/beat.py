"""The clock of the master: wakes the reconciler every few seconds. Run as `python -m master.lifecycle.beat`."""

from __future__ import annotations

from common import logs, names
from common.celery_app import queue
from common.settings import settings
from master.context import make_context


def main() -> None:
    """Run until ended."""
    conf = settings()
    logs.configure(conf.log_level, json_lines=conf.log_format == "json", process="beat")
    context = make_context(conf, queues=[names.LIFECYCLE_QUEUE], name="beat")
    every_s = conf.reconcile_every_s
    context.celery.conf.beat_schedule = {
        "reconcile": {
            "task": names.RECONCILE,
            "schedule": every_s,
            # A round that nobody took in time is not made up for.
            "options": {"queue": queue(names.LIFECYCLE_QUEUE), "expires": 2 * every_s},
        }
    }
    schedule = context.paths.run / "beat.schedule"
    schedule.parent.mkdir(parents=True, exist_ok=True)
    context.celery.Beat(schedule=str(schedule), loglevel=conf.log_level, max_interval=every_s).run()


if __name__ == "__main__":
    main()
