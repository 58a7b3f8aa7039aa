"""Echo: from a key that is sent to its letter that comes back, through the near box's gateway.

The rival is the same without the gateway: an exec of the container engine on its own socket, in the same container.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import docker
from websockets.sync.client import ClientConnection

from tests.benchmarks.lines import Case
from tests.support.platform import RunningPlatform
from tests.support.terminals import LIMIT_S, dial, enter
from workers.compute.execs import Exec, start_exec
from workers.compute.labels import LABEL_INSTANCE
from workers.gateway.terminal.shells import ENVIRONMENT, command

KEYS, WARM = 300, 20
MOST_MS = 20.0
LETTERS = b"abcdefghijklmnopqrstuvwxyz"
# The kernel's terminal answers each letter; a program that draws its own line would be measured with it.
QUIET, READY = b"exec cat\n", b"exec cat\r\n"


def measure(platform: RunningPlatform) -> list[Case]:
    """Type into the `shell` sample by both roads, in turn."""
    deployment = platform.start("shell")
    try:
        instance = platform.wait(deployment, "running")["id"]
        url = str(platform.call("POST", f"/deployments/{deployment}/ticket")["url"])
        line = start_exec(
            [platform.engine_url],
            _container(platform, str(instance)),
            command(None),
            environment=ENVIRONMENT,
            timeout_s=LIMIT_S,
        )
        with dial(urlsplit(url).netloc, enter(url)) as window:
            far, near = _type(window, line)
        line.close()
    finally:
        platform.stop(deployment)
    return [
        Case(
            "terminal echo",
            statistics.median(far),
            "ms",
            f"exec on the engine's own socket: {statistics.median(near):.2f} ms",
            statistics.quantiles(far, n=20),
            at_most=MOST_MS,
        )
    ]


def _container(platform: RunningPlatform, instance: str) -> str:
    client = docker.DockerClient(platform.engine_url)
    try:
        found = client.containers.list(filters={"label": f"{LABEL_INSTANCE}={instance}"})
        return str(found[0].id)
    finally:
        client.close()


def _type(window: ClientConnection, line: Exec) -> tuple[list[float], list[float]]:
    """How long each letter took through the gateway and without it, in ms."""

    def take() -> bytes:
        message = window.recv(LIMIT_S)
        return message if isinstance(message, bytes) else b""

    far: list[float] = []
    near: list[float] = []
    _echo(window.send, take, QUIET, READY)
    _echo(line.write, line.read, QUIET, READY)
    for number in range(WARM + KEYS):
        letter = LETTERS[number % 26 : number % 26 + 1]
        far.append(_echo(window.send, take, letter, letter))
        near.append(_echo(line.write, line.read, letter, letter))
    return far[WARM:], near[WARM:]


def _echo(send: Callable[[bytes], None], take: Callable[[], bytes], text: bytes, wanted: bytes) -> float:
    began, seen = time.perf_counter(), b""
    send(text)
    while wanted not in seen:
        seen += take()
    return (time.perf_counter() - began) * 1000
