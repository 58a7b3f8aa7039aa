"""`openraas box worker` as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from common.join import JoinAnswer
from common.names import status_key
from common.signing import SealKey, Signer
from common.words import Endpoint
from tests.support.redis import RedisServer, wait_until
from workers.box.config import BoxConfig, Identity
from workers.box.join import write_configuration

BOX = "b1"


def make_box(folder: Path, redis_url: str, *roles: str) -> Path:
    """The state directory of a box that has joined."""
    config = BoxConfig.build(
        {"box": BOX, "state_dir": folder, "roles": list(roles), "redis_timeout_s": 1}, source="test"
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_configuration(config)
    answer = JoinAnswer(
        box=BOX,
        certificate="",
        authority="",
        master_key=Signer.load_or_create(folder / "master.key").public_key,
        master=Endpoint(host="127.0.0.1", port=1),
        redis_url=redis_url,
        applications_domain="localhost",
    )
    Identity(answer=answer, seal_key=SealKey.generate()).save(folder)
    return folder


@contextmanager
def worker(folder: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "common", "box", "worker", "--state-dir", str(folder)],
            stdout=log, stderr=log, env={**os.environ, **variables},
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)


@pytest.fixture
def client(redis_server: RedisServer) -> redis.Redis:
    return redis.Redis.from_url(redis_server.url, socket_timeout=5)


def test_a_worker_waits_for_a_redis_that_is_away_at_its_start(
    tmp_path: Path, redis_server: RedisServer, client: redis.Redis
) -> None:
    folder = make_box(tmp_path / "box", redis_server.url, "depository")
    redis_server.process.send_signal(signal.SIGSTOP)
    try:
        with worker(folder) as process:
            text = folder / "worker.log"
            wait_until(lambda: "status not sent" in text.read_text(), limit_s=30, what="a failed heartbeat")
            assert process.poll() is None
            redis_server.process.send_signal(signal.SIGCONT)
            wait_until(lambda: client.exists(status_key(BOX)), limit_s=30, what="the status")
    finally:
        redis_server.process.send_signal(signal.SIGCONT)


def test_a_worker_that_is_asked_to_end_ends_well(
    tmp_path: Path, redis_server: RedisServer, client: redis.Redis
) -> None:
    folder = make_box(tmp_path / "box", redis_server.url, "depository")
    with worker(folder) as process:
        log = folder / "worker.log"
        wait_until(lambda: "ready" in log.read_text(), limit_s=30, what="the worker")
        process.terminate()
        assert process.wait(20) == 0
        assert "Traceback" not in log.read_text()


def test_a_role_that_cannot_work_here_says_why_and_ends(tmp_path: Path, redis_server: RedisServer) -> None:
    folder = make_box(tmp_path / "box", redis_server.url, "compute")
    with worker(folder, DOCKER_HOST="unix:///no/such/docker.sock") as process:
        assert process.wait(60) == 1
        said = (folder / "worker.log").read_text()
        assert "/no/such/docker.sock" in said
        assert "Traceback" not in said
