"""A private redis-server for tests: a free port on loopback, a password, nothing kept."""

from __future__ import annotations

import random
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

START_LIMIT_S = 10.0


@dataclass(frozen=True)
class RedisServer:
    """Where it answers, its process, and the password of its default user."""

    url: str
    port: int
    password: str
    process: subprocess.Popen[bytes]


def free_port() -> int:
    """A TCP port that nobody uses now.

    Not one of those from which connections are made (32768 and up): such a port may be taken a moment later.
    """
    for port in random.sample(range(12000, 32000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    pytest.fail("a hundred ports were tried, and each is in use")


def wait_until(condition: object, limit_s: float = START_LIMIT_S, what: str = "the condition") -> None:
    """Wait until `condition()` is true; fails the test after `limit_s`."""
    assert callable(condition)
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"{what} did not come true within {limit_s:g} s")
        time.sleep(0.02)


@contextmanager
def redis_process(
    directory: Path, port: int, password: str, *arguments: str
) -> Iterator[subprocess.Popen[bytes]]:
    """redis-server on a given port, answering; ended in any case."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("redis-server is not installed")
    directory.mkdir(parents=True, exist_ok=True)
    # Ends with the test run, however that ends.
    command = ["setpriv", "--pdeathsig", "KILL", binary]
    command += ["--port", str(port), "--bind", "127.0.0.1", "--requirepass", password]
    command += ["--save", "", "--dir", str(directory), "--daemonize", "no", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    client = redis.Redis.from_url(f"redis://:{password}@127.0.0.1:{port}/0")

    def answers() -> bool:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False

    try:
        wait_until(answers, what="redis-server's answer")
        yield process
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def run_redis(directory: Path, *arguments: str) -> Iterator[RedisServer]:
    """A server with a random password on a free port, keeping its files under `directory`."""
    port, password = free_port(), secrets.token_hex(16)
    with redis_process(directory, port, password, *arguments) as process:
        yield RedisServer(f"redis://:{password}@127.0.0.1:{port}/0", port, password, process)
