"""Each process of the master by itself, as the supervisor starts it."""

from __future__ import annotations

import subprocess
import sys

import pytest

_LOOK = """
import importlib, sys
from sqlalchemy.orm import configure_mappers
importlib.import_module(sys.argv[1])
from master.db.base import Base
configure_mappers()
print(len(Base.metadata.sorted_tables))
"""


@pytest.mark.parametrize(
    "module", ["master.web.app", "master.scheduler.main", "master.lifecycle.main", "master.up.platform"]
)
def test_a_process_knows_every_table_that_another_refers_to(module: str) -> None:
    expected = subprocess.run(
        [sys.executable, "-c", _LOOK, "master.db.models"], capture_output=True, text=True, check=True
    ).stdout
    done = subprocess.run([sys.executable, "-c", _LOOK, module], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout == expected
