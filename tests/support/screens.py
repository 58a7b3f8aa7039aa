"""A screen in a container, behind a gateway, as a box has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker

from common.access import HANDED
from common.access.desktop import VNC_PORT, Desktop
from common.words import Resources, SessionMode
from tests.support.gateway import Gateway
from tests.support.redis import wait_until
from workers.compute.handed import Handed
from workers.compute.instances import InstanceRow
from workers.compute.readiness import answers
from workers.gateway.desktop import rfb, thumbnail
from workers.gateway.desktop.passwords import FILE, Passwords
from workers.gateway.desktop.screens import whole_picture

UP_S = 60.0
MEMORY = "1g"


@dataclass(frozen=True)
class RunningScreen:
    """An instance of a gateway whose container serves a screen."""

    gateway: Gateway
    row: InstanceRow
    container: Any
    passwords: Passwords

    @property
    def address(self) -> tuple[str, int]:
        """Where its server answers without the gateway."""
        return str(self.row.address), VNC_PORT

    def picture(self) -> rfb.Picture:
        """What it shows now, past the gateway."""
        return whole_picture(lambda: rfb.connect(self.address, self.passwords.of(SessionMode.WATCH)))

    def png(self) -> bytes:
        """The same, to be looked at."""
        return thumbnail.png(self.picture())

    def run(self, *command: str) -> str:
        """What a program prints in the container."""
        return str(self.container.exec_run(list(command)).output.decode())

    def url(self, **ticket: Any) -> str:
        """The address that lets a browser in, once."""
        instance = self.row.instance
        origin = f"http://{instance}.localhost:{self.gateway.config.front_port}"
        return f"{origin}/_openraas/enter?ticket={self.gateway.ticket(instance, **ticket)}"


@contextmanager
def run_screen(
    gateway: Gateway,
    engine_url: str,
    image: str,
    *,
    command: list[str] | None = None,
    way: Desktop | None = None,
    instance: str = "i-screen",
    volumes: list[str] | None = None,
) -> Iterator[RunningScreen]:
    """A container with as few rights as an instance has; gone afterwards."""
    way = way or Desktop()
    handed = Handed(gateway.config.state_dir)
    directory = handed.make(way, instance, 1)
    client = docker.DockerClient(engine_url)
    try:
        container = client.containers.run(
            image, command, detach=True, init=True, cap_drop=["ALL"], security_opt=["no-new-privileges"],
            mem_limit=MEMORY, memswap_limit=MEMORY, pids_limit=512,
            volumes=[f"{directory}:{HANDED}:ro", *(volumes or [])],
        )  # fmt: skip
        try:
            container.reload()
            address = container.attrs["NetworkSettings"]["IPAddress"]
            row = gateway.instances.admit(instance, 1, f"d-{instance}", Resources(), Resources())
            gateway.instances.place_on(row, f"net-{instance}", [address])
            gateway.instances.started(row, str(container.id), VNC_PORT, UP_S, way)
            wait_until(lambda: _answers(container, address), UP_S, "the screen's answer")
            gateway.instances.ready(row)
            found = gateway.instances.get(instance)
            assert found is not None
            assert directory is not None
            yield RunningScreen(gateway, found, container, Passwords.read(Path(directory) / FILE))
        finally:
            container.remove(force=True)
    finally:
        client.close()
        handed.remove(instance, 1)


def _answers(container: Any, address: str) -> bool:
    container.reload()
    assert container.status == "running", container.logs().decode()
    return answers(address, VNC_PORT, None, timeout_s=1)
