"""The passwords of a screen: what TigerVNC reads, and who can."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from common.access import HANDED
from common.access.desktop import Desktop
from common.access.web import Web
from common.errors import NotFound
from common.words import SessionMode
from workers.compute.handed import Handed
from workers.gateway.desktop.des import encrypt
from workers.gateway.desktop.handing import SETTINGS
from workers.gateway.desktop.passwords import FILE, Passwords


def test_a_block_is_encrypted_as_the_protocol_wants_it() -> None:
    # What `echo password | vncpasswd -f` writes (TigerVNC 1.12).
    assert Passwords("password", "password").obscured().hex() == "dbd83cfd727a1458" * 2
    key = b"password"
    assert encrypt(key, encrypt(key, b"0123456789abcdef"), back=True) == b"0123456789abcdef"


def test_what_is_written_for_a_container_is_read_by_the_gateway(tmp_path: Path) -> None:
    handed = Handed(tmp_path)
    directory = handed.make(Desktop(size="800x600", frame_rate=20), "i-1", 3)
    assert directory is not None
    found = Passwords.read(directory / FILE)
    assert found.of(SessionMode.CONTROL) != found.of(SessionMode.WATCH)
    assert [len(found.of(mode)) for mode in SessionMode] == [8, 8]
    assert (directory / SETTINGS).read_text() == "GEOMETRY=800x600\nFRAME_RATE=20\n"
    assert found.control not in repr(found)


def test_only_the_container_and_the_box_can_read_the_passwords(tmp_path: Path) -> None:
    directory = Handed(tmp_path).make(Desktop(), "i-1", 1)
    assert directory is not None
    assert stat.S_IMODE(directory.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / FILE).stat().st_mode) == 0o444


def test_every_start_has_passwords_of_its_own_and_a_second_try_keeps_them(tmp_path: Path) -> None:
    handed = Handed(tmp_path)
    first = [handed.make(Desktop(), "i-1", generation) for generation in (1, 2, 1)]
    read = [Passwords.read(directory / FILE) for directory in first if directory is not None]
    assert read[0] != read[1]
    assert read[0] == read[2]
    handed.remove("i-1", 1)
    with pytest.raises(NotFound):
        Passwords.read(handed.of("i-1", 1) / FILE)


def test_other_ways_of_access_are_handed_nothing(tmp_path: Path) -> None:
    assert Handed(tmp_path).make(Web(), "i-1", 1) is None
    assert HANDED.startswith("/run/")
