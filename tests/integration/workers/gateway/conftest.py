"""A gateway as on a box: nginx, the front process's server, an instance behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gateway import Gateway, run_gateway


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with run_gateway(tmp_path) as running:
        yield running
