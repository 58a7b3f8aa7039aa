"""Engines for the compute role's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.engine import EngineServer, run_engine, run_podman


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
