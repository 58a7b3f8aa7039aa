"""From a key that is pressed to the first changed pixels, through the near box's gateway.

The rival is the same server of the same screen by plain TCP, without the gateway. A key opens the panel's menu, which
the window manager draws at once: nothing blinks there meanwhile.
"""

from __future__ import annotations

import http.client
import select
import socket
import statistics
import struct
import time
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import docker
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from common.access import HANDED
from common.access.desktop import VNC_PORT
from common.words import SessionMode
from tests.benchmarks.lines import Case
from tests.support.platform import RunningPlatform
from workers.compute.labels import LABEL_INSTANCE
from workers.gateway.desktop import rfb
from workers.gateway.desktop.passwords import FILE, Passwords

APPLICATION = "desktop"
KEYS, WARM = 100, 5
MOST_MORE_MS = 10.0
LIMIT_S, PUBLISH_S, READY_S = 20.0, 1800.0, 180.0
# A screen that has said nothing for so long has drawn all of it.
QUIET_S = 0.08
CONTROL, ESCAPE = 0xFFE3, 0xFF1B
TIGHT, QUALITY_6, COMPRESSION_2 = 7, -26, -254


class Road(Protocol):
    """One way to the screen's server."""

    def send(self, data: bytes) -> None: ...

    def take(self, limit_s: float) -> bytes:
        """What comes next; nothing if that takes longer."""


class Direct:
    """Plain TCP."""

    def __init__(self, address: tuple[str, int], password: str) -> None:
        self._socket = rfb.connect(address, password)
        self.send = self._socket.sendall

    def take(self, limit_s: float) -> bytes:
        """See Road."""
        return self._socket.recv(2**20) if select.select([self._socket], [], [], limit_s)[0] else b""

    def close(self) -> None:
        """Let go."""
        self._socket.close()


class Through:
    """A browser's WebSocket at the gateway."""

    def __init__(self, browser: ClientConnection) -> None:
        self._browser = browser
        for answer in (rfb.VERSION, bytes((rfb.NONE,))):
            browser.recv(LIMIT_S)
            browser.send(answer)
        browser.recv(LIMIT_S)
        self.send = browser.send

    def take(self, limit_s: float) -> bytes:
        """See Road."""
        try:
            message = self._browser.recv(limit_s)
        except TimeoutError:
            return b""
        return message if isinstance(message, bytes) else message.encode()


class Screen:
    """A client as noVNC is one: Tight, quality 6, and asks for what has changed."""

    def __init__(self, road: Road) -> None:
        self._road = road
        road.send(b"\1")
        head = b""
        while len(head) < 24:
            head += road.take(LIMIT_S)
        self._size = struct.unpack(">HH", head[:4])
        encodings = (TIGHT, QUALITY_6, COMPRESSION_2)
        road.send(struct.pack(">BxH3i", 2, len(encodings), *encodings))
        self._ask(whole=True)
        self.rest()

    def press(self, *keys: int) -> float:
        """Press and let go; the milliseconds until pixels come."""
        self._ask(whole=False)
        down = b"".join(struct.pack(">BBxxI", 4, 1, key) for key in keys)
        up = b"".join(struct.pack(">BBxxI", 4, 0, key) for key in reversed(keys))
        began = time.perf_counter()
        self._road.send(down + up)
        assert self._road.take(LIMIT_S), "the key changed nothing"
        took = time.perf_counter() - began
        self.rest()
        return took * 1000

    def rest(self) -> None:
        """Take what still comes."""
        while self._road.take(QUIET_S):
            pass

    def _ask(self, *, whole: bool) -> None:
        self._road.send(struct.pack(">BBHHHH", 3, 0 if whole else 1, 0, 0, *self._size))


def measure(platform: RunningPlatform) -> list[Case]:
    """The `desktop` sample by both roads, in turn."""
    end = time.monotonic() + PUBLISH_S
    while not any(
        item["name"] == APPLICATION for item in platform.call("GET", "/applications")["applications"]
    ):
        assert time.monotonic() < end, f"{APPLICATION} is not published"
        time.sleep(1)
    deployment = platform.start(APPLICATION)
    try:
        instance = str(platform.wait(deployment, "running", limit_s=READY_S)["id"])
        url = str(platform.call("POST", f"/deployments/{deployment}/ticket")["url"])
        address, passwords = _screen_of(platform.engine_url, instance)
        return [compare(url, address, passwords.of(SessionMode.CONTROL))]
    finally:
        platform.stop(deployment)


def compare(url: str, address: tuple[str, int], password: str) -> Case:
    """`url` is a ticket for the instance, `address` where its screen's server answers."""
    parts = urlsplit(url)
    place = ("127.0.0.1", parts.port or 80)
    origin = f"{parts.scheme}://{parts.netloc}"
    direct = Direct(address, password)
    with connect(
        f"ws://{parts.netloc}/_openraas/desktop/socket",
        sock=socket.create_connection(place, LIMIT_S),
        additional_headers={"Cookie": _cookie(place, parts.netloc, f"{parts.path}?{parts.query}")},
        origin=Origin(origin),
        compression=None,
        max_size=None,
    ) as browser:
        far, near = _press(Screen(Through(browser)), Screen(direct))
    direct.close()
    more = [one - other for one, other in zip(far, near, strict=True)]
    return Case(
        "desktop key to pixel, more than without the gateway",
        statistics.median(far) - statistics.median(near),
        "ms",
        f"the same server by plain TCP: {statistics.median(near):.2f} ms",
        statistics.quantiles(more, n=20),
        at_most=MOST_MORE_MS,
    )


def _press(far: Screen, near: Screen) -> tuple[list[float], list[float]]:
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(WARM + KEYS):
        for screen, other, kept in ((far, near, times[0]), (near, far, times[1])):
            other.rest()
            kept.append(screen.press(CONTROL, ESCAPE))
            screen.press(ESCAPE)
    return times[0][WARM:], times[1][WARM:]


def _cookie(place: tuple[str, int], host: str, path: str) -> str:
    connection = http.client.HTTPConnection(*place, timeout=LIMIT_S)
    try:
        connection.request("GET", path, headers={"Host": host})
        return str(connection.getresponse().headers["Set-Cookie"]).partition(";")[0]
    finally:
        connection.close()


def _screen_of(engine_url: str, instance: str) -> tuple[tuple[str, int], Passwords]:
    client = docker.DockerClient(engine_url)
    try:
        container = client.containers.list(filters={"label": f"{LABEL_INSTANCE}={instance}"})[0]
        network = next(iter(container.attrs["NetworkSettings"]["Networks"].values()))
        handed = next(
            mount["Source"] for mount in container.attrs["Mounts"] if mount["Destination"] == HANDED
        )
        return (network["IPAddress"], VNC_PORT), Passwords.read(Path(handed) / FILE)
    finally:
        client.close()
