"""Prometheus metrics of the web, and of what can be counted from here: queues and instances."""

from __future__ import annotations

import time

import redis
from flask import Blueprint, Flask, Response, g, request
from prometheus_client import CONTENT_TYPE_LATEST, Histogram, generate_latest
from sqlalchemy import func, select

from common.addresses import is_loopback
from common.errors import Forbidden
from common.metrics import INSTANCES, QUEUE_DEPTH
from common.names import BOXES, LIFECYCLE_QUEUE, SCHEDULER_QUEUE, report_queue, role_queue
from common.words import InstanceState, Role
from master.accounts.guard import may, public, visitor
from master.accounts.models import UserRole
from master.context import MasterContext
from master.deployments.models import Instance
from master.web.current import context

views = Blueprint("metrics", __name__)

REQUEST_SECONDS = Histogram(
    "openraas_request_seconds",
    "How long a request took, by the function that answered.",
    ["endpoint", "method", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)


def register(app: Flask) -> None:
    """Time every request of this application, and serve `/metrics`."""

    def begin() -> None:
        g.began = time.perf_counter()

    def end(response: Response) -> Response:
        took = time.perf_counter() - g.get("began", time.perf_counter())
        labels = (request.endpoint or "none", request.method, str(response.status_code))
        REQUEST_SECONDS.labels(*labels).observe(took)
        return response

    app.before_request(begin)
    app.after_request(end)
    app.register_blueprint(views)


@views.get("/metrics")
@public
def metrics() -> Response:
    """For a scraper on this machine, or one with an operator's token."""
    if not _is_local():
        user = visitor()
        if user is None or not may(user, UserRole.OPERATOR):
            raise Forbidden(
                "Metrics are for this machine, or for operators.",
                remedy="Scrape over loopback, or send an operator's API token as Bearer.",
            )
    count_queues(context())
    count_instances(context())
    return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)


def _is_local() -> bool:
    # A reverse proxy on this machine makes everybody look local; a rebound name shows in Host.
    host = request.host.rsplit(":", 1)[0].strip("[]")
    return (
        is_loopback(request.remote_addr or "none")
        and is_loopback(host)
        and "X-Forwarded-For" not in request.headers
    )


def count_queues(master: MasterContext) -> None:
    """Set the gauge of every queue's depth; left as it was if Redis does not answer."""
    try:
        boxes = sorted(str(box) for box in master.redis.smembers(BOXES))
        queues = [SCHEDULER_QUEUE, LIFECYCLE_QUEUE]
        queues += [name for box in boxes for name in (report_queue(box), *(role_queue(r, box) for r in Role))]
        with master.redis.pipeline(transaction=False) as pipe:
            for name in queues:
                pipe.llen(name)
            depths = pipe.execute()
    except redis.RedisError:
        QUEUE_DEPTH.clear()  # a stale figure would look like a fact
        return
    for name, depth in zip(queues, depths, strict=True):
        QUEUE_DEPTH.labels(name).set(depth)


def count_instances(master: MasterContext) -> None:
    """Set the gauge of instances in each state."""
    with master.database.read() as session:
        rows = session.execute(select(Instance.state, func.count()).group_by(Instance.state)).all()
    counts = {row.state: row[1] for row in rows}
    for state in InstanceState:
        INSTANCES.labels(state.value).set(counts.get(state.value, 0))
