"""`/readyz` of a box that runs as it does for its owner: supervisord, worker, front, nginx, sshd, engine."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from common.signing import Signer, Verifier
from common.words import Role
from tests.support.box import SEED, make_box
from tests.support.engine import run_engine
from tests.support.files import need_files
from tests.support.redis import RedisServer, free_port, wait_until
from workers.box import readiness
from workers.box.config import BoxConfig, BoxPaths
from workers.box.front import make_server
from workers.box.join import write_configuration
from workers.box.leftovers import clean
from workers.box.pulse import Pulse
from workers.box.readiness import Readiness
from workers.box.table import Table

pytestmark = pytest.mark.engine
START_S, LIMIT_S = 120.0, 60.0
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


@contextmanager
def read_only(directory: Path) -> Iterator[None]:
    subprocess.run(["mount", "--bind", directory, directory], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", directory], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", directory], check=True)


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


@pytest.mark.long
def test_a_box_says_which_of_its_parts_do_not_work(box: RunningBox) -> None:
    wait_until(lambda: box.ask()[0] == 200, START_S, "a box that is ready")
    assert box.ask()[1] == dict.fromkeys(PARTS, "ok")
    with stopped(box.redis):
        box.wait("redis")
    with stopped(box.engine):
        box.wait("engine")
    with stopped(box.program("sshd")):
        box.wait("sshd")
    with read_only(box.config.state_dir / "store/ingest"):
        box.wait("store")
    with stopped(box.program("box", "worker")):
        box.wait("worker")
    with stopped(box.program("box", "front")):
        box.wait("front")
    box.wait()


class Asked:
    """The route alone, without the programs of a box."""

    def __init__(self, config: BoxConfig) -> None:
        self.table = Table(config.state_dir / "box.db")
        route = Readiness(config, BoxPaths(config.state_dir), self.table, Verifier(Signer(SEED).public_key))
        self.server = make_server(("127.0.0.1", 0), [route])
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def __call__(self) -> tuple[int, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_address[1], timeout=30)
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        found = answer.status, json.loads(answer.read())
        connection.close()
        return found

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def test_each_part_is_asked_and_what_is_wrong_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_files()
    monkeypatch.setattr(readiness, "KEEP_S", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = BoxConfig(
            box="b", state_dir=tmp_path, filestore_port=silent.getsockname()[1], engine_url="unix:///nowhere"
        )
        monkeypatch.setattr(readiness, "ANSWER_S", 0.05)
        ask = Asked(config)
        try:
            status, said = ask()
            assert (status, said["store"], set(said)) == (503, "ok", PARTS)
            assert "not begun" in said["worker"]
            assert "engine does not answer" in said["engine"]
            assert "filestore does not answer" in said["sshd"]
            pulse = Pulse(ask.table)
            pulse.beat()
            assert (ask()[1]["worker"], ask()[1]["redis"]) == ("ok", "ok")
            pulse.beat("Redis does not answer (TimeoutError).")
            assert (ask()[1]["worker"], ask()[1]["redis"]) == ("ok", "Redis does not answer (TimeoutError).")
            ask.table.write("UPDATE pulse SET at = at - 100")
            assert "has been silent for" in ask()[1]["worker"]
            with read_only(tmp_path / "store/ingest"):
                assert "Read-only file system" in ask()[1]["store"]
        finally:
            ask.stop()


def test_a_box_that_only_keeps_layers_is_ready_without_engine_and_filestore(tmp_path: Path) -> None:
    ask = Asked(BoxConfig(box="b", state_dir=tmp_path, roles=frozenset({Role.DEPOSITORY})))
    try:
        Pulse(ask.table).beat()
        assert ask() == (200, {"worker": "ok", "redis": "ok", "store": "ok"})
    finally:
        ask.stop()
