"""The life of an instance on a box: real engine, real networks, real table and wish list."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

from common.access.desktop import Desktop
from common.access.job import Job
from common.access.terminal import Terminal
from common.readiness import Readiness
from common.signing import seal
from common.wishes import MountWish
from common.words import MountMode, Resources, Role
from tests.support.compute_role import HERE, LABELS, Running
from tests.support.redis import wait_until
from tests.support.registry import make_image
from workers.box.lent_space import FILESETS, LentSpace
from workers.box.owner import Switch
from workers.compute.handed import Handed
from workers.compute.instances import Instances, Stage
from workers.compute.launch import image_reference
from workers.compute.role import Compute
from workers.compute.shares import EndedShares
from workers.gateway.desktop.passwords import FILE, Passwords

pytestmark = pytest.mark.engine

GIB = 2**30


def test_a_wish_becomes_a_container_that_answers(running: Running) -> None:
    running.want(running.wish())
    running.box.reports.wait_for("i-1", "running")
    assert running.page("i-1") == "hello from the container\n"
    kinds = running.box.reports.kinds("i-1")
    assert kinds[0] == "preparing"
    assert {"step:network", "step:fetch", "step:create", "step:launch"} <= set(kinds)
    assert kinds[-1] == "running"


def test_a_container_sees_what_its_box_made_for_its_screen_and_nothing_stays_of_it(running: Running) -> None:
    serve = ["httpd", "-f", "-p", "8000", "-h", "/run/openraas"]
    screen = {"command": serve, "access": Desktop(size="800x600"), "readiness": Readiness()}
    wish = running.want(running.wish(service=screen))
    running.box.reports.wait_for("i-1", "running")
    assert running.page("i-1", "/screen") == "GEOMETRY=800x600\nFRAME_RATE=30\n"
    with urllib.request.urlopen(f"http://{running.address('i-1')}/vnc-passwords", timeout=5) as answer:
        seen = answer.read()
    kept = Handed(running.box.context.config.state_dir).of("i-1", 1)
    assert Passwords.read(kept / FILE).obscured() == seen
    running.stop(wish)
    assert not kept.exists()


def test_an_image_that_nothing_runs_goes_from_the_engine_after_a_stop_when_room_is_short(
    running: Running,
) -> None:
    image = make_image("unused")
    running.registry.images.append(image)
    wish = running.want(running.wish(image=image.source()))
    running.box.reports.wait_for("i-1", "running")
    reference = image_reference(wish.image, running.registry.port)
    lent = running.box.context.config.lent_bytes
    space = LentSpace(running.box.context.config, running.box.context.table)
    space.note(FILESETS, lent)
    running.role.tidy()
    running.role._caretaking._measure_disk()
    assert "for instances" in running.role.facts().alert
    assert running.engine.has_image(reference)
    running.stop(wish)
    running.box.drop(Role.COMPUTE, "i-1")
    running.driver.converge_all()
    wait_until(lambda: not running.driver.roles[Role.COMPUTE]._instances.held(), what="nothing running")  # type: ignore[attr-defined]
    running.role.tidy()
    wait_until(lambda: not running.engine.has_image(reference), what="the image's end")
    space.note(FILESETS, 0)
    running.want(running.wish("i-2", image=image.source()))  # it comes again when it is wanted again
    running.box.reports.wait_for("i-2", "running")


def test_a_launch_whose_layers_do_not_fit_is_refused_so_that_it_is_placed_elsewhere(running: Running) -> None:
    large = make_image("large")
    missing_bytes = sum(blob.size_bytes for blob in large.source().blobs)
    lent = running.box.context.config.lent_bytes
    space = LentSpace(running.box.context.config, running.box.context.table)
    space.note(FILESETS, lent - 3 * missing_bytes)  # packed they would fit
    running.want(running.wish(image=large.source()))
    failed = running.box.reports.wait_for("i-1", "failed")
    assert (failed.reason, "lent space" in failed.message) == ("no-room", True)  # type: ignore[union-attr]
    assert running.is_clean("i-1")
    assert running.layers.planned == []


def test_a_launch_is_refused_the_disk_that_another_may_still_fill(running: Running) -> None:
    space = LentSpace(running.box.context.config, running.box.context.table)
    space.note(FILESETS, running.box.context.config.lent_bytes - 2 * GIB)
    room = running.role._tools.room
    wanted = {"resources": Resources(cpu=0.1, memory_bytes=32 * 2**20, disk_bytes=GIB)}
    first = running.want(running.wish(service=wanted))
    running.box.reports.wait_for("i-1", "running")
    wait_until(lambda: GIB - 2**26 < room.left_bytes() <= GIB, what="the end of the promise for the layers")
    space.note(FILESETS, running.box.context.config.lent_bytes - 2 * GIB + 2**26)
    running.want(running.wish("i-2", service=wanted))
    assert running.box.reports.wait_for("i-2", "failed").reason == "no-room"  # type: ignore[union-attr]
    running.stop(first)
    running.want(running.wish("i-3", service=wanted))
    running.box.reports.wait_for("i-3", "running")


def test_the_bytes_of_a_fetch_are_reported_with_where_they_came_from(running: Running) -> None:
    fetched = make_image("fetched")
    running.registry.images.append(fetched)
    running.want(running.wish(image=fetched.source()))
    running.box.reports.wait_for("i-1", "running")
    steps = [report for report in running.box.reports.of("i-1", "step") if report.step == "fetch"]  # type: ignore[union-attr]
    assert [(step.size_bytes, step.sources) for step in steps] == [(1000, {"near": 600, "far": 400})]  # type: ignore[union-attr]
    assert running.layers.planned == [fetched.manifest]


def test_every_step_of_a_start_is_told_with_its_time_before_it_runs(running: Running) -> None:
    running.want(running.wish())
    running.box.reports.wait_for("i-1", "running")
    steps = running.box.reports.of("i-1", "step")
    assert {report.step for report in steps} >= {"network", "create", "launch", "ready"}  # type: ignore[union-attr]
    assert all(report.took_s >= 0 for report in steps)  # type: ignore[union-attr]


def test_stopping_leaves_nothing_but_the_output(running: Running) -> None:
    wish = running.want(
        running.wish(service={"command": ["sh", "-c", "echo started; httpd -f -p 8000 -h /www"]})
    )
    running.box.reports.wait_for("i-1", "running")
    assert len(running.engine.networks(LABELS)) >= 1
    used = running.role._instances.get("i-1").network  # type: ignore[union-attr]
    running.stop(wish)
    assert running.is_clean("i-1")
    assert used not in running.engine.networks(LABELS)
    assert (running.box.context.paths.logs / "instances" / "i-1.1.log").read_text() == "started\n"


def test_a_running_instance_is_reported_again_only_now_and_then(running: Running) -> None:
    running.want(running.wish())
    running.box.reports.wait_for("i-1", "running")
    for _ in range(5):
        running.driver.wake(Role.COMPUTE, "i-1")
    wait_until(lambda: not running.box.context.jobs.is_running((Role.COMPUTE, "i-1")))
    assert len(running.box.reports.of("i-1", "running")) == 1


def test_what_exceeds_the_box_is_refused(running: Running) -> None:
    running.want(running.wish("i-1", service={"resources": Resources(cpu=0.7, memory_bytes=2**20)}))
    running.box.reports.wait_for("i-1", "running")
    running.want(running.wish("i-2", service={"resources": Resources(cpu=0.4, memory_bytes=2**20)}))
    refusal = running.box.reports.wait_for("i-2", "failed")
    assert refusal.reason == "no-room"  # type: ignore[union-attr]
    assert running.is_clean("i-2")
    assert running.role.facts().used.cpu == pytest.approx(0.7)


def test_a_mount_waits_for_its_filestore_and_is_seen_inside(running: Running, shared_directory: Path) -> None:
    (shared_directory / "files").mkdir()
    (shared_directory / "files" / "index.html").write_text("mounted\n")
    mount = MountWish(fileset="files", version=1, target="/www", mode=MountMode.READ_ONLY, filestore="near")
    wish = running.want(running.wish(mounts=[mount]))
    made = running.box.reports.wait_for("i-1", "key")
    assert made.public_key == "ssh-ed25519 i-1-files"  # type: ignore[union-attr]
    assert not running.box.reports.of("i-1", "running")
    ready = mount.model_copy(update={"endpoint": HERE, "host_key": "ssh-ed25519 host"})
    wish = running.want(wish.model_copy(update={"version": 2, "mounts": [ready]}))
    running.box.reports.wait_for("i-1", "running")
    assert running.page("i-1") == "mounted\n"
    running.stop(wish)
    assert running.is_clean("i-1")


def test_a_fileset_that_cannot_be_mounted_fails_the_instance_and_leaves_nothing(running: Running) -> None:
    running.mounter.failing.add("files")
    mount = MountWish(
        fileset="files", version=1, target="/data", mode=MountMode.READ_WRITE, filestore="near", endpoint=HERE
    )
    running.want(running.wish(mounts=[mount]))
    failure = running.box.reports.wait_for("i-1", "failed")
    assert failure.reason == "no-mount"  # type: ignore[union-attr]
    assert "files" in failure.message  # type: ignore[union-attr]
    assert running.is_clean("i-1")


def test_a_stop_during_a_mount_undoes_the_mount_when_it_comes(running: Running) -> None:
    running.mounter.waiting.add("files")
    mount = MountWish(
        fileset="files", version=1, target="/data", mode=MountMode.READ_WRITE, filestore="near", endpoint=HERE
    )
    wish = running.want(running.wish(mounts=[mount]))
    assert running.mounter.began.wait(10)
    running.want(wish.model_copy(update={"wanted": "stopped", "version": 2}))
    wait_until(lambda: running.role._instances.get("i-1").state is Stage.ENDING)  # type: ignore[union-attr]
    assert not running.box.reports.of("i-1", "stopped")
    running.mounter.go.set()
    running.box.reports.wait_for("i-1", "stopped")
    assert running.is_clean("i-1")


def test_stops_are_answered_while_every_fetch_is_frozen(running: Running) -> None:
    running.registry.frozen.set()
    wishes = []
    for number in range(6):
        image = make_image(f"frozen-{number}")
        running.registry.images.append(image)
        wishes.append(running.want(running.wish(f"i-{number}", image=image.source())))
    assert running.registry.asked.wait(10)
    for wish in wishes:
        running.want(wish.model_copy(update={"wanted": "stopped", "version": 2}))
    for wish in wishes:
        running.box.reports.wait_for(wish.instance, "stopped", limit_s=2)
        assert running.is_clean(wish.instance)


def test_two_instances_of_one_image_share_one_pull(running: Running) -> None:
    shared = make_image("shared")
    running.registry.images.append(shared)
    running.registry.frozen.set()
    running.want(running.wish("i-1", image=shared.source()))
    running.want(running.wish("i-2", image=shared.source()))
    wait_until(lambda: running.role._instances.get("i-2") is not None)
    running.registry.frozen.clear()
    for instance in ("i-1", "i-2"):
        running.box.reports.wait_for(instance, "running")
    assert running.layers.planned == [shared.manifest]


def test_an_image_that_cannot_be_had_fails_the_instance(running: Running) -> None:
    running.want(running.wish(image=make_image("nowhere").source()))
    failure = running.box.reports.wait_for("i-1", "failed")
    assert failure.reason in ("no-source", "bad-image")  # type: ignore[union-attr]
    assert "sample@sha256" in failure.message  # type: ignore[union-attr]
    assert running.is_clean("i-1")


def test_an_instance_that_never_answers_fails_with_its_last_words_but_not_its_secrets(
    running: Running,
) -> None:
    key = running.box.context.seal_key.public_key
    running.want(
        running.wish(
            service={
                "command": ["sh", "-c", "echo the password is $PASSWORD; sleep 60"],
                "readiness": Readiness(timeout_s=0.5),
            },
            sealed={"PASSWORD": seal(key, "marked-secret")},
        )
    )
    failure = running.box.reports.wait_for("i-1", "failed")
    assert failure.reason == "not-ready"  # type: ignore[union-attr]
    assert "the password is …" in failure.message  # type: ignore[union-attr]
    assert "marked-secret" not in "".join(report.model_dump_json() for report in running.box.reports.all)
    assert running.is_clean("i-1")


def test_a_secret_is_in_the_containers_environment_and_in_no_label(running: Running) -> None:
    key = running.box.context.seal_key.public_key
    running.want(
        running.wish(
            service={"command": ["sh", "-c", "echo $PASSWORD > /www/secret; httpd -f -p 8000 -h /www"]},
            sealed={"PASSWORD": seal(key, "marked-secret")},
        )
    )
    running.box.reports.wait_for("i-1", "running")
    assert running.page("i-1", "/secret") == "marked-secret\n"
    assert "marked-secret" not in str([facts.labels for facts in running.engine.containers(LABELS)])


def test_an_instance_that_ends_by_itself_has_failed_and_says_why(running: Running) -> None:
    running.want(
        running.wish(service={"command": ["sh", "-c", "httpd -p 8000 -h /www; sleep 1; echo oh no; exit 4"]})
    )
    running.box.reports.wait_for("i-1", "running")
    failure = running.box.reports.wait_for("i-1", "failed")
    assert failure.reason == "exited"  # type: ignore[union-attr]
    assert "exit code 4" in failure.message  # type: ignore[union-attr]
    assert "oh no" in failure.message  # type: ignore[union-attr]
    assert running.is_clean("i-1")


def test_a_job_that_ends_is_stopped_with_its_exit_code_and_does_not_run_again(running: Running) -> None:
    job = {"command": ["sh", "-c", "sleep 0.2; exit 7"], "port": None, "access": Job()}
    running.want(running.wish(service=job))
    stopped = running.box.reports.wait_for("i-1", "stopped")
    assert stopped.exit_code == 7  # type: ignore[union-attr]
    running.driver.wake(Role.COMPUTE, "i-1")
    wait_until(lambda: not running.box.context.jobs.is_running((Role.COMPUTE, "i-1")))
    assert running.is_clean("i-1")


def test_an_invitation_that_was_ended_and_the_way_of_access_reach_the_gateways_tables(
    running: Running,
) -> None:
    terminal = {"access": Terminal.model_validate({"shell": ["sh"]}), "port": None, "readiness": Readiness()}
    wish = running.want(running.wish(service=terminal))
    running.box.reports.wait_for("i-1", "running")
    table = running.role._context.table
    row = Instances(table).get("i-1")
    assert row is not None
    assert row.access == Terminal.model_validate({"shell": ["sh"]})
    running.want(wish.model_copy(update={"ended_shares": ["s-1"], "version": 2}))
    wait_until(lambda: EndedShares(table).has("s-1"), 10, "the ended invitation")
    running.stop(wish.model_copy(update={"ended_shares": ["s-1"], "version": 3}))


def test_a_newer_generation_replaces_the_older_and_an_older_is_ignored(running: Running) -> None:
    first = running.want(running.wish())
    running.box.reports.wait_for("i-1", "running")
    running.want(first.model_copy(update={"generation": 2}))
    wait_until(lambda: len(running.box.reports.of("i-1", "running")) == 2, 15)
    labels = [facts.labels["openraas.generation"] for facts in running.engine.containers(LABELS)]
    assert labels == ["2"]
    running.role.converge(first.model_copy(update={"wanted": "stopped"}))
    assert running.page("i-1") == "hello from the container\n"


def test_a_restarted_worker_adopts_what_runs_and_removes_what_nobody_knows(running: Running) -> None:
    running.want(running.wish())
    running.box.reports.wait_for("i-1", "running")
    (mine,) = running.engine.containers(LABELS)
    running.want(running.wish("i-2"))
    running.box.reports.wait_for("i-2", "running")
    running.box.context.table.write("DELETE FROM instances WHERE instance = 'i-2'")
    again = Compute(running.box.context, mounter=running.mounter, layers=running.layers)
    again.start()
    assert [facts.id for facts in running.engine.containers(LABELS)] == [mine.id]
    assert running.page("i-1") == "hello from the container\n"


def test_an_instance_that_the_master_no_longer_lists_is_undone(running: Running) -> None:
    running.want(running.wish())
    running.box.reports.wait_for("i-1", "running")
    running.box.drop(Role.COMPUTE, "i-1")
    running.driver.converge_all()
    wait_until(lambda: running.is_clean("i-1"))
    wait_until(lambda: running.role._instances.get("i-1") is None)


def test_a_container_that_writes_more_than_its_limit_is_ended(running: Running) -> None:
    write = "dd if=/dev/zero of=/tmp/much bs=1M count=5; httpd -f -p 8000 -h /www"
    running.want(
        running.wish(
            service={
                "command": ["sh", "-c", write],
                "resources": Resources(cpu=0.1, memory_bytes=32 * 2**20, disk_bytes=2**20),
            }
        )
    )
    running.box.reports.wait_for("i-1", "running")
    running.role._caretaking._enforce_limits()
    failure = running.box.reports.wait_for("i-1", "failed")
    assert "its limit is 1.0 MiB" in failure.message  # type: ignore[union-attr]


def test_a_box_that_its_owner_switches_off_sends_its_instances_away(running: Running) -> None:
    running.want(running.wish())
    running.box.reports.wait_for("i-1", "running")
    switch = Switch(running.box.context.config.state_dir)
    running.role.tidy()
    assert running.box.reports.kinds("i-1")[-1] == "running"
    switch.turn(off=True)
    running.role.tidy()
    failure = running.box.reports.wait_for("i-1", "failed")
    assert failure.reason == "no-room"  # type: ignore[union-attr] # placed on another box
    assert "switched" in failure.message  # type: ignore[union-attr]
    assert running.is_clean("i-1")
