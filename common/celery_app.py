"""The one Celery application factory, with this project's reliability settings.

Why each is set was measured; docs/architecture.md ("Queues") has the figures. In short: a task may be lost,
late or doubled without harm, nothing waits for ever, and a restart of Redis does not end a worker.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from celery import Celery
from celery.app.amqp import AMQP
from kombu.entity import Exchange, Queue

from common.broker import TRANSPORT, PlainConsumer
from common.logs import get_logger
from common.names import transport_options
from common.redis_client import socket_options

logger = get_logger(__name__)

COLLECT_TIMEOUT_S = 1.0
PRODUCER_S = 5.0

# Direct to the queue of that name: no binding table that a wiped Redis could lose or a box could forge.
_DIRECT = Exchange("", type="direct")


def queue(name: str) -> Queue:
    """A queue that is reached through the default exchange."""
    return Queue(name, exchange=_DIRECT, routing_key=name)


class DirectAMQP(AMQP):  # type: ignore[misc]
    """Celery's routing, but queues stay on the default exchange.

    Celery would put them on an exchange that is named after the first queue, with a binding table in Redis
    under a key that the Redis user of a box may not touch.
    """

    @cached_property
    def default_exchange(self) -> Exchange:
        """The exchange of queues that name none."""
        return _DIRECT


class SteadyConsumer(PlainConsumer):
    """Celery's consumer, but it survives a restart of Redis.

    celery 5.7.0 sets the broken connection aside and closes it here; a BRPOP in flight then finds none and the
    worker ends with an AttributeError. Collecting its sockets is enough: the restart of the blueprint, which
    follows, puts a new connection in its place.
    """

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Say what happened and let go of the sockets; see Consumer for the original."""
        logger.warning("connection to Redis lost, trying again", error=repr(exc))
        with contextlib.suppress(Exception):  # they are broken already
            self.connection.collect(socket_timeout=COLLECT_TIMEOUT_S)


def make_celery(
    name: str,
    redis_url: str,
    *,
    owner: str,
    queues: Iterable[str] = (),
    ca_file: str | None = None,
    timeout_s: float = 5.0,
    events: bool = False,
) -> Celery:
    """A Celery application.

    `owner` names kombu's bookkeeping keys (a box id, or `master`); `queues` are those a worker of this
    application consumes; `ca_file` verifies a `rediss://` broker; `events` turns task events on for Flower.
    """
    app = Celery(name, broker=redis_url, amqp=DirectAMQP, set_as_current=False)
    app.conf.update(
        broker_transport=TRANSPORT,
        broker_transport_options={
            **transport_options(owner),
            **socket_options(timeout_s),
            "visibility_timeout": 30,
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
            "fanout_prefix": True,
            "fanout_patterns": True,
        },
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=2,
        broker_pool_limit=10,
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_create_missing_queues=False,
        task_queues=[queue(item) for item in queues] or [queue("nothing")],
        task_default_queue=next(iter(queues), "nothing"),
        task_serializer="json",
        accept_content=["json"],
        task_publish_retry=True,
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0.05, "interval_max": 0.2},
        worker_prefetch_multiplier=1,
        worker_soft_shutdown_timeout=3,
        worker_enable_remote_control=False,
        worker_send_task_events=events,
        task_send_sent_event=events,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_consumer="common.celery_app:SteadyConsumer",
        worker_cancel_long_running_tasks_on_connection_loss=False,
        event_queue_ttl=60,
        result_backend=None,
    )
    if redis_url.startswith("rediss://"):
        import ssl

        app.conf.broker_use_ssl = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": ca_file}
    return app


def send(app: Celery, task: str, queue_name: str, *args: Any) -> None:
    """Publish a task by name; raises kombu's OperationalError when Redis does not take it in time."""
    # Declaring the queue would ask Redis for its length: one round trip more, and a box may not read report.<box>.
    app.send_task(task, args=args, queue=queue(queue_name), declare=[])


def send_all(app: Celery, messages: Iterable[tuple[str, str, tuple[Any, ...]]]) -> None:
    """Publish many tasks in one round trip, each a task, its queue and its arguments; raises what `send` does."""
    with app.producer_pool.acquire(block=True, timeout=PRODUCER_S) as producer, producer.channel.together():
        for task, queue_name, args in messages:
            app.send_task(task, args=args, queue=queue(queue_name), declare=[], producer=producer)


def run_worker(app: Celery, *, concurrency: int, events: bool = False, hostname: str | None = None) -> None:
    """Work in this thread until SIGTERM, in a pool of threads; without gossip, mingle and remote control.

    Celery's own command line would load every plug-in that is installed (Flower among them): 15 MB and half
    a second in each process.
    """
    worker = app.Worker(
        hostname=hostname,
        pool_cls="threads",
        concurrency=concurrency,
        loglevel="INFO",
        task_events=events,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=not events,
    )
    worker.start()
    if worker.exitcode:
        raise SystemExit(worker.exitcode)
