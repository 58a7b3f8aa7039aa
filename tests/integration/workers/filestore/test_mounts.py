"""Mounts of a compute box: shared, counted, adopted, healed, and gone without a trace."""

from __future__ import annotations

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from common.errors import OpenRaaSError
from tests.support.files import MIB, RW, Computer, Store, Use, eventually, names
from tests.support.redis import wait_until
from workers.compute import mount_points
from workers.filestore.processes import running

HOME = 64 * MIB


def daemon_of(computer: Computer, name: str) -> int:
    row = computer.box.context.table.one("SELECT pid FROM mounts WHERE name = ?", (name,))
    assert row is not None
    return int(row["pid"])


def test_a_read_only_version_is_mounted_once_for_all_instances_of_a_box(
    store: Store, computer: Computer
) -> None:
    store.put("fs-site", 1, {"a": "a"})
    one, two = (Use(store, computer, "fs-site", instance=name) for name in ("i-1", "i-2"))
    root = one.begin()
    assert two.begin() == root
    assert one.export_wish.public_keys == two.export_wish.public_keys
    assert store.sessions() == 1
    one.end()
    assert (root / "a").read_text() == "a"
    two.end()
    assert not root.exists()


def test_nothing_is_left_after_the_last_mount(store: Store, computer: Computer) -> None:
    store.put("fs-site", 1, {"a": "a"})
    uses = [
        Use(store, computer, "fs-site"),
        Use(store, computer, "fs-home", mode=RW, limit_bytes=HOME),
    ]
    points = [use.begin() for use in uses]
    for use in uses:
        use.end()
    paths = computer.box.context.paths
    assert mount_points.mounted(paths.root) == []
    assert list(paths.keys.iterdir()) == []
    assert list(paths.mounts.iterdir()) == []
    assert all(running("sshfs", str(point)) is None for point in points)
    assert store.sessions() == 0
    assert mount_points.mounted(store.paths.root) == []
    assert store.box.context.table.all("SELECT * FROM fileset_grants") == []
    assert (store.paths.exports / "authorized_keys").read_text() == ""


def test_a_restarted_worker_finds_its_mounts_again(store: Store, computer: Computer) -> None:
    use = Use(store, computer, "fs-home", mode=RW, limit_bytes=HOME)
    root = use.begin()
    before = daemon_of(computer, root.name)
    with (root / "open").open("w") as file:
        computer.restart()
        file.write("across the restart")
    assert (root / "open").read_text() == "across the restart"
    assert use.mount() == root
    assert daemon_of(computer, root.name) == before
    use.end()
    assert not root.exists()


def test_a_restarted_filestore_keeps_its_exports_and_sessions(store: Store, computer: Computer) -> None:
    use = Use(store, computer, "fs-home", mode=RW, limit_bytes=HOME)
    root = use.begin()
    store.role.start()
    (root / "a").write_text("still there")
    assert store.sessions() == 1
    use.end()
    assert store.sessions() == 0


def test_a_mount_that_nobody_knows_is_taken_away_at_the_start(store: Store, computer: Computer) -> None:
    use = Use(store, computer, "fs-home", mode=RW, limit_bytes=HOME)
    root = use.begin()
    computer.box.context.table.write("DELETE FROM mounts")
    computer.restart()
    assert mount_points.layers(root) == 0


def test_a_container_sees_a_mount_come_back_whose_daemon_died(
    store: Store, computer: Computer, tmp_path: Path
) -> None:
    use = Use(store, computer, "fs-home", mode=RW, limit_bytes=HOME)
    root = use.begin()
    (root / "a").write_text("a")
    inside = tmp_path / "inside"
    inside.mkdir()
    # What a container engine does with propagation rslave, in a mount namespace of its own.
    script = f"mount --rbind {root} {inside} && mount --make-rslave {inside} && exec sleep 60"
    container = subprocess.Popen(["unshare", "--mount", "--propagation", "slave", "sh", "-c", script])
    seen = Path(f"/proc/{container.pid}/root{inside}/a")
    try:
        wait_until(seen.exists, what="the container's mount")
        first = daemon_of(computer, root.name)
        os.kill(first, signal.SIGKILL)
        eventually(lambda: _gone(root), 5, "the daemon's end")
        computer.mounts.renew(use.wish)
        assert eventually((root / "a").read_text, 10, "healed on the box") == "a"
        assert eventually(seen.read_text, 5, "healed in the container") == "a"
        assert daemon_of(computer, root.name) != first
    finally:
        container.kill()
        container.wait()
    use.end()
    assert mount_points.mounted(computer.box.context.paths.root) == []


def _gone(root: Path) -> None:
    try:
        names(root)
    except OSError:
        return
    raise BlockingIOError("still there")


def test_an_old_generation_leaves_the_mounts_of_the_new_one_alone(store: Store, computer: Computer) -> None:
    old = Use(store, computer, "fs-home", mode=RW, limit_bytes=HOME, generation=1, fence=1)
    old_root = old.begin()
    new = Use(store, computer, "fs-home", mode=RW, limit_bytes=HOME, generation=2, fence=2)
    new_root = new.begin()
    computer.mounts.release("i-1", 1)
    assert not old_root.exists()
    (new_root / "a").write_text("a")


def test_a_release_is_done_twice_without_harm(store: Store, computer: Computer) -> None:
    use = Use(store, computer, "fs-home", mode=RW, limit_bytes=HOME)
    use.begin()
    use.end()
    use.end()
    computer.mounts.release("i-unknown", 1)


def test_a_machine_without_fuse_is_told_what_to_do(
    computer: Computer, monkeypatch: pytest.MonkeyPatch
) -> None:
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: str(path) != "/dev/fuse" and exists(path))
    with pytest.raises(OpenRaaSError, match=r"no /dev/fuse.*modprobe fuse"):
        computer.restart()


def test_a_machine_without_loop_devices_is_told_what_to_do(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: str(path) != "/dev/loop-control" and exists(path))
    with pytest.raises(OpenRaaSError, match=r"no loop devices.*modprobe loop"):
        store.role.start()


def test_mount_daemons_outlive_the_worker_that_started_them(store: Store, computer: Computer) -> None:
    use = Use(store, computer, "fs-home", mode=RW, limit_bytes=HOME)
    root = use.begin()
    daemon = daemon_of(computer, root.name)
    assert os.getsid(daemon) != os.getsid(0)
    assert os.getpgid(daemon) != os.getpgid(0)


def test_a_classroom_that_begins_together_is_let_in_whole(store: Store, computer: Computer) -> None:
    uses = [
        Use(store, computer, f"fs-home-{number}", mode=RW, instance=f"i-{number}", limit_bytes=16 * MIB)
        for number in range(12)
    ]
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda use: store.role.converge(use.export_wish), uses))
    keys = (store.paths.exports / "authorized_keys").read_text()
    assert all(use.export_wish.public_keys[0] in keys for use in uses)
    with ThreadPoolExecutor(12) as pool:
        roots = list(pool.map(Use.begin, uses))
    for root in roots:
        (root / "a").write_text(root.name)
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(Use.end, uses))
    assert mount_points.mounted(store.paths.root) == []
    assert mount_points.mounted(computer.box.context.paths.root) == []


def test_an_export_that_the_master_forgot_ends(store: Store, computer: Computer) -> None:
    use = Use(store, computer, "fs-home", mode=RW, limit_bytes=HOME)
    use.begin()
    store.role.forget("fileset.fs-home")
    assert store.sessions() == 1
    store.role.forget(use.export_wish.subject)
    assert store.sessions() == 0
    assert store.volumes.open_homes() == []
    assert store.volumes.is_home("fs-home")


def test_asking_again_reports_again_and_does_nothing(store: Store, computer: Computer) -> None:
    use = Use(store, computer, "fs-home", mode=RW, limit_bytes=HOME)
    use.begin()
    for _ in range(3):
        use.export()
    kinds = store.box.reports.kinds(use.export_wish.subject)
    assert kinds == ["step:export", "exported", "exported", "exported", "exported"]
    assert store.sessions() == 1
    use.end()
    use.end()
    assert store.box.reports.kinds(use.export_wish.subject)[5:] == ["ended", "ended"]


def test_a_mount_namespace_of_somebody_else_keeps_nothing_alive(store: Store, computer: Computer) -> None:
    use = Use(store, computer, "fs-home", mode=RW, limit_bytes=HOME)
    root = use.begin()
    (root / "a").write_text("a")
    bystander = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sleep", "60"])
    try:
        wait_until(lambda: _has_own_mounts(bystander.pid), what="the bystander's mount namespace")
        daemon = daemon_of(computer, root.name)
        use.end()
        assert not Path(f"/proc/{daemon}/exe").exists()
        assert store.sessions() == 0
        root = Use(store, computer, "fs-home", mode=RW, limit_bytes=HOME, instance="i-2", fence=2).begin()
        assert (root / "a").read_text() == "a"
    finally:
        bystander.kill()
        bystander.wait()


def _has_own_mounts(pid: int) -> bool:
    return Path(f"/proc/{pid}/ns/mnt").readlink() != Path("/proc/self/ns/mnt").readlink()
