"""Celery on Redis, with this project's settings, when things go wrong."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from celery import Celery

from common.celery_app import make_celery, send
from tests.support.redis import RedisServer, free_port, redis_process, wait_until

QUEUE = "counting.box-1"


@contextmanager
def counting_worker(url: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process on the counting queue."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.counting_worker", url, QUEUE], stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def counted(url: str) -> set[int]:
    """The numbers that arrived; empty while Redis is away."""
    try:
        return {int(number) for number in redis.Redis.from_url(url).lrange("counted", 0, -1)}
    except redis.RedisError:
        return set()


def send_until_counted(app: Celery, url: str, number: int) -> None:
    """Send a task again and again, as the reconciler does: what Redis handed to a dead socket is lost."""
    for _ in range(8):
        send(app, "count", QUEUE, number)
        end = time.monotonic() + 5
        while time.monotonic() < end:
            if number in counted(url):
                return
            time.sleep(0.05)
    pytest.fail(f"task {number} was never worked on")


def test_no_key_is_shared_between_boxes(redis_server: RedisServer, tmp_path: Path) -> None:
    app = make_celery("sender", redis_server.url, owner="master")
    with counting_worker(redis_server.url, tmp_path / "log"):
        send(app, "count", QUEUE, 1)
        wait_until(lambda: counted(redis_server.url) == {1}, 20, "the task")
        client = redis.Redis.from_url(redis_server.url, decode_responses=True)
        send(app, "count", "counting.box-2", 2)
        keys = {str(key) for key in client.keys("*")} - {"counted"}
    assert all(key.endswith(("box-1", "box-2", ".test")) for key in keys), keys


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_a_worker_survives_restarts_of_redis_with_a_task_in_flight(tmp_path: Path, how: str) -> None:
    port, password = free_port(), "restart"
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    arguments = ("--appendonly", "yes", "--appendfsync", "always")
    app = make_celery("sender", url, owner="master", timeout_s=2)
    with counting_worker(url, tmp_path / "log") as worker:
        for number in range(3):
            with redis_process(tmp_path / "redis", port, password, *arguments) as server:
                send_until_counted(app, url, number)
                send(app, "count", QUEUE, 100 + number, 0.5)  # under way when Redis goes
                getattr(server, how)()
                server.wait(10)
            assert worker.poll() is None, (tmp_path / "log").read_text()[-2000:]
        with redis_process(tmp_path / "redis", port, password, *arguments):
            send_until_counted(app, url, 99)
        assert worker.poll() is None


def test_a_publish_while_redis_is_away_fails_within_seconds_instead_of_hanging() -> None:
    from kombu.exceptions import OperationalError

    app = make_celery("sender", f"redis://127.0.0.1:{free_port()}/0", owner="master", timeout_s=1)
    with pytest.raises(OperationalError):
        send(app, "count", QUEUE, 1)
