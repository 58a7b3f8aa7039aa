"""Directories as streams."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from common.errors import BadInput
from master.cli.trees import BadTree, pack, size_of, unpack


def make_tree(root: Path) -> None:
    (root / "sub" / "empty").mkdir(parents=True)
    (root / "a.txt").write_text("hello")
    (root / "sub" / "run.sh").write_text("#!/bin/sh\n")
    (root / "sub" / "run.sh").chmod(0o750)
    (root / "link").symlink_to("sub/run.sh")
    (root / "dangling").symlink_to("/nowhere/at/all")
    os.link(root / "a.txt", root / "z-hard")


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> list[bytes]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return [buffer.getvalue()]


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_a_tree_comes_back_with_modes_and_links(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    make_tree(source)
    assert unpack(pack(source), target) == 2
    assert (target / "a.txt").read_text() == "hello"
    assert (target / "sub" / "run.sh").stat().st_mode & 0o777 == 0o750
    assert (target / "sub" / "empty").is_dir()
    assert str((target / "link").readlink()) == "sub/run.sh"
    assert str((target / "dangling").readlink()) == "/nowhere/at/all"
    assert (target / "z-hard").stat().st_ino == (target / "a.txt").stat().st_ino


def test_a_large_tree_travels_in_pieces(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    data = os.urandom(3_000_000)
    (source / "large").write_bytes(data)
    pieces = list(pack(source))
    assert len(pieces) > 5
    unpack(pieces, tmp_path / "target")
    assert (tmp_path / "target" / "large").read_bytes() == data


def test_sizes_are_those_of_files_and_not_of_what_links_lead_to(tmp_path: Path) -> None:
    make_tree(tmp_path)
    assert size_of(tmp_path) == 5 + 5 + 10


def test_what_is_no_file_cannot_travel(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadInput, match="pipe"):
        size_of(tmp_path)


@pytest.mark.parametrize(
    "bad",
    [
        archive((member("../outside"), b"x")),
        archive((member("/etc/outside"), b"x")),
        archive((member("a/../../outside"), b"x")),
        archive((member("hard", tarfile.LNKTYPE, "../outside"), b"")),
        archive((member("device", tarfile.CHRTYPE), b"")),
        [b"this is no tar at all" * 100],
    ],
)
def test_a_stream_that_would_leave_its_directory_leaves_nothing(tmp_path: Path, bad: list[bytes]) -> None:
    (tmp_path / "outside").write_text("mine")
    with pytest.raises(BadTree):
        unpack(bad, tmp_path / "target")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside"]
    assert (tmp_path / "outside").read_text() == "mine"


def test_nothing_is_written_through_a_link_that_the_stream_brought(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    stream = archive((member("door", tarfile.SYMTYPE, str(outside)), b""), (member("door/planted"), b"x"))
    with pytest.raises(BadTree):
        unpack(stream, tmp_path / "target")
    assert list(outside.iterdir()) == []


def test_a_broken_stream_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "large").write_bytes(os.urandom(1_000_000))
    with pytest.raises(BadTree):
        unpack([b"".join(pack(source))[:500_000]], tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_a_directory_that_has_something_in_it_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(BadInput, match="not empty"):
        unpack(archive((member("a"), b"x")), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_file_that_cannot_be_read_breaks_the_stream_aloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("x")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "a")

    monkeypatch.setattr(tarfile.TarFile, "add", refuse)
    with pytest.raises(BadInput, match="Permission denied"):
        list(pack(tmp_path))
