"""Engines for the compute role's tests."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.words import Role
from tests.integration.workers.compute.fakes import FakeLayers, FakeMounter
from tests.support.box import make_box
from tests.support.compute_role import BOX, Running
from tests.support.engine import EngineServer, run_engine, run_podman
from tests.support.redis import RedisServer, wait_until
from tests.support.registry import Registry, make_image, run_registry
from workers.box.config import BoxConfig
from workers.box.leftovers import clean
from workers.compute.engines import find_engine
from workers.compute.role import Compute


@pytest.fixture(scope="session")
def docker_server() -> Iterator[EngineServer]:
    """A private Docker engine in this machine's network."""
    with run_engine() as server:
        yield server


@pytest.fixture(scope="session")
def podman_server() -> Iterator[EngineServer]:
    """Podman's compatible service."""
    with run_podman() as server:
        yield server


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with run_registry(make_image()) as running:
        yield running


@pytest.fixture
def shared_directory(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "mounts"
    directory.mkdir()
    subprocess.run(["mount", "--bind", directory, directory], check=True)
    subprocess.run(["mount", "--make-shared", directory], check=True)
    yield directory
    subprocess.run(["umount", "-R", "-l", directory], check=True)


@pytest.fixture
def running(
    tmp_path: Path,
    docker_server: EngineServer,
    redis_server: RedisServer,
    registry: Registry,
    shared_directory: Path,
) -> Iterator[Running]:
    config = BoxConfig(
        box=BOX,
        state_dir=tmp_path / "state",
        loopback_port=registry.port,
        engine_url=docker_server.url,
        network_range="10.213.240.0/24",
        cpu=1.0,
        memory_bytes=2**30,
        roles=frozenset({Role.COMPUTE, Role.DEPOSITORY}),
        stop_grace_s=1,
    )
    box = make_box(config, redis_server)
    mounter, layers = FakeMounter(shared_directory), FakeLayers()
    role = Compute(box.context, mounter=mounter, layers=layers)
    try:
        role.start()
        yield Running(box, role, box.worker(role), find_engine(docker_server.url), mounter, layers, registry)
    finally:
        registry.frozen.clear()
        mounter.go.set()
        jobs = box.context.jobs
        wait_until(
            lambda: not jobs.is_running(("compute", "networks")), 30, "the last change of the firewall"
        )
        jobs.close()
        clean(config)
