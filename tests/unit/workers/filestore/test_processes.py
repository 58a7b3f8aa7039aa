"""Processes are known by number and start, so that a number used again hits nobody."""

from __future__ import annotations

import signal
import subprocess

import pytest

from workers.filestore.processes import Process, kill


@pytest.fixture
def sleeper() -> subprocess.Popen[bytes]:
    process = subprocess.Popen(["sleep", "60"])
    yield process  # type: ignore[misc]
    process.kill()
    process.wait()


def test_a_name_with_spaces_and_brackets_does_not_confuse(sleeper: subprocess.Popen[bytes]) -> None:
    fields = " ".join(["S", *("0" for _ in range(18)), "4711", "0"])
    assert Process.parse(f"12 (a ) b (c) {fields}") == Process(12, 4711)
    assert Process.parse("rubbish") is None


def test_a_later_process_of_the_same_number_is_left_alone(sleeper: subprocess.Popen[bytes]) -> None:
    found = Process.find(sleeper.pid)
    assert found is not None
    kill(Process(found.pid, found.started - 1), signal.SIGKILL)
    assert found.lives
    kill(found, signal.SIGKILL)
    assert sleeper.wait(5) == -signal.SIGKILL
    assert not found.lives
    kill(found, signal.SIGKILL)
