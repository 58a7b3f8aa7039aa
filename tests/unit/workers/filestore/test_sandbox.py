"""What the front prepares in a home before its session begins."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from workers.filestore.browsing import ASIDE
from workers.filestore.browsing.sandbox import make_aside

UID = 64_321


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_front_that_was_killed_while_it_made_room_for_uploads_leaves_no_home_without(
    tmp_path: Path,
) -> None:
    (tmp_path / ASIDE).mkdir()
    make_aside(tmp_path, UID)
    assert (tmp_path / ASIDE).stat().st_uid == UID
    make_aside(tmp_path, UID)
