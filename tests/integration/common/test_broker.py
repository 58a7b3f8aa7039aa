"""What a hostile box writes to its report queue reaches nobody else and stops nobody."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from common.celery_app import make_celery, send
from tests.support.redis import RedisServer, wait_until

HOSTILE, OTHER = "report.box-evil", "report.box-1"

# Like the lifecycle: consumes the queues of two boxes and says by which one a task came.
WORKER = """
import sys
import redis
from common.celery_app import make_celery, run_worker
url, *queues = sys.argv[1:]
app = make_celery("test", url, owner="test", queues=queues)
seen = redis.Redis.from_url(url)
@app.task(name="report", bind=True)
def report(task, text):
    seen.rpush("seen", task.request.delivery_info["routing_key"] + " " + text)
run_worker(app, concurrency=1)
"""


@pytest.fixture
def worker(redis_server: RedisServer, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (tmp_path / "log").open("wb") as log:
        command = [sys.executable, "-c", WORKER, redis_server.url, HOSTILE, OTHER]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def client(redis_server: RedisServer) -> redis.Redis:
    return redis.Redis.from_url(redis_server.url, decode_responses=True)


def message(task: str = "report", *args: object, says: str = HOSTILE, **more: Any) -> str:
    """A task as Celery writes it; `headers` and `attached` are what a hostile box adds."""
    attached = {"callbacks": None, "errbacks": None, "chain": None, "chord": None, **more.get("attached", {})}
    body = base64.b64encode(json.dumps([args, {}, attached]).encode()).decode()
    identity = str(uuid.uuid4())
    properties = {
        "correlation_id": identity, "reply_to": "", "delivery_mode": 2, "priority": 0, "body_encoding": "base64",
        "delivery_info": {"exchange": "", "routing_key": says}, "delivery_tag": more.get("tag", identity),
    }  # fmt: skip
    headers = {"lang": "py", "task": task, "id": identity, "root_id": identity, **more.get("headers", {})}
    return json.dumps({
        "body": body, "content-encoding": "utf-8", "content-type": "application/json", "headers": headers,
        "properties": properties,
    })  # fmt: skip


def seen_after(server: RedisServer, client: redis.Redis, *pushed: str | bytes) -> list[str]:
    """What the worker took in of `pushed`, once an honest report that came behind them has arrived."""
    for item in pushed:
        client.lpush(HOSTILE, item)
    app = make_celery("honest", server.url, owner="honest")
    send(app, "report", HOSTILE, "honest")
    send(app, "report", OTHER, "honest")
    honest = {f"{HOSTILE} honest", f"{OTHER} honest"}
    wait_until(lambda: honest <= set(client.lrange("seen", 0, -1)), 30, "the honest reports")
    return [line for line in client.lrange("seen", 0, -1) if line not in honest]


@pytest.mark.usefixtures("worker")
def test_a_message_cannot_say_that_it_came_by_another_boxs_queue(
    redis_server: RedisServer, client: redis.Redis
) -> None:
    seen = seen_after(redis_server, client, message("report", "forged", says=OTHER))
    assert seen == [f"{HOSTILE} forged"]


FORGED = {
    "task": "report",
    "args": ["forged"],
    "kwargs": {},
    "options": {"queue": OTHER, "exchange": "", "routing_key": OTHER},
    "immutable": True,
    "subtask_type": None,
}


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    "hostile",
    [
        message("report", "x", attached={"callbacks": [FORGED]}),
        message("report", attached={"errbacks": [FORGED]}),
        message("report", "x", attached={"chain": [FORGED]}),
        message("celery.group", [FORGED], ["x", None], "x", []),
        message("celery.starmap", FORGED, [["forged"]]),
        message("report", "late", headers={"eta": "2020-01-01T00:00:00+00:00"}),
    ],
    ids=["callback", "errback", "chain", "group", "map", "eta"],
)
def test_nothing_is_attached_to_a_message_that_is_carried_out(
    redis_server: RedisServer, client: redis.Redis, hostile: str
) -> None:
    assert seen_after(redis_server, client, hostile) == []


@pytest.mark.parametrize(
    "garbage",
    [b"{", b"\xff\xfe", b"[]", b"{}", b"null", b'{"properties":{},"headers":{},"body":"%%"}',
     message("report", tag={"a": 1}), message("report", headers={"task": ["report"]})],
)  # fmt: skip
def test_garbage_in_a_report_queue_is_dropped_without_a_word_to_the_others(
    redis_server: RedisServer,
    client: redis.Redis,
    worker: subprocess.Popen[bytes],
    tmp_path: Path,
    garbage: bytes | str,
) -> None:
    seen_after(redis_server, client, garbage)
    assert worker.poll() is None
    assert "connection to Redis lost" not in (tmp_path / "log").read_text()
    wait_until(lambda: client.hlen("unacked.test") == 0, 10, "that nothing is kept")
