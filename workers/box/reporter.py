"""Sends reports to the master. A report that gets lost is no harm: facts are reported again when asked."""

from __future__ import annotations

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from common.celery_app import send
from common.logs import get_logger
from common.names import REPORT, report_queue
from common.reports import Report

log = get_logger(__name__)


class Reporter:
    """Publishes to `report.<box>`."""

    def __init__(self, app: Celery, box: str) -> None:
        self._app = app
        self._box = box

    def send(self, report: Report) -> bool:
        """Send one report; a master that is away is logged, not raised. Returns whether Redis took it."""
        try:
            send(self._app, REPORT, report_queue(self._box), self._box, report.model_dump_json())
        except (OperationalError, RedisError, OSError) as error:
            log.warning("report not sent", kind=report.kind, subject=report.subject, error=str(error))
            return False
        return True
