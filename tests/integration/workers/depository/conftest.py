from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.depository import FakeBox, FakeMaster, boxes, run_master
from tests.support.depository_role import Worker
from tests.support.redis import RedisServer


@pytest.fixture
def master() -> Iterator[FakeMaster]:
    with run_master() as running:
        yield running


@pytest.fixture
def make_box(tmp_path: Path, master: FakeMaster) -> Iterator[Callable[..., FakeBox]]:
    with boxes(tmp_path, master) as make:
        yield make


@pytest.fixture
def make_worker(redis_server: RedisServer) -> Iterator[Callable[[FakeBox], Worker]]:
    made: list[Worker] = []

    def make(box: FakeBox) -> Worker:
        made.append(Worker(box, redis_server.url))
        return made[-1]

    yield make
    for worker in made:
        worker.jobs.close()
