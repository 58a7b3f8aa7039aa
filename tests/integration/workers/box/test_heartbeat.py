"""The heartbeat of a box into a real Redis."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from common.names import EPOCH, layers_key, status_key
from common.status import BoxStatus, FilesetHolding
from common.words import Resources
from tests.support.redis import RedisServer, wait_until
from workers.box.config import BoxConfig
from workers.box.pulse import Pulse
from workers.box.role import RoleFacts
from workers.box.status import Heartbeat
from workers.box.table import Table
from workers.depository.holdings import Timer

BOX = "b1"


class Layers:
    """What a box holds, by hand."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.count = 0

    def change(self, *, came: str = "", went: str = "") -> None:
        self.held = (self.held | {came} if came else set(self.held)) - {went}
        self.count += 1

    def digests(self) -> set[str]:
        return set(self.held)

    def sequence(self) -> int:
        return self.count

    def timers(self) -> list[Timer]:
        return [Timer(digest, 1, 1234.5, 0.0) for digest in self.held]


class Role:
    """A role with known facts."""

    def __init__(self, facts: RoleFacts) -> None:
        self._facts = facts

    def facts(self) -> RoleFacts:
        return self._facts


@pytest.fixture
def client(redis_server: RedisServer) -> redis.Redis:
    return redis.Redis.from_url(redis_server.url, decode_responses=True)


def make_heartbeat(
    client: redis.Redis, folder: Path, layers: Layers, *facts: RoleFacts, every_s: float = 0.05
) -> Heartbeat:
    config = BoxConfig(box=BOX, state_dir=folder, status_every_s=every_s, status_ttl_s=2.0, front_port=9123)
    context: Any = SimpleNamespace(config=config, redis=client)
    roles: Any = [Role(item) for item in facts]
    return Heartbeat(context, roles, layers, Pulse(Table(folder / "box.db")))


def read(client: redis.Redis) -> BoxStatus:
    return BoxStatus.model_validate_json(str(client.get(status_key(BOX))))


def test_a_record_tells_what_all_roles_use_and_expires(client: redis.Redis, tmp_path: Path) -> None:
    compute = RoleFacts(used=Resources(cpu=1, memory_bytes=5), instances=2, engine_bytes=7)
    filestore = RoleFacts(filesets=(FilesetHolding(fileset="f-1", version=3),), filesets_bytes=11)
    make_heartbeat(client, tmp_path, Layers(), compute, filestore).beat()
    status = read(client)
    assert (status.used.cpu, status.instances) == (1, 2)
    assert (status.disk.engine_bytes, status.disk.filesets_bytes) == (7, 11)
    assert status.filesets == [FilesetHolding(fileset="f-1", version=3)]
    assert status.front is not None
    assert (status.front.port, status.front.tls) == (9123, False)
    assert 0 < int(client.ttl(status_key(BOX))) <= 2


def test_records_are_numbered_without_gaps_within_an_epoch(client: redis.Redis, tmp_path: Path) -> None:
    heartbeat = make_heartbeat(client, tmp_path, Layers())
    seen = []
    for _ in range(3):
        heartbeat.beat()
        seen.append(read(client))
    assert [status.sequence for status in seen] == [0, 1, 2]
    assert len({status.epoch for status in seen}) == 1
    make_heartbeat(client, tmp_path, Layers()).beat()
    assert read(client).epoch != seen[0].epoch


def test_layers_follow_what_comes_and_goes(client: redis.Redis, tmp_path: Path) -> None:
    layers = Layers()
    client.sadd(layers_key(BOX), "sha256:stale")
    heartbeat = make_heartbeat(client, tmp_path, layers)
    layers.change(came="sha256:a")
    heartbeat.beat()
    assert client.smembers(layers_key(BOX)) == {"sha256:a"}
    layers.change(came="sha256:b", went="sha256:a")
    heartbeat.beat()
    assert client.smembers(layers_key(BOX)) == {"sha256:b"}
    assert read(client).layers_sequence == layers.count


def test_a_layer_that_came_is_told_before_the_next_regular_record(
    client: redis.Redis, tmp_path: Path
) -> None:
    layers = Layers()
    heartbeat = make_heartbeat(client, tmp_path, layers, every_s=3600.0)
    heartbeat.start()
    try:
        wait_until(lambda: client.get(status_key(BOX)) is not None, what="the first record")
        layers.change(came="sha256:a")
        wait_until(lambda: read(client).layers_sequence == layers.count, what="a record of the layer")
        assert client.smembers(layers_key(BOX)) == {"sha256:a"}
    finally:
        heartbeat.stop()


def test_a_redis_that_lost_everything_gets_everything_again(client: redis.Redis, tmp_path: Path) -> None:
    layers = Layers()
    layers.change(came="sha256:a")
    client.set(EPOCH, "first")
    heartbeat = make_heartbeat(client, tmp_path, layers)
    heartbeat.beat()
    client.flushall()
    client.set(EPOCH, "second")
    heartbeat.beat()
    assert client.smembers(layers_key(BOX)) == {"sha256:a"}
    assert read(client).redis_epoch == "second"


def test_a_redis_that_is_away_does_not_end_the_heartbeat(
    client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heartbeat = make_heartbeat(client, tmp_path, Layers())
    real, failures = client.get, iter([True, True])

    def get(key: str) -> object:
        if next(failures, False):
            raise redis.ConnectionError("away")
        return real(key)

    monkeypatch.setattr(client, "get", get)
    heartbeat.start()
    try:
        wait_until(lambda: real(status_key(BOX)) is not None, what="a record")
    finally:
        heartbeat.stop()
