"""What the Docker engine is asked for, seen by a listener that stands in for it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from workers.compute.engine import ContainerSpec
from workers.compute.engines import graphics
from workers.compute.engines.docker import DockerEngine

VERSION = {"Version": "24.0.7", "ApiVersion": "1.41", "MinAPIVersion": "1.12"}
INFO = {"Driver": "overlay2", "DriverStatus": [["Backing Filesystem", "extfs"]]}


@contextmanager
def listening() -> Iterator[tuple[DockerEngine, list[dict[str, Any]]]]:
    """An engine, and what it was asked to create."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200, VERSION if self.path.endswith("/version") else INFO)

        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._answer(201, {"Id": "c1", "Warnings": []})

        def _answer(self, status: int, value: object) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield DockerEngine(f"tcp://127.0.0.1:{server.server_address[1]}"), asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def spec(gpu: int) -> ContainerSpec:
    return ContainerSpec(
        name="c", image="i", hostname="h", labels={}, network="n", address="10.0.0.2", aliases=(), cpu=1.0,
        memory_bytes=2**30, pids=64, gpu=gpu,
    )  # fmt: skip


def created(gpu: int, monkeypatch: pytest.MonkeyPatch, *, nvidia: int, nodes: list[Path]) -> Any:
    """What the engine is told of the machine, on one with these graphics processors."""
    monkeypatch.setattr(graphics, "nvidia_gpus", lambda: nvidia)
    monkeypatch.setattr(graphics, "render_nodes", lambda: nodes)
    with listening() as (engine, asked):
        assert engine.create(spec(gpu)) == "c1"
    return asked[0]["HostConfig"]


@pytest.fixture
def nodes(tmp_path: Path) -> list[Path]:
    """Two files in place of the kernel's devices."""
    found = [tmp_path / "renderD128", tmp_path / "renderD129"]
    for node in found:
        node.touch()
        os.chown(node, -1, 4321)
    return found


def test_a_container_gets_as_many_graphics_processors_of_nvidia_as_it_reserved(
    nodes: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = created(2, monkeypatch, nvidia=2, nodes=nodes)
    (asked,) = config["DeviceRequests"]
    assert (asked["Count"], asked["Capabilities"]) == (2, [["gpu"]])
    assert not config.get("Devices")


def test_graphics_processors_of_other_makes_are_passed_in_as_render_nodes(
    nodes: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = created(1, monkeypatch, nvidia=0, nodes=nodes)
    node = str(nodes[0])
    assert config["Devices"] == [
        {"PathOnHost": node, "PathInContainer": node, "CgroupPermissions": "rw"},
    ]
    assert config["GroupAdd"] == ["4321"]
    assert not config.get("DeviceRequests")


def test_a_container_that_reserved_no_graphics_processor_gets_none(
    nodes: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = created(0, monkeypatch, nvidia=2, nodes=nodes)
    assert not config.get("DeviceRequests")
    assert not config.get("Devices")
