"""A filestore copies a version of a fileset, and follows a home that is written on another box."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.names import wish_key
from common.reports import Failed, FilesetHeld
from common.tickets import FilesetTicket, issue
from common.wishes import FilesetSource, FilesetWish
from common.words import Endpoint, Role
from tests.support.files import MIB, RW, Computer, Store, Use, names, need_files, running_store
from tests.support.redis import RedisServer, wait_until
from workers.box.front import make_server
from workers.filestore import archive, copies
from workers.filestore.content import Content
from workers.filestore.fetching import Pace

SITE, HOME = "fs-site", "fs-home"


@pytest.fixture
def source(store: Store) -> Iterator[Endpoint]:
    """The front of the filestore that has the content."""
    context = store.box.context
    server = make_server(
        ("127.0.0.1", 0), [Content(context.config, context.paths, context.table, context.verifier)]
    )
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield Endpoint(host="127.0.0.1", port=server.server_address[1])
    server.shutdown()
    server.server_close()


@pytest.fixture
def second(tmp_path: Path, redis_server: RedisServer) -> Iterator[Store]:
    need_files()
    with running_store(tmp_path / "second", redis_server, box="second") as made:
        made.box.redis.delete(wish_key("second"))
        yield made


def wish(
    store: Store, endpoint: Endpoint, fileset: str = SITE, version: int = 1, **facts: object
) -> FilesetWish:
    ticket = FilesetTicket(
        user="box.second", box="store", fileset=fileset, version=version, action="get", size_limit_bytes=64 * MIB,
        expires_at=time.time() + 60,
    )  # fmt: skip
    values = {
        "subject": f"fileset.{fileset}",
        "generation": 0,
        "version": 1,
        "wanted": "held",
        "fileset": fileset,
        "fileset_version": version,
        "source": FilesetSource(box="store", endpoint=endpoint, ticket=issue(store.box.signer, ticket)),
        **facts,
    }
    return FilesetWish(**values)  # type: ignore[arg-type]


def follow(store: Store, endpoint: Endpoint, **facts: object) -> FilesetWish:
    values: dict[str, object] = {"follows": True, "size_limit_bytes": 64 * MIB}
    return wish(store, endpoint, HOME, **values | facts)


def obey(store: Store, asked: FilesetWish) -> None:
    """As the worker does it: the wish on the list, then converge."""
    store.box.wish(asked)
    current = store.box.context.wishes.current(Role.FILESTORE, asked.subject)
    assert isinstance(current, FilesetWish)
    store.role.converge(current)


def told(store: Store, fileset: str) -> list[FilesetHeld]:
    return [
        item
        for item in store.box.reports.of(f"fileset.{fileset}", "fileset")
        if isinstance(item, FilesetHeld)
    ]


def idle(store: Store, fileset: str) -> None:
    wait_until(lambda: not store.box.context.jobs.is_running(("copy", fileset)), what="the end of the copy")


def test_a_version_comes_whole_from_another_filestore_and_is_served_like_one_that_was_put(
    store: Store, source: Endpoint, second: Store, computer: Computer
) -> None:
    tree = store.put(SITE, 1, {"index.html": "<p>hello", "deep/data": "x" * 500_000})
    (tree / "link").symlink_to("index.html")
    obey(second, wish(store, source))
    wait_until(lambda: bool(second.volumes.versions()), what="the copy")
    second.role.tidy()
    assert told(second, SITE)[-1].fileset_version == 1
    assert told(second, SITE)[-1].as_of is None
    store.kill()  # the first filestore is gone, the copy is mounted
    root = Use(second, computer, SITE).begin()
    assert names(root) == ["deep", "index.html", "link"]
    assert (root / "link").read_text() == "<p>hello"
    assert len((root / "deep/data").read_text()) == 500_000


def test_a_copy_that_breaks_off_leaves_nothing_and_is_said(store: Store, second: Store) -> None:
    nobody = Endpoint(host="127.0.0.1", port=1)
    obey(second, wish(store, nobody))
    wait_until(lambda: bool(second.box.reports.of(f"fileset.{SITE}", "failed")), what="the failure")
    (failed,) = second.box.reports.of(f"fileset.{SITE}", "failed")
    assert isinstance(failed, Failed)
    assert failed.reason == "no-source"
    assert "box store" in failed.message
    idle(second, SITE)
    assert second.volumes.versions() == []
    assert list(second.paths.filesets.glob("*/*")) == []


def test_a_copy_that_is_larger_than_the_lent_space_is_refused(
    tmp_path: Path, redis_server: RedisServer, store: Store, source: Endpoint
) -> None:
    store.put(SITE, 1, {"large": "x" * 2 * MIB})
    with running_store(tmp_path / "small", redis_server, box="small", lent_bytes=MIB) as small:
        small.box.redis.delete(wish_key("small"))
        obey(small, wish(store, source))
        wait_until(lambda: bool(small.box.reports.of(f"fileset.{SITE}", "failed")), what="the refusal")
        (failed,) = small.box.reports.of(f"fileset.{SITE}", "failed")
        assert isinstance(failed, Failed)
        assert failed.reason == "no-room"
        idle(small, SITE)
        assert list(small.paths.filesets.glob("*/*")) == []


def test_a_copy_that_the_master_no_longer_wants_is_given_up(
    tmp_path: Path, redis_server: RedisServer, store: Store, source: Endpoint
) -> None:
    store.put(SITE, 1, {"large": "x" * 2 * MIB})
    with running_store(tmp_path / "slow", redis_server, box="slow", replicate_bps=1_000_000) as slow:
        slow.box.redis.delete(wish_key("slow"))
        asked = wish(store, source)
        obey(slow, asked)
        wait_until(lambda: bool(list(slow.paths.filesets.glob("*/.put-*/*"))), what="the first bytes")
        slow.box.wish(asked.model_copy(update={"wanted": "removed", "version": 2, "source": None}))
        idle(slow, SITE)
        assert list(slow.paths.filesets.glob("*/*")) == []


def test_a_copy_that_is_asked_for_again_goes_on(
    tmp_path: Path, redis_server: RedisServer, store: Store, source: Endpoint
) -> None:
    store.put(SITE, 1, {"large": "x" * 2 * MIB})
    with running_store(tmp_path / "slow", redis_server, box="slow", replicate_bps=6_000_000) as slow:
        slow.box.redis.delete(wish_key("slow"))
        obey(slow, wish(store, source))
        wait_until(lambda: bool(list(slow.paths.filesets.glob("*/.put-*/*"))), what="the first bytes")
        (begun,) = slow.paths.filesets.glob("*/.put-*")
        handle = begun.stat().st_ino
        obey(slow, wish(store, source).model_copy(update={"version": 2}))
        idle(slow, SITE)
        assert (slow.paths.filesets / SITE / "1").stat().st_ino == handle


def test_the_copy_of_a_home_follows_it_and_opens_only_when_the_master_says_so(
    store: Store, source: Endpoint, second: Store, computer: Computer
) -> None:
    use = Use(store, computer, HOME, mode=RW, limit_bytes=64 * MIB)
    root = use.begin()
    (root / "diary").write_text("monday")
    obey(second, follow(store, source))
    wait_until(lambda: len(told(second, HOME)) == 1, what="the first copy")
    idle(second, HOME)
    assert not second.volumes.is_home(HOME)
    assert second.volumes.versions() == []  # nobody can be placed on it

    (root / "diary").write_text("tuesday")
    obey(second, follow(store, source, version=2))
    wait_until(lambda: len(told(second, HOME)) == 2, what="the second copy")
    idle(second, HOME)
    first, then = told(second, HOME)
    assert first.as_of is not None
    assert then.as_of is not None
    assert then.as_of > first.as_of
    use.end()
    store.kill()

    obey(second, follow(store, source, version=3, follows=False, source=None))
    heir = Use(second, computer, HOME, mode=RW, limit_bytes=64 * MIB, instance="i-2", fence=2).begin()
    assert (heir / "diary").read_text() == "tuesday"
    (heir / "diary").write_text("wednesday")
    assert list(second.paths.filesets.glob("*/*copy*")) == []


def test_a_home_that_changes_while_it_is_read_is_read_again_until_the_copy_is_of_one_moment(
    store: Store, source: Endpoint, second: Store, computer: Computer, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Use(store, computer, HOME, mode=RW, limit_bytes=64 * MIB).begin()
    for name in ("one", "two"):
        (root / name).write_text("0")
    changes = iter(("1", "2"))
    real = archive.pack

    def pack(handle: int) -> Iterator[bytes]:
        """The first two times the writer goes on as soon as the first file was read."""
        for number, piece in enumerate(real(handle)):
            yield piece
            if number == 3 and (text := next(changes, None)) is not None:
                for name in ("one", "two"):
                    (root / name).write_text(text)

    monkeypatch.setattr(archive, "pack", pack)
    obey(second, follow(store, source))
    wait_until(lambda: len(told(second, HOME)) == 1, what="the copy")
    idle(second, HOME)
    assert told(second, HOME)[-1].settled
    obey(second, follow(store, source, version=3, follows=False, source=None))
    heir = Use(second, computer, HOME, mode=RW, limit_bytes=64 * MIB, instance="i-2", fence=2).begin()
    assert [(heir / name).read_text() for name in ("one", "two")] == ["2", "2"]


def test_a_home_that_is_never_at_rest_is_copied_all_the_same_and_that_is_said(
    store: Store, source: Endpoint, second: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = store.volumes.open_home(HOME, 64 * MIB)
    count, real = itertools.count(), archive.pack

    def pack(handle: int) -> Iterator[bytes]:
        (root / "log").write_text(str(next(count)))
        yield from real(handle)

    monkeypatch.setattr(archive, "pack", pack)
    obey(second, follow(store, source))
    wait_until(lambda: len(told(second, HOME)) == 1, what="the copy")
    idle(second, HOME)
    assert not told(second, HOME)[-1].settled
    assert (second.paths.filesets / HOME / "copy.img").exists()
    assert copies.MOST_READS <= next(count) <= copies.MOST_READS + 1


def test_a_home_that_did_not_change_is_not_sent_again(store: Store, source: Endpoint, second: Store) -> None:
    store.volumes.open_home(HOME, 64 * MIB)
    obey(second, follow(store, source))
    wait_until(lambda: len(told(second, HOME)) == 1, what="the first copy")
    idle(second, HOME)
    image = second.paths.filesets / HOME / "copy.img"
    before = image.stat().st_ino
    obey(second, follow(store, source, version=2))
    wait_until(lambda: len(told(second, HOME)) == 2, what="the second look")
    idle(second, HOME)
    assert image.stat().st_ino == before
    first, then = told(second, HOME)
    assert (then.as_of or 0) > (first.as_of or 0)


def test_a_copy_that_a_crash_cut_off_is_swept_away(second: Store) -> None:
    point = second.paths.exports / "copies" / f"{HOME}-0123"
    with pytest.raises(RuntimeError, match="power"), second.volumes.new_copy(HOME, 16 * MIB, point):
        raise RuntimeError("power")
    assert not point.exists()
    left = second.paths.filesets / HOME / ".copy-0123.img"
    left.write_bytes(b"half")
    point.mkdir(parents=True)
    second.role._copies.recover()
    assert not left.exists()
    assert not point.exists()


def test_copies_come_at_the_rate_that_is_lent() -> None:
    now, slept = [0.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(8_000_000, clock=lambda: now[0], sleep=sleep)
    for _ in range(10):
        pace.took(1_000_000)
    assert 8.9 <= now[0] <= 10.0
    now[0] += 100.0
    pace.took(1_000_000)  # what was not used is not saved up for long
    pace.took(1_000_000)
    assert 0.9 <= slept[-1] <= 1.1
