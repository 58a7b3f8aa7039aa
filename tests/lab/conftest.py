"""Labs for tests. A lab that a test leaves behind is removed here, and reported."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pytest

from workers.lab import build, remains


@pytest.fixture(scope="session", autouse=True)
def _root() -> None:
    if os.geteuid() != 0:
        pytest.skip("a lab needs root")


@pytest.fixture
def lab_id() -> Iterator[str]:
    """A name for a lab of one test; whatever is left of it goes afterwards."""
    name = f"t{secrets.token_hex(2)}"
    yield name
    if name in remains.labs():
        build.down(name)
