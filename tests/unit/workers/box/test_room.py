"""How much of the lent space is left, and what promises do to it."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.oci.digest import digest_of, hex_of
from common.oci.store import ContentStore
from workers.box.config import BoxConfig, BoxPaths
from workers.box.lent_space import FILESETS, LentSpace
from workers.box.room import SPARE_BYTES, Kind, NoRoom, Room, Share
from workers.box.table import Table
from workers.depository.holdings import Holdings

LENT = 100_000


class Box:
    """The room of a box that lends `LENT` bytes, and what takes some of them."""

    def __init__(self, directory: Path, lent_bytes: int = LENT) -> None:
        self.config = BoxConfig(box="b", state_dir=directory, lent_bytes=lent_bytes)
        self.paths, self.table = BoxPaths(directory), Table(directory / "box.db")
        self.store = ContentStore(self.paths.store)
        self.holdings = Holdings(self.table, self.store)
        self.space = LentSpace(self.config, self.table)
        self.room = Room(self.config, self.paths, self.table)

    def hold(self, data: bytes) -> str:
        """Keep a blob; returns its digest."""
        self.holdings.add(self.store.put(data), "", "r")
        return digest_of(data)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_what_lies_on_the_box_leaves_less_room_for_everybody(box: Box) -> None:
    box.hold(bytes(10_000))
    box.space.note(FILESETS, 20_000)
    assert box.room.left_bytes() == LENT - 30_000
    box.store.ingest_path("u.upload").write_bytes(bytes(5_000))
    assert box.room.left_bytes() == LENT - 35_000


def test_a_promise_that_does_not_fit_is_refused_and_leaves_the_former_one(box: Box) -> None:
    box.room.promise("one", [Share("a", 60_000)])
    with pytest.raises(NoRoom, match=r"58\.6 KiB are needed.*only 39\.1 KiB"):
        box.room.promise("two", [Share("b", 60_000)])
    with pytest.raises(NoRoom):
        box.room.promise("one", [Share("a", LENT + 1)])
    assert box.room.left_bytes() == LENT - 60_000
    box.room.release("one")
    box.room.promise("two", [Share("b", 60_000)])


def test_a_layer_that_two_launches_need_is_promised_once_and_counts_as_a_blob_once_it_is_here(
    box: Box,
) -> None:
    data = b"l" * 30_000
    what = hex_of(digest_of(data))
    for instance in ("i-1", "i-2"):
        box.room.promise(instance, [Share(what, 30_000, Kind.LAUNCH), Share(f"disk-{instance}", 10_000)])
    assert box.room.left_bytes() == LENT - 50_000
    box.store.ingest_path(f"{what}.part").write_bytes(data[:20_000])
    assert box.room.left_bytes() == LENT - 50_000
    box.store.ingest_path(f"{what}.part").unlink()
    box.hold(data)
    assert box.room.left_bytes() == LENT - 50_000
    box.room.release("i-1")
    assert box.room.left_bytes() == LENT - 40_000


def test_what_a_process_was_promised_goes_with_it_and_an_instances_room_stays(box: Box) -> None:
    box.room.promise("transfer", [Share("a", 10_000)])
    box.room.promise("i-1", [Share("b", 10_000, Kind.LAUNCH), Share("c", 10_000, Kind.DISK)])
    box.table.write("UPDATE promises SET process = '1 0.0' WHERE process != ''")
    assert box.room.left_bytes() == LENT - 20_000
    box.room.keep_only(Kind.LAUNCH, list)
    box.room.keep_only(Kind.DISK, lambda: ["i-1"])
    assert box.room.left_bytes() == LENT - 10_000


def test_there_is_no_more_room_than_the_file_system_has_whatever_was_lent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Box(tmp_path, lent_bytes=10**18)
    usage = shutil.disk_usage(tmp_path)
    assert box.room.left_bytes() < usage.free
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=SPARE_BYTES + 5_000))
    box.room.promise("one", [Share("a", 4_000)])
    with pytest.raises(NoRoom):
        box.room.promise("two", [Share("b", 4_000)])
    box.room.promise("i-1", [Share("disk", 1_000, Kind.DISK)])


def test_transfers_that_grow_at_once_never_exceed_the_room_together(box: Box) -> None:
    reached: list[int] = []

    def receive(name: str) -> None:
        size = 0
        with box.room.growing(name) as room:
            try:
                while True:
                    room.reach(size + 1_000)
                    size += 1_000
            except NoRoom:
                reached.append(size)
            full.wait(20)

    full = threading.Barrier(4)
    threads = [threading.Thread(target=receive, args=(f"put-{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert LENT - 4_000 < sum(reached) <= LENT
    assert box.room.left_bytes() == LENT


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(0, LENT)), max_size=12
    )
)
def test_whatever_is_promised_and_taken_back_the_lent_space_is_never_exceeded(
    box: Box, steps: list[tuple[str, str, int]]
) -> None:
    for holder, what, size in steps:
        try:
            box.room.promise(holder, [Share(what, size)])
        except NoRoom:
            box.room.release(holder)
        assert 0 <= box.room.promised_bytes() <= LENT
        assert box.room.left_bytes() == LENT - box.room.promised_bytes()
    for holder in "abc":
        box.room.release(holder)
    assert box.room.left_bytes() == LENT
