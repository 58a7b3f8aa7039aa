"""Messages that follow from a transaction: SQL first, queue second."""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from sqlalchemy.orm import Session

from common.celery_app import send
from common.logs import get_logger
from master.db.session import after_commit

log = get_logger(__name__)


def send_later(session: Session, app: Celery, task: str, queue: str, *args: Any) -> None:
    """Send a task once this session is committed; one that Redis does not take is left to the reconciler."""

    def publish() -> None:
        try:
            send(app, task, queue, *args)
        except (OperationalError, RedisError, OSError) as error:
            log.warning("task not sent", task=task, arguments=args, error=str(error))

    after_commit(session, publish)
