"""Archives: what comes in stays in its directory and below its limit; what goes out comes in again."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import BadInput
from workers.filestore import archive
from workers.filestore.archive import Unpacked
from workers.filestore.errors import TooLarge

UID = os.getuid()
MIB = 2**20


@contextmanager
def opened(path: Path) -> Iterator[int]:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield handle
    finally:
        os.close(handle)


def entry(name: str, content: bytes = b"", **facts: object) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in facts.items():
        setattr(member, key, value)
    return member, content


def tar(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as file:
        for member, content in entries:
            file.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def unpack(data: bytes, into: Path, *, limit: int = MIB) -> Unpacked:
    into.mkdir(exist_ok=True)
    pieces = (data[start : start + 700] for start in range(0, len(data), 700))
    with opened(into) as handle:
        return archive.unpack(pieces, handle, uid=UID, limit_bytes=limit)


def packed(path: Path) -> bytes:
    with opened(path) as handle:
        return b"".join(archive.pack(handle))


def test_a_tree_comes_in_as_it_was_sent(tmp_path: Path) -> None:
    data = tar(
        entry("./", type=tarfile.DIRTYPE, mode=0o755),
        entry("./a", b"hello", mode=0o640, mtime=1_000_000_000),
        entry("deep/er/b", b"x" * 100_000),
        entry("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        entry("hard", type=tarfile.LNKTYPE, linkname="a"),
    )
    facts = unpack(data, tmp_path / "t")
    assert facts == Unpacked(size_bytes=100_005, files=4)
    a = tmp_path / "t/a"
    assert (a.read_text(), stat.S_IMODE(a.stat().st_mode), a.stat().st_mtime) == ("hello", 0o640, 1e9)
    assert (tmp_path / "t/deep/er/b").stat().st_size == 100_000
    assert (tmp_path / "t/link").readlink() == Path("/etc/passwd")
    assert (tmp_path / "t/hard").samefile(a)


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "a/..", "..", "/", "a/../b"])
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="leads out of the fileset"):
        unpack(tar(entry(name, b"x")), tmp_path / "t")
    assert list(tmp_path.rglob("x")) == []


def test_a_symlink_of_the_archive_is_never_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "target").write_text("untouched")
    through = tar(entry("d", type=tarfile.SYMTYPE, linkname=str(outside)), entry("d/target", b"overwritten"))
    with pytest.raises(BadInput, match="contradicts an earlier one"):
        unpack(through, tmp_path / "one")
    over = tar(
        entry("f", type=tarfile.SYMTYPE, linkname=str(outside / "target")), entry("f", b"a file of its own")
    )
    unpack(over, tmp_path / "two")
    assert (tmp_path / "two/f").read_text() == "a file of its own"
    mode = tar(
        entry("d", type=tarfile.SYMTYPE, linkname=str(outside)), entry("d", type=tarfile.DIRTYPE, mode=0o777)
    )
    with pytest.raises(BadInput):
        unpack(mode, tmp_path / "three")
    hard = tar(
        entry("d", type=tarfile.SYMTYPE, linkname=str(outside)),
        entry("h", type=tarfile.LNKTYPE, linkname="d/target"),
    )
    with pytest.raises(BadInput):
        unpack(hard, tmp_path / "four")
    assert (outside / "target").read_text() == "untouched"


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "missing"])
def test_a_hard_link_stays_inside(tmp_path: Path, target: str) -> None:
    (tmp_path / "outside").write_text("x")
    with pytest.raises(BadInput):
        unpack(tar(entry("h", type=tarfile.LNKTYPE, linkname=target)), tmp_path / "t")


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes_are_refused(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(BadInput, match="neither a file, a directory nor a link"):
        unpack(tar(entry("dev", type=kind)), tmp_path / "t")


def test_special_bits_do_not_come_along(tmp_path: Path) -> None:
    unpack(tar(entry("su", b"x", mode=0o6755), entry("d", type=tarfile.DIRTYPE, mode=0o1777)), tmp_path / "t")
    modes = [stat.S_IMODE((tmp_path / "t" / name).stat().st_mode) for name in ("su", "d")]
    assert modes == [0o755, 0o777]


@pytest.mark.parametrize("when", [-5, 0, 1e20, float("inf"), float("nan")])
def test_a_time_out_of_range_does_no_harm(tmp_path: Path, when: float) -> None:
    member = tarfile.TarInfo("a")
    member.pax_headers = {"mtime": str(when)}
    unpack(member.tobuf(tarfile.PAX_FORMAT) + bytes(1024), tmp_path / "t")
    assert 0 <= (tmp_path / "t/a").stat().st_mtime < 2e10


def test_the_limit_holds_while_content_comes_in(tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match=r"exceeds 1\.0 MiB"):
        unpack(tar(entry("a", bytes(600_000)), entry("b", bytes(600_000))), tmp_path / "t")
    assert sum(file.stat().st_size for file in (tmp_path / "t").iterdir()) <= MIB


def test_empty_files_are_not_free(tmp_path: Path) -> None:
    with pytest.raises(TooLarge):
        unpack(tar(*(entry(str(number)) for number in range(100))), tmp_path / "t", limit=20_000)


def test_an_endless_name_is_refused(tmp_path: Path) -> None:
    member = tarfile.TarInfo("x")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 2**40
    with pytest.raises(BadInput, match="endless name"):
        unpack(member.tobuf(tarfile.GNU_FORMAT) + bytes(4096), tmp_path / "t")


@pytest.mark.parametrize("data", [b"", b"hello", os.urandom(2048), b"\x1f\x8b" + bytes(600)])
def test_something_else_is_not_taken_for_an_archive(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BadInput, match="not a tar archive"):
        unpack(data, tmp_path / "t")


def test_an_archive_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    data = tar(entry("a", bytes(100_000)))
    with pytest.raises(BadInput):
        unpack(data[:50_000], tmp_path / "t")


_NAMES = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="/\0"), min_size=1, max_size=60
).filter(lambda name: name not in (".", "..") and len(name.encode()) < 200)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(_NAMES, st.binary(max_size=3000), max_size=8), st.data())
def test_what_goes_out_comes_in_again(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("round")
    source = root / "source"
    (source / "sub").mkdir(parents=True)
    for name, content in files.items():
        place = source / "sub" if data.draw(st.booleans()) else source
        if (place / name).exists():
            continue
        (place / name).write_bytes(content)
        (place / name).chmod(data.draw(st.sampled_from([0o600, 0o644, 0o755])))
    (source / "sub/link with space").symlink_to("../nowhere/at all")
    facts = unpack(packed(source), root / "copy")
    assert packed(root / "copy") == packed(source)
    assert facts.size_bytes == sum(
        file.stat().st_size for file in source.rglob("*") if file.is_file() and not file.is_symlink()
    )


def test_a_file_that_shrinks_while_it_goes_out_leaves_the_archive_whole(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_bytes(b"x" * 1_000_000)
    (source / "b").write_bytes(b"b")
    pieces = []
    with opened(source) as handle:
        for piece in archive.pack(handle):
            pieces.append(piece)
            if piece.startswith(b"x"):
                os.truncate(source / "a", 10)
    facts = unpack(b"".join(pieces), tmp_path / "copy", limit=4 * MIB)
    assert facts.files == 2
    assert (tmp_path / "copy/b").read_bytes() == b"b"
    assert (tmp_path / "copy/a").stat().st_size == 1_000_000


def test_sockets_and_pipes_do_not_go_out(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    os.mkfifo(tmp_path / "source/pipe")
    assert unpack(packed(tmp_path / "source"), tmp_path / "copy").files == 0
