"""A filestore and two compute boxes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.files import Computer, Store, need_files, running_computer, running_store
from tests.support.redis import RedisServer


@pytest.fixture
def store(tmp_path: Path, redis_server: RedisServer) -> Iterator[Store]:
    need_files()
    with running_store(tmp_path / "store", redis_server) as made:
        yield made


@pytest.fixture
def computer(tmp_path: Path, redis_server: RedisServer) -> Iterator[Computer]:
    need_files()
    with running_computer(tmp_path / "near", redis_server, "near") as made:
        yield made


@pytest.fixture
def other(tmp_path: Path, redis_server: RedisServer) -> Iterator[Computer]:
    need_files()
    with running_computer(tmp_path / "far", redis_server, "far") as made:
        yield made
