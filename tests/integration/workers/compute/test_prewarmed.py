"""Prewarmed instances on a box: a real engine, real mounts, a real table."""

from __future__ import annotations

from typing import Any

import pytest

from common.reports import StepDone
from common.service import ServiceSpec, Warming
from common.signing import seal
from common.wishes import ComputeWish, MountWish, Target, WarmWish
from common.words import MountMode, Resources, Role
from tests.integration.workers.compute.fakes import FakeMounter
from tests.support.compute_role import HERE, LABELS, SERVE, Running
from tests.support.redis import wait_until
from tests.support.registry import make_image
from workers.compute.instances import InstanceRow, Stage
from workers.compute.role import Compute

pytestmark = pytest.mark.engine

SUBJECT = "warm.a-1"
HOME = "/www"
WARM: dict[str, Any] = {"prewarm": Warming()}


def service(**changes: Any) -> ServiceSpec:
    """A web server that serves its owner's files."""
    amounts = Resources(cpu=0.1, memory_bytes=32 * 2**20)
    values = {"name": "web", "image": "sample:1", "command": SERVE, "port": 8000, "resources": amounts}
    return ServiceSpec(**{**values, **WARM, **changes})


def keep(running: Running, count: int, *, version: int = 1, spec: ServiceSpec | None = None) -> WarmWish:
    """Wish for so many, and let the box look at it."""
    wish = WarmWish(
        subject=SUBJECT, generation=0, version=version, wanted="kept", service=spec or service(),
        image=make_image().source(), targets=[Target(target=HOME, mode=MountMode.READ_WRITE)], count=count,
    )  # fmt: skip
    running.box.wish(wish)
    running.driver.wake(Role.COMPUTE, SUBJECT)
    return wish


def waiting(running: Running) -> list[InstanceRow]:
    """Those that are ready, after another look of the box."""
    running.driver.wake(Role.COMPUTE, SUBJECT)
    return [row for row in running.role._instances.held() if row.state is Stage.WARM]


def wait_for(running: Running, count: int) -> list[InstanceRow]:
    wait_until(lambda: len(waiting(running)) == count, 40, f"{count} prewarmed instances")
    return waiting(running)


def person(running: Running, name: str, **changes: Any) -> ComputeWish:
    """The wish for an instance with a person's home, which has one page."""
    home = running.mounter._root / f"home-{name}"
    home.mkdir(exist_ok=True)
    (home / "index.html").write_text(f"home of {name}\n")
    mount = MountWish(
        fileset=f"home-{name}", version=1, target=HOME, mode=MountMode.READ_WRITE, filestore="files",
        endpoint=HERE, host_key="ssh-ed25519 host",
    )  # fmt: skip
    values = {"service": service(), "mounts": [mount], **changes}
    return running.wish(f"i-{name}").model_copy(update=values)


def steps(running: Running, instance: str) -> set[str]:
    """The steps that were reported."""
    reports = running.box.reports.of(instance, "step")
    return {report.step for report in reports if isinstance(report, StepDone)}


def test_prewarmed_instances_wait_paused_and_take_nothing_from_anybody(running: Running) -> None:
    keep(running, 2)
    rows = wait_for(running, 2)
    facts = running.role.facts()
    assert facts.prewarmed == {SUBJECT: 2}
    assert facts.used == Resources()
    assert facts.instances == 0
    assert {facts.running for facts in running.engine.containers(LABELS)} == {True}
    assert len({row.network for row in rows}) == 2
    assert not any(report.subject.startswith("warm") for report in running.box.reports.all)


def test_whoever_comes_gets_a_waiting_container_with_the_own_home_and_another_is_made(
    running: Running,
) -> None:
    keep(running, 1)
    (row,) = wait_for(running, 1)
    running.want(person(running, "ada"))
    running.box.reports.wait_for("i-ada", "running")
    now = running.role._instances.get("i-ada")
    assert now is not None
    assert (now.container, now.address) == (row.container, row.address)
    assert running.page("i-ada") == "home of ada\n"
    assert "wake" in steps(running, "i-ada")
    assert not steps(running, "i-ada") & {"create", "launch", "network"}
    (other,) = wait_for(running, 1)
    assert other.container != row.container


def test_nobody_gets_a_container_that_somebody_had(running: Running) -> None:
    keep(running, 2)
    first = {row.container for row in wait_for(running, 2)}
    wishes = [running.want(person(running, name)) for name in ("ada", "bob")]
    for wish in wishes:
        running.box.reports.wait_for(wish.instance, "running")
    owned = {row.container for row in running.role._instances.held() if not row.is_waiting}
    assert owned == first
    assert [running.page("i-ada"), running.page("i-bob")] == ["home of ada\n", "home of bob\n"]
    networks = {row.network for row in running.role._instances.held() if not row.is_waiting}
    assert len(networks) == 2
    running.stop(wishes[0])
    assert running.is_clean("i-ada")
    later = {row.container for row in wait_for(running, 2)}
    assert not later & first
    assert {facts.id for facts in running.engine.containers(LABELS)} == later | {
        row.container for row in running.role._instances.held() if row.instance == "i-bob"
    }


def test_secrets_are_told_when_a_container_gets_its_owner(running: Running) -> None:
    shows = ["sh", "-c", 'echo "$WORD" >/tmp/word; exec httpd -f -p 8000 -h /tmp']
    spec = service(command=shows)
    keep(running, 1, spec=spec)
    wait_for(running, 1)
    sealed = {"WORD": seal(running.box.context.seal_key.public_key, "open sesame")}
    running.want(person(running, "ada", service=spec, sealed=sealed))
    running.box.reports.wait_for("i-ada", "running")
    assert "wake" in steps(running, "i-ada")
    assert running.page("i-ada", "/word") == "open sesame\n"


def test_one_without_a_port_hears_whose_it_is_however_late_it_listens(running: Running) -> None:
    late = 'echo >"$OPENRAAS_HANDOVER/ready"; sleep 3; read -r line <"$OPENRAAS_HANDOVER/go"; '
    waits = Warming(command=["sh", "-c", late + f'cd {HOME}; echo "$line" >said; exec sleep 1000'])
    spec = service(port=None, access="job", prewarm=waits)
    keep(running, 1, spec=spec)
    wait_for(running, 1)
    sealed = {"WORD": seal(running.box.context.seal_key.public_key, "open sesame")}
    running.want(person(running, "ada", service=spec, sealed=sealed))
    running.box.reports.wait_for("i-ada", "running")
    assert "wake" in steps(running, "i-ada")
    said = running.mounter._root / "home-ada/said"
    wait_until(lambda: said.exists() and said.read_text() == "WORD=open sesame\n", 20, "the letter")


def test_what_was_asked_for_otherwise_starts_from_nothing(running: Running) -> None:
    keep(running, 1)
    (row,) = wait_for(running, 1)
    running.want(person(running, "ada", service=service(environment={"COLOUR": "red"})))
    running.box.reports.wait_for("i-ada", "running")
    assert {"create", "launch"} <= steps(running, "i-ada")
    assert [item.container for item in waiting(running)] == [row.container]


def test_prewarmed_instances_make_room_for_a_real_one(running: Running) -> None:
    keep(running, 2, spec=service(resources=Resources(cpu=0.4, memory_bytes=32 * 2**20)))
    wait_for(running, 2)
    wide = service(resources=Resources(cpu=0.9, memory_bytes=32 * 2**20))
    running.want(person(running, "ada", service=wide))
    running.box.reports.wait_for("i-ada", "running")
    wait_until(lambda: not waiting(running), 20, "the prewarmed instances' end")


def test_a_worker_that_ends_in_the_middle_of_a_hand_over_leaves_it_to_the_next(running: Running) -> None:
    keep(running, 1)
    (row,) = wait_for(running, 1)
    wish = person(running, "ada")
    running.mounter.waiting.add("home-ada")
    running.want(wish)
    assert running.mounter.began.wait(20)
    taken = running.role._instances.get("i-ada")
    assert taken is not None
    assert (taken.state, taken.container) == (Stage.PREPARING, row.container)
    # The next worker has the table, and nothing of what the first one knew; the first one never comes to its launch.
    running.mounter.failing.clear()
    mounter = FakeMounter(running.mounter._root)
    role = Compute(running.box.context, mounter=mounter, layers=running.layers)
    role.start()
    driver = running.box.worker(role)
    driver.wake(Role.COMPUTE, "i-ada")
    running.box.reports.wait_for("i-ada", "running")
    assert running.page("i-ada") == "home of ada\n"
    now = role._instances.get("i-ada")
    assert now is not None
    assert now.container == row.container
    running.mounter.go.set()


def test_a_container_that_died_while_it_waited_is_replaced_and_its_owner_gets_another(
    running: Running,
) -> None:
    keep(running, 1)
    (row,) = wait_for(running, 1)
    assert row.container is not None
    running.mounter.waiting.add("home-ada")
    running.want(person(running, "ada"))
    assert running.mounter.began.wait(20)
    running.engine.remove(row.container)
    running.mounter.go.set()
    running.box.reports.wait_for("i-ada", "running")
    assert {"create", "launch"} <= steps(running, "i-ada")
    assert running.page("i-ada") == "home of ada\n"


def test_prewarmed_instances_go_with_their_wish(running: Running) -> None:
    keep(running, 2)
    wait_for(running, 2)
    running.box.drop(Role.COMPUTE, SUBJECT)

    def is_over() -> bool:
        running.driver.converge_all()
        return not running.engine.containers(LABELS)

    wait_until(is_over, 20, "the containers' end")
    paths = running.box.context.paths
    wait_until(lambda: not [*paths.places.iterdir(), *paths.handovers.iterdir()], 20, "nothing that is left")
