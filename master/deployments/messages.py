"""Messages that follow from a transaction: SQL first, queue second."""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy.orm import Session

from common.celery_app import send
from common.logs import get_logger
from common.names import PLACE, SCHEDULER_QUEUE
from master.db.session import after_commit

log = get_logger(__name__)

# Several schedulers, each of which takes a few at once, all find one.
ENOUGH_WAKES = 32


def send_later(session: Session, app: Celery, task: str, queue: str, *args: Any) -> None:
    """Send a task once this session is committed; one that Redis does not take is left to the reconciler."""

    def publish() -> None:
        try:
            send(app, task, queue, *args)
        except (OperationalError, RedisError, OSError) as error:
            log.warning("task not sent", task=task, arguments=args, error=str(error))

    after_commit(session, publish)


def wake_scheduler(session: Session, app: Celery, client: Redis, instance: str, generation: int) -> None:
    """Let the schedulers see, once this session is committed, that an instance is to be placed.

    A message that is still unread will make a scheduler look at all that waits, so where enough of them lie one more
    says nothing new.
    """

    def publish() -> None:
        try:
            if int(client.llen(SCHEDULER_QUEUE)) < ENOUGH_WAKES:
                send(app, PLACE, SCHEDULER_QUEUE, instance, generation)
        except (OperationalError, RedisError, OSError) as error:
            log.warning("scheduler not woken", instance=instance, error=str(error))

    after_commit(session, publish)
