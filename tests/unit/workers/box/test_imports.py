"""A box installs only what its roles need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[4]

_BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"{{name}} is not installed here", name=name)

sys.meta_path.insert(0, Blocker())
"""
MASTER_ONLY = {"flask", "sqlalchemy", "alembic", "gunicorn", "argon2", "flower", "numpy", "master"}


def run_without(blocked: set[str], code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _BLOCKER.format(blocked=blocked) + code],
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
    )  # fmt: skip


def test_a_box_without_compute_needs_neither_a_container_engine_nor_the_master() -> None:
    modules = (
        "workers.box.cli, workers.box.join, workers.box.programs, workers.box.worker_main, "
        "workers.box.front_main, workers.filestore.role, workers.depository.role"
    )
    done = run_without({"docker", *MASTER_ONLY}, f"import {modules}")
    assert done.returncode == 0, done.stderr


def test_a_compute_box_needs_no_master() -> None:
    done = run_without(MASTER_ONLY, "import workers.compute.role, workers.box.leftovers")
    assert done.returncode == 0, done.stderr


def test_the_front_process_stays_small() -> None:
    # It is started by the command line, whose imports stay with it, and loads every route of its roles.
    routes = "PUBLIC_ROUTES + front_main.OWN_ROUTES + front_main.ENGINE_ROUTES"
    code = (
        "import importlib, workers.box.cli, workers.box.front_main as front_main\n"
        f"for name, _ in front_main.{routes}: importlib.import_module(name.partition(':')[0])"
    )
    done = run_without({"docker", "celery", "kombu", "redis", "cryptography", *MASTER_ONLY}, code)
    assert done.returncode == 0, done.stderr


def test_a_verb_of_a_part_that_is_missing_says_what_to_install() -> None:
    code = "import sys; sys.argv = ['openraas', 'up']; from common.cli import main; main()"
    done = run_without({"sqlalchemy", "alembic", "rich"}, code)
    assert done.returncode == 1
    assert "pip install 'openraas[master]'" in done.stderr
    assert "Traceback" not in done.stderr
