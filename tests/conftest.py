"""Fixtures that every test may use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.platform import RunningPlatform, metrics_ports, quick_samples, running_platform
from tests.support.redis import RedisServer, run_redis

# No test says how fast something has to be; what hangs is ended by pytest's own limit.
settings.register_profile("openraas", deadline=None)
settings.load_profile("openraas")


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One private redis-server for the whole run; use `redis_server`, which empties it first."""
    with run_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_server(shared_redis: RedisServer) -> RedisServer:
    """A private, empty redis-server."""
    import redis

    redis.Redis.from_url(shared_redis.url).flushall()
    return shared_redis


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    """The whole platform as `make run` starts it, but for the sample that takes minutes to build. Tests share it."""
    directory, (box, master) = tmp_path_factory.mktemp("platform"), metrics_ports()
    settings = {"metrics_port": str(master), "samples_dir": str(quick_samples(directory / "samples"))}
    with running_platform(directory, "--demo", box=f"metrics_port = {box}\n", **settings) as running:
        yield running
