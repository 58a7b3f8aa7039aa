"""kombu's Redis transport and Celery's consumer for queues that strangers write to.

A box writes to `report.<box>`, and the owner of a box may have written anything there. kombu believes what a
message says of itself (by which queue it came, where it goes back to) and ends its connection over one that is
no message; Celery carries out what is attached to a task: callbacks, chains, groups. With the master's rights that
would be a report in another box's name, so here a message is what `common.celery_app.send` makes, or is dropped.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from celery.worker.consumer import Consumer
from kombu.transport import redis

from common.logs import get_logger

logger = get_logger(__name__)

TRANSPORT = "common.broker:Transport"
# Celery's own tasks: groups, maps and chords of other tasks.
_BUILT_IN = "celery."
_ATTACHED = ("callbacks", "errbacks", "chain", "chord")
# A task put off lies in the worker's memory, beyond its prefetch limit.
_LATER = ("eta", "group", "chord")


class Channel(redis.Channel):  # type: ignore[misc]
    """A channel that drops what is no message."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)
        except ValueError as error:  # neither JSON nor UTF-8, or a body that is not base64
            logger.warning("message dropped", error=str(error)[:200])
            return True

    def _create_client(self, asynchronous: bool = False) -> Any:
        """kombu makes a client anew for every message; that is a third of what publishing costs."""
        if asynchronous:
            return super()._create_client(asynchronous)
        client = getattr(self, "_client_kept", None)
        if client is None or client.connection_pool is not self.pool:
            client = self._client_kept = super()._create_client()
        return client

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is published in this block leaves at its end, all in one round trip. Raises redis.RedisError."""
        client = self._create_client()
        with client.pipeline(transaction=False) as pipe:
            self._client_kept = pipe
            try:
                yield
            finally:
                self._client_kept = client
            pipe.execute()


class Transport(redis.Transport):  # type: ignore[misc]
    """Redis, but the queue that a message came by is the one that it was taken from."""

    Channel = Channel

    def _deliver(self, message: Any, queue: str) -> None:
        if not _is_message(message):
            logger.warning("message dropped", queue=queue, error="it has not the form of one")
            return
        # Both decide what becomes of it: the first where it goes back to, the second what it is kept under.
        message["properties"]["delivery_info"] = {"exchange": "", "routing_key": queue}
        message["properties"]["delivery_tag"] = str(uuid.uuid4())
        super()._deliver(message, queue)


def _is_message(message: Any) -> bool:
    return (
        isinstance(message, dict)
        and isinstance(message.get("properties"), dict)
        and isinstance(message.get("headers"), dict)
        and isinstance(message.get("body"), str)
    )


class PlainConsumer(Consumer):  # type: ignore[misc]
    """Celery's consumer, but it only takes tasks of this application to which nothing is attached."""

    def create_task_handler(self, *arguments: Any, **options: Any) -> Callable[[Any], None]:
        """Look at each message before Celery does."""
        take = super().create_task_handler(*arguments, **options)

        def look_and_take(message: Any) -> None:
            problem = _problem(message)
            if problem is None:
                take(message)
                return
            logger.warning("task refused", queue=message.delivery_info.get("routing_key"), error=problem)
            message.reject_log_error(logger, self.connection_errors)

        return look_and_take


def _problem(message: Any) -> str | None:
    """Why a message is none that this project sends; none if it is one."""
    name = message.headers.get("task")
    if not isinstance(name, str) or name.startswith(_BUILT_IN):
        return "it is no task of this application"
    if any(message.headers.get(key) for key in _LATER):
        return "it is to run later, or in a group"
    try:
        _, _, attached = message.payload
        return "something else is to follow it" if any(attached.get(key) for key in _ATTACHED) else None
    except Exception as error:  # noqa: BLE001 - whatever a decoder says to bytes of a stranger
        return f"it cannot be read ({type(error).__name__})"
