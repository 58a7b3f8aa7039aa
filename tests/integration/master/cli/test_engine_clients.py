"""A container engine as client: docker login, push and pull with the master's tokens, and `image import`."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.cli import VERB_S, World
from tests.support.engine import EngineServer, run_engine

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineServer]:
    with run_engine() as server:
        yield server


def load(engine: EngineServer, name: str) -> None:
    """Give the engine an image of one small file, without any registry."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("hello")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"hello"))
    repository, _, tag = name.rpartition(":")
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(engine.socket)), timeout=VERB_S) as client:
        answer = client.post(
            "http://engine/images/create",
            params={"fromSrc": "-", "repo": repository, "tag": tag},
            content=buffer.getvalue(),
        )
        assert answer.status_code == 200, answer.text


def docker(engine: EngineServer, config: Path, *arguments: str, text: str = "") -> str:
    """A command of the engine's own client, with a configuration of its own."""
    done = subprocess.run(
        ["docker", "--config", str(config), "-H", engine.url, *arguments],
        input=text, capture_output=True, text=True, timeout=VERB_S,
    )  # fmt: skip
    return done.stdout + done.stderr if done.returncode == 0 else f"FAILED: {done.stderr}"


def test_docker_logs_in_pushes_and_pulls_with_the_masters_tokens(
    world: World, engine: EngineServer, tmp_path: Path
) -> None:
    registry = f"127.0.0.1:{world.boxes[0].front.port}"
    name = f"{registry}/team/hello:1"
    load(engine, name)
    assert "FAILED" in docker(engine, tmp_path, "push", name), "nobody is signed in"
    wrong = docker(engine, tmp_path, "login", "-u", "olga", "--password-stdin", registry, text="wrong")
    assert "FAILED" in wrong
    good = docker(engine, tmp_path, "login", "-u", "olga", "--password-stdin", registry, text=world.password)
    assert "Login Succeeded" in good
    pushed = docker(engine, tmp_path, "push", name)
    assert "digest: sha256:" in pushed, pushed
    assert "team/hello:1" in world.operator.ok("image", "list")
    docker(engine, tmp_path, "image", "rm", name)
    assert "Downloaded newer image" in docker(engine, tmp_path, "pull", name)


def test_an_image_of_the_local_engine_is_imported(world: World, engine: EngineServer) -> None:
    load(engine, "demo/hello:2")
    shell = world.operator
    shell.variables = {"DOCKER_HOST": engine.url}
    answer = json.loads(shell.ok("image", "import", "demo/hello:2", "--json"))
    assert answer["boxes"] == ["attic", "cellar"]
    assert world.boxes[1].holdings.store.has(answer["digest"])
    assert "no image demo/other:latest" in shell.fails(2, "image", "import", "demo/other")
    shell.variables = {"DOCKER_HOST": "unix:///nowhere.sock"}
    assert "no container engine at /nowhere.sock" in shell.fails(1, "image", "import", "demo/hello:2")
