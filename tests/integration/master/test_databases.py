"""The master on PostgreSQL: the same migrations, the same road of a request."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from common import names
from common.reports import Preparing, Running, Stopped
from common.settings import Settings
from common.words import new_id
from master.context import make_context
from master.db.migrate import upgrade
from master.deployments.models import Instance
from master.deployments.services import request_deployment, stop_deployment
from master.lifecycle.reconcile import Reconciler
from master.lifecycle.reports import Reports
from master.scheduler.service import Scheduler
from tests.support.crowd import ask, count, make_boxes, overcommitted
from tests.support.master import FakeBox, add_application, add_image, add_user, image_digests
from tests.support.postgresql import is_there, run_postgresql
from tests.support.redis import RedisServer
from tests.support.scheduling import place_now

LIMIT_S = 60.0


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a private server."""
    if not is_there():
        pytest.skip("PostgreSQL is not installed, or this is not root")
    with run_postgresql() as url:
        yield url


@pytest.fixture
def postgresql(server: str) -> str:
    """The URL of an empty database on it."""
    name = new_id("test").replace("-", "_")
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return f"{server.rpartition('/')[0]}/{name}"


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
    assert place_now(master, identity, 1) == "placed"
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


def test_two_schedulers_never_overcommit_on_postgresql(
    postgresql: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    conf = Settings(state_dir=tmp_path, redis_url=redis_server.url, database_url=postgresql)
    master = make_context(conf)
    upgrade(master.database.engine)
    master.redis.mset({names.EPOCH: "e1", names.EPOCH_READY: "e1"})
    boxes = make_boxes(master, 6, cores=8)
    ask(master, 60, people=5)
    both = [Scheduler(master), Scheduler(master)]
    with ThreadPoolExecutor(2) as pool:
        outcomes = [task.result(LIMIT_S) for task in [pool.submit(item.run) for item in both]]
    assert sum(list(item.values()).count("placed") for item in outcomes) == 48
    assert (count(master, "placed"), count(master, "queued")) == (48, 12)
    assert overcommitted(master, boxes) == []
    master.database.engine.dispose()
