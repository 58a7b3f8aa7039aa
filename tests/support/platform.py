"""The whole platform, started as an operator starts it: `openraas up`, on free ports, in a directory of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from common.needs import is_free
from master.up.samples import QUICK
from tests.support.debian import give_base_image
from tests.support.engine import run_engine
from tests.support.redis import free_port

START_LIMIT_S = 400.0
STOP_LIMIT_S = 120.0
STEP_S = 0.01
SAMPLES = Path(__file__).parents[2] / "compose" / "applications"
OVER = ("failed", "stopped", "lost")


@dataclass(frozen=True)
class RunningPlatform:
    """A platform that is up."""

    state_dir: Path
    url: str
    environment: dict[str, str]
    front_port: int
    http: httpx.Client
    process: subprocess.Popen[bytes]
    engine_url: str

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The JSON of an answer below /api/v1; raises AssertionError with the answer's text."""
        answer = self.http.request(method, f"/api/v1{path}", json=body)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def verb(self, *arguments: str, limit_s: float = 300.0) -> str:
        """What the command line says; raises AssertionError if it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "common", *arguments],
            env=self.environment, capture_output=True, text=True, timeout=limit_s,
        )  # fmt: skip
        assert done.returncode == 0, f"{arguments}: {done.stderr or done.stdout}"
        return done.stdout

    def wait(self, deployment: str, *states: str, limit_s: float = 60.0) -> dict[str, Any]:
        """The deployment's first instance once it is in one of the states."""
        end = time.monotonic() + limit_s
        while True:
            instance: dict[str, Any] = self.call("GET", f"/deployments/{deployment}")["instances"][0]
            if instance["state"] in states:
                return instance
            assert instance["state"] not in OVER, instance
            assert time.monotonic() < end, instance
            time.sleep(STEP_S)

    def start(self, application: str, **options: object) -> str:
        """Ask for an application; returns the deployment's id."""
        body = {"application": application, "options": options}
        return str(self.call("POST", "/deployments", body)["id"])

    def stop(self, deployment: str) -> dict[str, Any]:
        """Stop a deployment and wait until it has."""
        self.call("POST", f"/deployments/{deployment}/stop")
        return self.wait(deployment, "stopped")


def quick_samples(folder: Path) -> Path:
    """A folder with the samples that are soon built."""
    for name in QUICK:
        shutil.copytree(SAMPLES / name, folder / name)
    return folder


def metrics_ports() -> tuple[int, int]:
    """A free port for a box's metrics, and one whose two next ones are free for the master's."""
    while not all(is_free("127.0.0.1", (first := free_port()) + offset) for offset in (1, 2)):
        pass
    return free_port(), first


@contextmanager
def running_platform(
    directory: Path, *arguments: str, box: str = "", with_engine: bool = True, **settings: str
) -> Iterator[RunningPlatform]:
    """`openraas up` until the block ends; `box` is added to its box's TOML, `settings` to the environment.

    The container engine is a private one: nobody else's is touched. A box that does not compute needs none.
    """
    with run_engine() if with_engine else nullcontext() as engine:
        if engine is not None and "--demo" in arguments:
            give_base_image(engine.url)
        yield from _running(directory, engine.url if engine else "", arguments, box, settings)


def _running(
    directory: Path, engine_url: str, arguments: tuple[str, ...], box: str, settings: dict[str, str]
) -> Iterator[RunningPlatform]:
    ports = [free_port() for _ in range(5)]
    web, redis, front, filestore, loopback = ports
    state_dir = directory / "state"
    box_file = directory / "box.toml"
    box_file.parent.mkdir(parents=True, exist_ok=True)
    box_file.write_text(
        f'box = "box-1"\nfront_port = {front}\nfilestore_port = {filestore}\nloopback_port = {loopback}\n{box}'
    )
    environment = {
        **os.environ,
        "OPENRAAS_STATE_DIR": str(state_dir),
        "OPENRAAS_WEB_PORT": str(web),
        "OPENRAAS_REDIS_PORT": str(redis),
        "OPENRAAS_METRICS_PORT": "0",
        **({"DOCKER_HOST": engine_url} if engine_url else {}),
        **{f"OPENRAAS_{key.upper()}": value for key, value in settings.items()},
    }
    log = (directory / "up.log").open("wb")
    command = [sys.executable, "-m", "common", "up", "--box-config", str(box_file), *arguments]
    # Ends with the test run, however that ends; what it started ends with it.
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "INT", *command],
        env=environment, stdout=log, stderr=log, start_new_session=True,
    )  # fmt: skip
    url = f"http://127.0.0.1:{web}"
    try:
        _wait_up(process, directory / "up.log")
        token = (state_dir / "secrets/cli.token").read_text().strip()
        with httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False
        ) as client:
            yield RunningPlatform(state_dir, url, environment, front, client, process, engine_url)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(STOP_LIMIT_S)
        log.close()


def _wait_up(process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_LIMIT_S
    while "Ctrl-C" not in log.read_text(errors="replace"):
        assert process.poll() is None, log.read_text(errors="replace")[-3000:]
        assert time.monotonic() < end, log.read_text(errors="replace")[-3000:]
        time.sleep(0.1)
