"""`openraas up` as an operator runs it; its box keeps layers only, so that no container engine is needed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from common.redis_client import connect
from tests.support.platform import RunningPlatform, running_platform
from tests.support.redis import RedisServer, free_port, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the box beside the master needs root")

LIMIT_S = 120.0
ONLY_LAYERS = 'roles = ["depository"]\n'


def processes_of(state_dir: Path) -> list[psutil.Process]:
    """Every process that has the state directory on its command line or in its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
        except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
            continue
        if process.pid != os.getpid() and any(str(state_dir) in word for word in words):
            found.append(process)
    return found


def up(state_dir: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`openraas up`, which is expected to refuse."""
    environment = {
        **os.environ,
        "OPENRAAS_STATE_DIR": str(state_dir),
        "OPENRAAS_WEB_PORT": str(free_port()),
        "OPENRAAS_REDIS_PORT": str(free_port()),
        **variables,
    }
    return subprocess.run(
        [sys.executable, "-m", "common", "up", *arguments],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    with running_platform(tmp_path_factory.mktemp("up"), box=ONLY_LAYERS, with_engine=False) as running:
        yield running


def test_everything_runs_and_status_says_so(platform: RunningPlatform) -> None:
    told = platform.verb("status", "--json")
    assert '"good": true' in told
    for name in ("web", "scheduler", "lifecycle", "beat", "redis", "box-1", "front", "worker"):
        assert f'"name": "{name}"' in told


def test_what_is_secret_is_read_by_its_owner_only(platform: RunningPlatform) -> None:
    assert platform.state_dir.stat().st_mode & 0o077 == 0
    for path in (platform.state_dir / "secrets").iterdir():
        assert path.stat().st_mode & 0o077 == 0 or path.suffix == ".lock", path
    for path in (
        platform.state_dir / "box" / "identity.json",
        platform.state_dir / "box" / "tls" / "box.key",
    ):
        assert path.stat().st_mode & 0o077 == 0


def test_no_secret_stands_on_any_command_line(platform: RunningPlatform) -> None:
    secrets = [
        (platform.state_dir / "secrets" / name).read_text().strip()
        for name in ("admin.password", "cli.token")
    ]
    url = (platform.state_dir / "secrets" / "redis.url").read_text()
    secrets.append(url.partition("://:")[2].partition("@")[0])
    lines = " ".join(" ".join(process.cmdline()) for process in processes_of(platform.state_dir))
    assert not any(secret in lines for secret in secrets)


def test_redis_lets_nobody_in_without_the_password(platform: RunningPlatform) -> None:
    port = int(platform.environment["OPENRAAS_REDIS_PORT"])
    with pytest.raises(redis.AuthenticationError):
        connect(f"redis://127.0.0.1:{port}/0").get("boxes")


def test_everything_listens_on_loopback_alone(platform: RunningPlatform) -> None:
    for process in processes_of(platform.state_dir):
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                assert connection.laddr.ip in ("127.0.0.1", "::1"), (process, connection)


def test_a_second_platform_in_the_same_directory_is_refused(platform: RunningPlatform) -> None:
    done = up(platform.state_dir)
    assert done.returncode == 1
    assert "runs already" in done.stderr
    platform.verb("status")


def test_a_program_that_dies_is_started_again(platform: RunningPlatform) -> None:
    def scheduler() -> psutil.Process | None:
        named = [p for p in processes_of(platform.state_dir) if p.is_running()]
        return next((p for p in named if "master.scheduler.main" in p.cmdline()), None)

    first = scheduler()
    assert first is not None
    first.kill()
    wait_until(lambda: (now := scheduler()) is not None and now != first, LIMIT_S, "another scheduler")
    wait_until(lambda: '"good": true' in _status(platform), LIMIT_S, "good health")


def test_a_box_that_joined_and_is_silent_counts_as_down(platform: RunningPlatform) -> None:
    client = connect((platform.state_dir / "secrets" / "redis.url").read_text().strip())
    client.sadd("boxes", "box-of-yesterday")
    try:
        told = json.loads(_status(platform))
    finally:
        client.srem("boxes", "box-of-yesterday")
    parts = {part["name"]: part for part in told["parts"]}
    assert (told["good"], parts["box-1"]["good"], parts["box-of-yesterday"]["good"]) == (False, True, False)
    assert "silent" in parts["box-of-yesterday"]["state"]


def _status(platform: RunningPlatform) -> str:
    command = [sys.executable, "-m", "common", "status", "--json"]
    done = subprocess.run(command, env=platform.environment, capture_output=True, text=True, check=False)
    return done.stdout


def test_each_end_leaves_no_process_and_a_second_start_knows_its_box_and_people(tmp_path: Path) -> None:
    passwords = []
    for number in (signal.SIGTERM, signal.SIGINT):
        with running_platform(tmp_path, box=ONLY_LAYERS, with_engine=False) as running:
            assert processes_of(running.state_dir)
            passwords.append((running.state_dir / "secrets" / "admin.password").read_text())
            assert [box["id"] for box in running.call("GET", "/boxes")["boxes"]] == ["box-1"]
            running.process.send_signal(number)
            assert running.process.wait(60) == 0
            assert processes_of(running.state_dir) == []
    assert passwords[0] == passwords[1]


def test_a_redis_of_ones_own_is_used_and_left_alone_and_killing_the_platform_leaves_no_process(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    given = {"redis_url": redis_server.url}
    with running_platform(tmp_path, box=ONLY_LAYERS, with_engine=False, **given) as running:
        assert [box["up"] for box in running.call("GET", "/boxes")["boxes"]] == [True]
        assert '"name": "redis", "good": true' in " ".join(running.verb("status", "--json").split())
        running.process.kill()
        wait_until(lambda: not processes_of(running.state_dir), limit_s=60, what="the end of all programs")
    assert redis_server.process.poll() is None


def test_a_port_in_use_is_named_with_its_setting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = up(tmp_path / "state", OPENRAAS_WEB_PORT=port)
    assert done.returncode == 1
    assert f"Port {port}" in done.stderr
    assert "OPENRAAS_WEB_PORT" in done.stderr
    assert processes_of(tmp_path / "state") == []


def test_a_redis_that_is_absent_is_named_and_nothing_is_started(tmp_path: Path) -> None:
    done = up(tmp_path / "state", OPENRAAS_REDIS_URL=f"redis://:secret@127.0.0.1:{free_port()}/0")
    assert done.returncode == 1
    assert "OPENRAAS_REDIS_URL" in done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr
    assert processes_of(tmp_path / "state") == []


def test_a_redis_elsewhere_without_tls_is_refused(tmp_path: Path) -> None:
    done = up(tmp_path / "state", OPENRAAS_REDIS_URL="redis://:secret@192.0.2.1:6379/0")
    assert done.returncode == 2
    assert "rediss://" in done.stderr
    assert not (tmp_path / "state").exists()


def test_a_container_engine_that_is_absent_is_named(tmp_path: Path) -> None:
    done = up(tmp_path / "state", DOCKER_HOST="unix:///no/such/docker.sock")
    assert done.returncode == 1
    assert "DOCKER_HOST" in done.stderr
    assert processes_of(tmp_path / "state") == []


def test_a_database_that_is_absent_is_named_and_what_was_started_ends(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    done = up(tmp_path / "state", OPENRAAS_DATABASE_URL=f"sqlite:///{tmp_path / 'folder'}")
    assert done.returncode == 1
    assert "OPENRAAS_DATABASE_URL" in done.stderr
    assert processes_of(tmp_path / "state") == []
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()


@pytest.mark.parametrize(
    ("variable", "value", "word"),
    [("OPENRAAS_WEB_PORT", "seven", "web_port"), ("OPENRAAS_POLICY", "", "policy")],
)
def test_a_bad_setting_is_named(tmp_path: Path, variable: str, value: str, word: str) -> None:
    done = up(tmp_path / "state", **{variable: value})
    assert done.returncode in (1, 2)
    assert word in done.stderr.lower()
    assert "Traceback" not in done.stderr
