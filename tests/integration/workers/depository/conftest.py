from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.depository import FakeBox, FakeMaster, boxes, run_master


@pytest.fixture
def master() -> Iterator[FakeMaster]:
    with run_master() as running:
        yield running


@pytest.fixture
def make_box(tmp_path: Path, master: FakeMaster) -> Iterator[Callable[..., FakeBox]]:
    with boxes(tmp_path, master) as make:
        yield make
