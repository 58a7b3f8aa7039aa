"""`/readyz` of a box that runs as it does for its owner: supervisord, worker, front, nginx, sshd, engine."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from common.words import Role
from tests.support.box import make_box
from tests.support.engine import run_engine
from tests.support.files import need_files
from tests.support.redis import RedisServer, free_port, wait_until
from workers.box.config import BoxConfig
from workers.box.join import write_configuration
from workers.box.leftovers import clean

pytestmark = pytest.mark.engine
LIMIT_S = 30.0
PARTS = {"worker", "redis", "store", "engine", "sshd"}


@dataclass
class RunningBox:
    """A box that runs, and the processes it is made of."""

    config: BoxConfig
    supervisor: psutil.Process
    engine: psutil.Process
    redis: psutil.Process

    def ask(self) -> tuple[int, dict[str, str]]:
        """The answer of `/readyz` through nginx; status 0 where nothing listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.config.front_port, timeout=30)
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except OSError:
            return 0, {}
        finally:
            connection.close()

    def wrong(self) -> set[str]:
        """The parts that are not well."""
        return {part for part, said in self.ask()[1].items() if said != "ok"}

    def wait(self, *parts: str) -> None:
        """Until these parts are not well and all others are."""
        wait_until(lambda: self.ask()[0] and self.wrong() == set(parts), LIMIT_S, f"{parts or 'readiness'}")
        assert self.ask()[0] == (503 if parts else 200)

    def program(self, *words: str) -> psutil.Process:
        """One of its processes, by words of its command line."""
        for process in self.supervisor.children(recursive=True):
            if all(word in " ".join(process.cmdline()) for word in words):
                return process
        raise AssertionError(f"no process has {words}")


@contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@pytest.fixture
def box(tmp_path: Path, redis_server: RedisServer) -> Iterator[RunningBox]:
    need_files()
    with run_engine() as server:
        config = BoxConfig(
            box="ready", state_dir=tmp_path, roles=frozenset(Role), engine_url=server.url, front_port=free_port(),
            filestore_port=free_port(), loopback_port=free_port(), network_range="10.213.244.0/24",
            status_every_s=0.2, status_ttl_s=2.0, redis_timeout_s=1.0, lent_bytes=2**30,
        )  # fmt: skip
        make_box(config, redis_server)
        write_configuration(config)
        command = [sys.executable, "-m", "common", "box", "run", "--state-dir", str(tmp_path)]
        with (tmp_path / "run.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        engines = [item for item in psutil.process_iter() if str(server.socket) in " ".join(_words(item))]
        try:
            yield RunningBox(
                config, psutil.Process(process.pid), engines[0], psutil.Process(redis_server.process.pid)
            )
        finally:
            process.terminate()
            process.wait(60)
            clean(config)


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_box_says_which_of_its_parts_do_not_work(box: RunningBox) -> None:
    wait_until(lambda: box.ask()[0] == 200, 60, "a box that is ready")
    assert box.ask()[1] == dict.fromkeys(PARTS, "ok")
    with stopped(box.redis):
        box.wait("redis")
    box.wait()
    with stopped(box.engine):
        box.wait("engine")
    box.wait()
    with stopped(box.program("sshd")):
        box.wait("sshd")
    with stopped(box.program("box", "worker")):
        box.wait("worker")
        assert "silent" in box.ask()[1]["worker"]
    box.wait()
    with stopped(box.program("box", "front")):
        box.wait("front")
    box.wait()


def test_a_box_whose_store_cannot_be_written_says_so(box: RunningBox) -> None:
    wait_until(lambda: box.ask()[0] == 200, 60, "a box that is ready")
    ingest = box.config.state_dir / "store/ingest"
    subprocess.run(["mount", "--bind", ingest, ingest], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", ingest], check=True)
        box.wait("store")
        assert "Read-only file system" in box.ask()[1]["store"]
    finally:
        subprocess.run(["umount", "-l", ingest], check=True)
    box.wait()
