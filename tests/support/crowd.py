"""A crowd for the scheduler: boxes that are only records, people, and requests as the portal writes them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from sqlalchemy import func, select

from common.words import Coordinate, InstanceState, Resources, Role, new_id
from master.accounts.models import User
from master.catalogue.models import Application
from master.context import MasterContext
from master.deployments.messages import wake_scheduler
from master.deployments.models import Deployment, Instance
from master.images.models import Image
from master.lifecycle.states import ON_A_BOX
from master.scheduler.reservations import Reservations
from tests.support.master import GIB, FakeBox, add_application, add_image, image_digests

STARTED_S = 60.0
AMOUNTS = Resources(cpu=1, memory_bytes=GIB, disk_bytes=GIB)


def make_boxes(master: MasterContext, count: int, *, cores: int, applications: int = 4) -> list[FakeBox]:
    """Compute boxes of so many cores, and two depositories that hold the images of `app-0` and on."""
    images = [add_image(master, f"app-{number}:1") for number in range(applications)]
    for number in range(applications):
        add_application(master, f"app-{number}", f"app-{number}:1")
    stores = [FakeBox(master, f"store-{number}", roles=frozenset({Role.DEPOSITORY})) for number in range(2)]
    for store in stores:
        store.hold([digest for image in images for digest in image_digests(image)])
    boxes = []
    for number in range(count):
        box = FakeBox(
            master,
            f"box-{number:03}",
            roles=frozenset({Role.COMPUTE}),
            capacity=Resources(cpu=cores, memory_bytes=cores * GIB, bandwidth_bps=10**9),
            coordinate=Coordinate(x_ms=float(number % 17), y_ms=float(number % 5)),
        )
        box.hold(image_digests(images[number % applications]))
        boxes.append(box)
    return boxes


def ask(master: MasterContext, count: int, people: int) -> list[str]:
    """So many requests in SQL, as they are after the portal's commit; returns their instances."""
    with master.database.write() as session:
        users = [User(id=new_id("u"), name=new_id("person"), password_hash="x") for _ in range(people)]
        session.add_all(users)
        session.flush()
        applications = session.scalars(select(Application).order_by(Application.name)).all()
        images = {image.blobs[0]["digest"]: image for image in session.scalars(select(Image))}
        names = sorted(images)
        asked = []
        for number in range(count):
            application = applications[number % len(applications)]
            deployment = Deployment(
                id=new_id("d"),
                user_id=users[number % people].id,
                application_id=application.id,
                application_name=application.name,
                title=application.title,
                manifest=application.manifest,
                options={},
                lease_end=time.time() + 3600,
                created_at=time.time() + number * 1e-6,
            )
            instance = Instance(
                id=new_id("i"),
                deployment_id=deployment.id,
                service="main",
                state=InstanceState.REQUESTED.value,
                image_digest=names[number % len(names)],
                **AMOUNTS.model_dump(),
            )
            session.add_all([deployment, instance])
            asked.append(instance.id)
    return asked


@contextmanager
def schedulers(master: MasterContext, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Scheduler processes as the platform starts them, until the block ends."""
    environment = {
        **os.environ,
        "OPENRAAS_STATE_DIR": str(master.settings.state_dir),
        "OPENRAAS_REDIS_URL": master.settings.redis_url,
        "OPENRAAS_DATABASE_URL": master.settings.database_url,
        "OPENRAAS_METRICS_PORT": "0",
    }
    command = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "master.scheduler.main"]
    log = (master.settings.state_dir / "schedulers.log").open("ab")
    processes = [
        subprocess.Popen([*command, str(number)], env=environment, stdout=log, stderr=log)
        for number in range(1, count + 1)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(STARTED_S)
        log.close()


def produce(master: MasterContext, instances: Sequence[str], producers: int) -> None:
    """Wake the schedulers for each of these as the portal does after its commit, from so many threads at once."""

    def wake(part: Sequence[str]) -> None:
        for instance in part:
            with master.database.read() as session:
                wake_scheduler(session, master.celery, master.redis, instance, 1)
            for publish in session.info.pop("after_commit"):
                publish()

    parts = [instances[number::producers] for number in range(producers)]
    with ThreadPoolExecutor(producers) as pool:
        for done in [pool.submit(wake, part) for part in parts]:
            done.result()


def count(master: MasterContext, *states: str) -> int:
    """How many instances are in one of these states."""
    with master.database.read() as session:
        found = session.scalar(select(func.count()).select_from(Instance).where(Instance.state.in_(states)))
    return int(found or 0)


def overcommitted(master: MasterContext, boxes: Sequence[FakeBox]) -> list[str]:
    """What SQL or Redis gives away more of than there is, and where the two differ; empty if all is well."""
    wrong = []
    with master.database.read() as session:
        on_boxes = select(Instance).where(Instance.state.in_([state.value for state in ON_A_BOX]))
        by_box: dict[str, list[Instance]] = defaultdict(list)
        for instance in session.scalars(on_boxes):
            by_box[str(instance.box_id)].append(instance)
    reservations = Reservations(master.redis)
    for box in boxes:
        held = reservations.of(box.name)
        room = box.status.capacity.model_copy(update={"disk_bytes": box.status.disk.free_bytes})
        total = sum((item.amounts for item in held), Resources())
        placed = by_box[box.name]
        if not total.fits(room):
            wrong.append(f"{box.name} has {room} and Redis gave away {total}")
        if (
            sum(item.cpu for item in placed) > room.cpu
            or sum(i.memory_bytes for i in placed) > room.memory_bytes
        ):
            wrong.append(f"{box.name} has {room} and SQL has {len(placed)} instances on it")
        if {item.instance for item in held} != {item.id for item in placed}:
            wrong.append(f"{box.name}: Redis knows {len(held)} instances, SQL {len(placed)}")
        if reservations.sums(box.name) != total:
            wrong.append(f"{box.name}: the sums are {reservations.sums(box.name)}, the parts {total}")
    return wrong
