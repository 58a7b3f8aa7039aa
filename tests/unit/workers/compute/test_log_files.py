"""Output that is kept is bounded, and says whose it is."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from workers.compute.log_files import KEPT_BYTES, KEPT_FILES, keep, last_lines, log_path


@given(lines=st.lists(st.text("ab\r \u2028", max_size=5)), count=st.integers(0, 30))
def test_the_last_lines_are_whole_and_as_many_as_asked_for(lines: list[str], count: int) -> None:
    output = "".join(f"{line}\n" for line in lines).encode()
    kept = last_lines(output, count)
    assert output.endswith(kept)
    assert kept.count(b"\n") == min(count, len(lines))


def test_a_long_output_is_cut_at_a_line(tmp_path: Path) -> None:
    path = log_path(tmp_path, "i-1", 2)
    keep(path, b"0123456789abcdef\n" * (KEPT_BYTES // 10))
    kept = path.read_bytes()
    assert KEPT_BYTES - 17 <= len(kept) <= KEPT_BYTES
    assert kept.startswith(b"0123456789abcdef\n")
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_oldest_outputs_go(tmp_path: Path) -> None:
    for number in range(KEPT_FILES + 3):
        path = log_path(tmp_path, f"i-{number}", 1)
        keep(path, b"x\n")
        os.utime(path, (number, number))
    keep(log_path(tmp_path, "i-new", 1), b"x\n")
    names = {path.name for path in tmp_path.glob("*.log")}
    assert len(names) == KEPT_FILES
    assert "i-new.1.log" in names
    assert "i-0.1.log" not in names
