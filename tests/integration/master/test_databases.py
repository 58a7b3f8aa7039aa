"""The master on PostgreSQL: the same migrations, the same road of a request."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from common import names
from common.reports import Preparing, Running, Stopped
from common.settings import Settings
from master.context import make_context
from master.db.migrate import upgrade
from master.deployments.models import Instance
from master.deployments.services import request_deployment, stop_deployment
from master.lifecycle.reconcile import Reconciler
from master.lifecycle.reports import Reports
from master.scheduler.service import Scheduler
from tests.support.master import FakeBox, add_application, add_image, add_user, image_digests
from tests.support.redis import RedisServer, free_port, wait_until

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
LIMIT_S = 60


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """The URL of a private server, run by the user `postgres` because it refuses to run as root."""
    if not PROGRAMS or os.geteuid() != 0:
        pytest.skip("PostgreSQL is not installed, or this is not root")
    programs, owner = PROGRAMS[-1], pwd.getpwnam("postgres")
    directory = Path(tempfile.mkdtemp(prefix="orspg-"))
    os.chown(directory, owner.pw_uid, owner.pw_gid)
    port = free_port()
    run = ["runuser", "-u", "postgres", "--"]
    subprocess.run(
        [*run, str(programs / "initdb"), "-D", str(directory / "data"), "-A", "trust", "--no-sync"],
        check=True, capture_output=True, timeout=LIMIT_S, cwd="/",
    )  # fmt: skip
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={directory} -c fsync=off"
    server = [
        *run,
        "setpriv",
        "--pdeathsig",
        "KILL",
        str(programs / "postgres"),
        "-D",
        str(directory / "data"),
    ]
    process = subprocess.Popen(
        [*server, *options.split()], cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    ready = [str(programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(port), "-q"]
    try:
        wait_until(lambda: subprocess.run(ready, check=False).returncode == 0, LIMIT_S, "PostgreSQL's answer")
        yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run(
            [*run, str(programs / "pg_ctl"), "stop", "-m", "immediate", "-D", str(directory / "data")],
            check=False, capture_output=True, timeout=LIMIT_S, cwd="/",
        )  # fmt: skip
        process.wait(LIMIT_S)
        shutil.rmtree(directory, ignore_errors=True)


def test_a_request_takes_its_whole_road_on_postgresql(
    postgresql: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    master = make_context(Settings(state_dir=tmp_path, redis_url=redis_server.url, database_url=postgresql))
    upgrade(master.database.engine)
    master.redis.set(names.EPOCH, "e1")
    master.redis.set(names.EPOCH_READY, "e1")
    box = FakeBox(master, "box-1")
    box.hold(image_digests(add_image(master, "site:1")))
    add_application(master, "site", "site:1", home="/home/me")
    user = add_user(master)

    deployment = request_deployment(master, user, "site", {})
    identity = deployment.instances[0].id
    assert Scheduler(master).place(identity, 1) == "placed"
    about = {"subject": identity, "generation": 1}
    reports = Reports(master)
    for report in (Preparing(**about), Running(**about)):
        assert reports.take(box.name, report.model_dump_json())
    assert Reconciler(master).run()
    stop_deployment(master, user, deployment.id)
    assert reports.take(box.name, Stopped(**about).model_dump_json())
    with master.database.read() as session:
        assert session.get_one(Instance, identity).state == "stopped"
        assert session.scalar(text("select count(*) from timeline")) >= 5
    master.database.engine.dispose()
