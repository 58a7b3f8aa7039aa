"""A secret option reaches its container, and leaves no mark anywhere else: the whole platform on real parts."""

from __future__ import annotations

import base64
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import psutil
import pytest
import redis

from common.settings import Settings
from master.context import MasterContext, make_context
from tests.support.platform import RunningPlatform
from tests.support.redis import wait_until

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

MARK = "marked-7c1d0f-by-a-test"
LIMIT_S = 60.0
PIECE_BYTES = 4 * 2**20


@pytest.fixture(scope="module", autouse=True)
def _vault(platform: RunningPlatform) -> None:
    main = {
        "image": "site:1",
        "port": 8080,
        "command": ["busybox", "httpd", "-f", "-p", "8080", "-h", "/tmp"],
        "environment": {"PASSWORD": "${password}"},
        "resources": {"cpu": 0.1, "memory": "32MiB", "disk": 0},
    }
    options = [{"name": "password", "title": "Password", "type": "secret"}]
    manifest = {
        "openraas": 1,
        "name": "vault",
        "title": "Vault",
        "services": {"main": main},
        "options": options,
    }
    platform.call("POST", "/applications", {"manifest": manifest})


@pytest.fixture
def master(platform: RunningPlatform) -> MasterContext:
    """The master's own view of SQL and Redis."""
    return make_context(Settings(state_dir=platform.state_dir))


def forms(text: str) -> list[bytes]:
    """The text as it may stand in memory or a file: plain, or within something that was written in base64."""
    found = [text.encode()]
    for before in range(3):
        # Characters that hold bits of what stands around it are left out.
        whole = base64.b64encode(bytes(before) + text.encode()).rstrip(b"=")
        found.append(whole[(0, 2, 3)[before] : -1])
    return found


def flower(platform: RunningPlatform) -> psutil.Process:
    """The process, which is started last and may be a moment away."""
    found: list[psutil.Process] = []

    def look() -> bool:
        for process in psutil.process_iter(["cmdline"]):
            is_flower = "master.up.flower_main" in (process.info["cmdline"] or [])
            if is_flower and process.environ().get("OPENRAAS_STATE_DIR") == str(platform.state_dir):
                found.append(process)
        return bool(found)

    wait_until(look, LIMIT_S, "Flower")
    return found[0]


def memory(process: psutil.Process) -> Iterator[bytes]:
    """All that the process has in memory and may read, in pieces that overlap."""
    own = Path(f"/proc/{process.pid}")
    with (own / "maps").open() as maps, (own / "mem").open("rb", 0) as mem:
        for line in maps:
            first, last = (int(number, 16) for number in line.split(maxsplit=1)[0].split("-"))
            if " r" not in line[:40] or line.rstrip().endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            for start in range(first, last, PIECE_BYTES):
                try:
                    mem.seek(start)
                    yield mem.read(min(PIECE_BYTES + 256, last - start))
                except OSError:  # it gave this memory back meanwhile
                    break


def remembers(process: psutil.Process, *wanted: bytes) -> bool:
    pattern = re.compile(b"|".join(re.escape(item) for item in wanted))
    return any(pattern.search(piece) for piece in memory(process))


def test_a_secret_option_leaves_no_mark_in_flower_redis_sql_or_logs(
    platform: RunningPlatform, master: MasterContext
) -> None:
    watcher = flower(platform)
    wait_until(lambda: remembers(watcher, b"task-succeeded"), LIMIT_S, "Flower's first events")
    deployment = platform.start("vault", password=MARK)
    instance = platform.wait(deployment, "running")["id"]
    containers = docker.DockerClient(base_url=platform.engine_url).containers
    inside = containers.list(filters={"label": f"openraas.instance={instance}"})[0]
    assert inside.exec_run(["/bin/sh", "-c", "echo $PASSWORD"]).output.decode().strip() == MARK
    platform.stop(deployment)

    # What Flower was told of this very instance is found, so what is not found is not there.
    wait_until(lambda: remembers(watcher, instance.encode()), LIMIT_S, "Flower's events of the instance")
    assert not remembers(watcher, *forms(MARK))

    with sqlite3.connect(platform.state_dir / "openraas.db") as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    text = " ".join(repr(value_of(master.redis, str(key))) for key in master.redis.keys("*"))
    assert not any(form.decode() in text for form in forms(MARK))
    # Files: the database, Redis' log of changes, Flower's, the box's and everybody's logs.
    found = subprocess.run(
        ["grep", "-rlF", "--binary-files=text", "-e", "\n".join(form.decode() for form in forms(MARK)),
         str(platform.state_dir)],
        capture_output=True, text=True, check=False,
    ).stdout.splitlines()  # fmt: skip
    assert found == []


def value_of(client: redis.Redis, key: str) -> object:
    """What lies under a key, whatever its type."""
    readers = {
        "string": client.get,
        "hash": client.hgetall,
        "set": client.smembers,
        "list": lambda name: client.lrange(name, 0, -1),
        "zset": lambda name: client.zrange(name, 0, -1),
        "stream": client.xrange,
    }
    kind = str(client.type(key))
    return readers[kind](key) if kind in readers else None


def test_marks_are_found_in_base64_too() -> None:
    for before in range(4):
        written = base64.b64encode(b"x" * before + MARK.encode() + b"after")
        assert any(form in written for form in forms(MARK))
