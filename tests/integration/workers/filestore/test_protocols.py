"""The conformance test of file protocols: what every one in the table has to do."""

from __future__ import annotations

import hashlib
import os
import signal
import stat
import time
from pathlib import Path

import pytest

from common.reports import Failed
from tests.support.files import MIB, RO, RW, Computer, Store, Use, eventually, names, within
from workers.filestore import protocols
from workers.filestore.errors import MountError

HOME = 64 * MIB
# A server that does not answer gives an error within this; the design says at most nine seconds.
BOUND_S = 9.0


@pytest.fixture(autouse=True, params=protocols.names())
def protocol(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(protocols, "DEFAULT", request.param)
    return str(request.param)


def home(store: Store, computer: Computer, **options: object) -> Use:
    values = {"mode": RW, "limit_bytes": HOME, **options}
    return Use(store, computer, "fs-home", **values)  # type: ignore[arg-type]


def test_a_read_only_fileset_reads_as_it_was_put(store: Store, computer: Computer) -> None:
    store.put("fs-site", 1, {"index.html": "<p>hello", "deep/er/file": "x" * 100_000})
    root = Use(store, computer, "fs-site").begin()
    assert names(root) == ["deep", "index.html"]
    assert (root / "index.html").read_text() == "<p>hello"
    assert (root / "deep/er/file").read_text() == "x" * 100_000


def test_a_read_only_fileset_refuses_every_change(store: Store, computer: Computer) -> None:
    store.put("fs-site", 1, {"index.html": "<p>hello"})
    root = Use(store, computer, "fs-site").begin()
    for change in (
        lambda: (root / "new").write_text("x"),
        lambda: (root / "index.html").write_text("x"),
        lambda: (root / "index.html").unlink(),
        lambda: (root / "dir").mkdir(),
        lambda: (root / "index.html").chmod(0o777),
    ):
        with pytest.raises(OSError):
            change()


def test_the_server_refuses_changes_even_if_the_client_wants_them(store: Store, computer: Computer) -> None:
    tree = store.put("fs-site", 1, {"index.html": "<p>hello"})
    use = Use(store, computer, "fs-site")
    use.export()
    lying = use.mount_wish.model_copy(update={"mode": RW})
    computer.mounts.key(use.wish, lying)
    keys = computer.box.context.paths.keys
    honest, liar = keys / "fs-site.1.store.ro", keys / "i-1.1.fs-site.rw"
    for file in honest.glob("key-*"):
        (liar / file.name).write_bytes(file.read_bytes())
    root = computer.mounts.mount(use.wish, lying)
    assert (root / "index.html").read_text() == "<p>hello"
    with pytest.raises(OSError):
        (root / "index.html").write_text("defaced")
    assert (tree / "index.html").read_text() == "<p>hello"


def test_a_home_keeps_what_is_written_modes_and_links(store: Store, computer: Computer) -> None:
    use = home(store, computer)
    root = use.begin()
    (root / "note").write_text("first")
    (root / "script").write_text("#!/bin/sh\n")
    (root / "script").chmod(0o751)
    (root / "secret").write_text("s")
    (root / "secret").chmod(0o600)
    (root / "dir").mkdir(mode=0o700)
    (root / "relative").symlink_to("note")
    (root / "absolute").symlink_to("/etc/hostname")
    (root / "dangling").symlink_to("../../nowhere")
    use.end()
    root = home(store, computer, instance="i-2", fence=2).begin()
    assert (root / "note").read_text() == "first"
    modes = {name: stat.S_IMODE((root / name).stat().st_mode) for name in ("script", "secret", "dir")}
    assert modes == {"script": 0o751, "secret": 0o600, "dir": 0o700}
    assert (root / "relative").readlink() == Path("note")
    assert (root / "absolute").readlink() == Path("/etc/hostname")
    assert (root / "dangling").readlink() == Path("../../nowhere")
    assert (root / "relative").read_text() == "first"


def test_modes_are_as_asked_for_and_not_as_the_server_would_have_them(
    store: Store, computer: Computer
) -> None:
    root = home(store, computer).begin()
    former = os.umask(0)
    try:
        os.close(os.open(root / "open-to-all", os.O_CREAT | os.O_WRONLY, 0o666))
        (root / "shared").mkdir()
    finally:
        os.umask(former)
    assert stat.S_IMODE((root / "open-to-all").stat().st_mode) == 0o666
    assert stat.S_IMODE((root / "shared").stat().st_mode) == 0o777


def test_a_rename_replaces_what_was_there(store: Store, computer: Computer) -> None:
    root = home(store, computer).begin()
    (root / "old").write_text("old")
    (root / "new").write_text("new")
    (root / "new").rename(root / "old")
    assert (root / "old").read_text() == "new"
    assert names(root) == ["old"]


def test_files_are_written_in_the_middle_appended_and_cut(store: Store, computer: Computer) -> None:
    root = home(store, computer).begin()
    with (root / "file").open("w+b") as file:
        file.write(b"a" * 1000)
        file.seek(10)
        file.write(b"BB")
        file.flush()
        os.fsync(file.fileno())
        file.truncate(20)
    with (root / "file").open("ab") as file:
        file.write(b"end")
    assert (root / "file").read_bytes() == b"a" * 10 + b"BB" + b"a" * 8 + b"end"


def test_many_small_files_and_a_large_one_arrive_whole(store: Store, computer: Computer) -> None:
    use = home(store, computer)
    root = use.begin()
    (root / "many").mkdir()
    for number in range(300):
        (root / "many" / str(number)).write_text(str(number))
    large = os.urandom(24 * MIB)
    (root / "large").write_bytes(large)
    use.end()
    root = home(store, computer, instance="i-2", fence=2).begin()
    assert {(root / "many" / name).read_text() for name in names(root / "many")} == {
        str(number) for number in range(300)
    }
    assert hashlib.sha256((root / "large").read_bytes()).digest() == hashlib.sha256(large).digest()


def test_a_home_takes_no_more_than_its_limit(store: Store, computer: Computer) -> None:
    limit = 16 * MIB
    root = home(store, computer, limit_bytes=limit).begin()
    with pytest.raises(OSError):
        (root / "big").write_bytes(bytes(2 * limit))
    facts = os.statvfs(root)
    assert facts.f_bavail * facts.f_frsize < MIB
    assert (store.paths.filesets / "fs-home/home.img").stat().st_size == limit
    (root / "big").unlink()
    (root / "small").write_text("there is room again")
    assert (root / "small").read_text() == "there is room again"


def test_a_home_whose_limit_grew_has_more_room(store: Store, computer: Computer) -> None:
    use = home(store, computer, limit_bytes=16 * MIB)
    (use.begin() / "kept").write_text("kept")
    use.end()
    root = home(store, computer, limit_bytes=48 * MIB, fence=2, instance="i-2").begin()
    (root / "big").write_bytes(bytes(24 * MIB))
    assert (root / "kept").read_text() == "kept"


def test_the_container_sees_the_files_as_its_users_own(store: Store, computer: Computer) -> None:
    root = home(store, computer, user="1000:1001").begin()
    (root / "mine").write_text("x")
    assert ((root / "mine").stat().st_uid, (root / "mine").stat().st_gid) == (1000, 1001)
    on_store = store.paths.exports / "homes/fs-home/data/mine"
    assert on_store.stat().st_uid == store.volumes.uid("fs-home")


def test_every_fileset_has_a_user_id_of_its_own(store: Store) -> None:
    uids = [store.volumes.uid(fileset) for fileset in ("fs-a", "fs-b", "fs-a", "fs-c")]
    assert uids == [200_000, 200_001, 200_000, 200_002]


def test_a_mount_gives_no_privileges(store: Store, computer: Computer) -> None:
    root = home(store, computer).begin()
    flags = os.statvfs(root).f_flag
    assert flags & os.ST_NOSUID
    assert flags & os.ST_NODEV


def test_a_key_that_was_not_let_in_opens_nothing(store: Store, computer: Computer, other: Computer) -> None:
    use = home(store, computer)
    use.export()
    stranger = home(store, other)
    stranger.wish, stranger.mount_wish = use.wish, use.mount_wish
    with pytest.raises(MountError, match="does not let this key in"):
        stranger.mount()


def test_a_server_that_is_not_the_named_one_is_not_talked_to(store: Store, computer: Computer) -> None:
    use = home(store, computer)
    use.export()
    false_key = computer.mounts.key(use.wish, use.mount_wish)
    use.mount_wish = use.mount_wish.model_copy(update={"host_key": false_key})
    with pytest.raises(MountError, match="not the filestore that the master named"):
        use.mount()


def test_something_that_is_no_key_is_refused_and_harms_nobody(store: Store, computer: Computer) -> None:
    use = home(store, computer)
    root = use.begin()
    bad = use.export_wish.model_copy(
        update={
            "subject": "i-9.fs-home",
            "instance": "i-9",
            "public_keys": ["ssh-ed25519 AAAA\nssh-ed25519 BBBB"],
        }
    )
    answer = store.try_export(bad)
    assert isinstance(answer, Failed)
    assert answer.reason == "refused"
    use.export()
    (root / "still").write_text("works")


def test_a_fileset_that_is_not_here_is_named(store: Store, computer: Computer) -> None:
    answer = store.try_export(Use(store, computer, "fs-none", version=3).export_wish)
    assert isinstance(answer, Failed)
    assert answer.reason == "no-mount"
    assert "Version 3 of the fileset fs-none" in answer.message


def test_only_a_home_may_be_written(store: Store, computer: Computer) -> None:
    store.put("fs-site", 1, {"a": "a"})
    answer = store.try_export(Use(store, computer, "fs-site", mode=RW).export_wish)
    assert isinstance(answer, Failed)
    assert answer.reason == "refused"


def test_a_fenced_writer_gets_an_error_and_never_comes_back(
    store: Store, computer: Computer, other: Computer
) -> None:
    old = home(store, computer, fence=1)
    old_root = old.begin()
    old_file = (old_root / "diary").open("a")
    old_file.write("old\n")
    old_file.flush()
    new_root = home(store, other, fence=2, generation=2).begin()
    for attempt in (lambda: (old_root / "diary").write_text("no"), lambda: (old_root / "x").mkdir()):
        with pytest.raises(OSError):
            within(BOUND_S, attempt)
    with pytest.raises(OSError):
        old_file.write("still here\n")
        old_file.close()
    old.export_wish = old.export_wish.model_copy(update={"subject": "i-0.fs-home", "instance": "i-0"})
    answer = store.try_export(old.export_wish)
    assert isinstance(answer, Failed)
    assert "newer writer" in answer.message
    assert (new_root / "diary").read_text() == "old\n"
    (new_root / "diary").write_text("new\n")
    assert (new_root / "diary").read_text() == "new\n"


def test_the_fence_holds_after_a_restart(store: Store, computer: Computer) -> None:
    use = home(store, computer, fence=5)
    use.begin()
    use.end()
    store.kill()
    again = Store(store.box)
    try:
        late = home(again, computer, fence=4, instance="i-late")
        assert isinstance(again.try_export(late.export_wish), Failed)
    finally:
        again.kill()
        store.serve()


def test_two_deployments_of_one_person_share_a_home_on_one_box(store: Store, computer: Computer) -> None:
    one = home(store, computer, instance="i-1").begin()
    two = home(store, computer, instance="i-2").begin()
    assert one != two
    (one / "from-one").write_text("1")
    assert eventually((two / "from-one").read_text, 5, "seen by the other") == "1"
    (two / "from-two").write_text("2")
    assert eventually((one / "from-two").read_text, 5, "seen by the other") == "2"


def test_the_end_of_an_export_ends_its_sessions(store: Store, computer: Computer) -> None:
    use = home(store, computer)
    root = use.begin()
    (root / "a").write_text("a")
    assert store.sessions() == 1
    store.end(use.export_wish)
    assert store.sessions() == 0
    with pytest.raises(OSError):
        within(BOUND_S, lambda: (root / "b").write_text("b"))
    assert store.sessions() == 0
    assert not (store.paths.exports / "homes/fs-home").exists()
    assert list((store.paths.exports / "sessions").iterdir()) == []


def test_a_session_survives_the_renewal_of_its_key(
    store: Store, computer: Computer, monkeypatch: pytest.MonkeyPatch
) -> None:
    use = home(store, computer)
    root = use.begin()
    first = use.export_wish.public_keys[0]
    file = (root / "open").open("w")
    config = computer.box.context.config.model_copy(update={"key_renewal_s": 0.0})
    monkeypatch.setattr(computer.mounts, "_context", _with(computer, config))
    (second,) = use.renew()
    (third,) = use.renew()
    assert len({first, second, third}) == 3
    assert use.export_wish.public_keys == [second, third]
    file.write("written after the first key was gone")
    file.close()
    assert (root / "open").read_text() == "written after the first key was gone"
    store.kill()
    store.serve()
    assert eventually((root / "open").read_text, 15, "a new connection with the new key")


def _with(computer: Computer, config: object) -> object:
    import dataclasses

    return dataclasses.replace(computer.box.context, config=config)  # type: ignore[arg-type]


def test_a_key_that_the_filestore_does_not_know_yet_leaves_the_old_one_in_use(
    store: Store, computer: Computer, monkeypatch: pytest.MonkeyPatch
) -> None:
    use = home(store, computer)
    root = use.begin()
    (root / "a").write_text("a")
    config = computer.box.context.config.model_copy(update={"key_renewal_s": 0.0})
    monkeypatch.setattr(computer.mounts, "_context", _with(computer, config))
    assert len(computer.mounts.renew(use.wish)) == 1
    assert computer.mounts.renew(use.wish) == []
    store.kill()
    store.serve()
    assert eventually((root / "a").read_text, 15, "a new connection with the old key") == "a"


def test_a_killed_server_gives_errors_soon_and_heals(store: Store, computer: Computer) -> None:
    root = home(store, computer).begin()
    (root / "a").write_text("a")
    store.kill()
    began = time.monotonic()
    with pytest.raises(OSError):
        within(BOUND_S, lambda: (root / "b").write_text("b"))
    assert time.monotonic() - began < BOUND_S
    store.serve()
    eventually(lambda: (root / "c").write_text("c"), 15, "healed")
    assert (root / "a").read_text() == "a"


def test_a_frozen_server_gives_errors_in_bounded_time_and_heals(store: Store, computer: Computer) -> None:
    root = home(store, computer).begin()
    (root / "a").write_text("a")
    store.signal(signal.SIGSTOP)
    with pytest.raises(OSError):
        within(BOUND_S, lambda: (root / "b").write_text("b"))
    with pytest.raises(OSError):
        within(BOUND_S, lambda: (root / "d").write_text("d"))
    store.signal(signal.SIGCONT)
    eventually(lambda: (root / "c").write_text("c"), 15, "healed")


def test_a_mount_of_a_server_that_is_away_fails_within_its_limit(store: Store, computer: Computer) -> None:
    use = home(store, computer)
    use.export()
    store.kill()
    began = time.monotonic()
    with pytest.raises(MountError, match="no filestore listens there"):
        within(10, use.mount)
    assert time.monotonic() - began < 7
    store.serve()
    assert within(10, use.mount).is_dir()


def test_a_read_only_home_can_be_read_elsewhere_while_it_is_written(
    store: Store, computer: Computer, other: Computer
) -> None:
    root = home(store, computer).begin()
    (root / "a").write_text("a")
    reader = home(store, other, mode=RO, instance="i-2", fence=1).begin()
    assert (reader / "a").read_text() == "a"
    with pytest.raises(OSError):
        (reader / "b").write_text("b")
