"""A real supervisord."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.supervision import Program, ProgramFailed, Supervisor
from tests.support.redis import wait_until


def is_alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path / "run", tmp_path / "logs")
    yield made
    made.shutdown(limit_s=20)


SLEEPER = Program("sleeper", ("sleep", "1000"))


def test_programs_run_and_are_gone_after_shutdown(supervisor: Supervisor) -> None:
    supervisor.start([SLEEPER, Program("other", ("sleep", "1000"), autostart=False)])
    supervisor.wait(["sleeper"])
    states = supervisor.states()
    assert states["sleeper"].is_up
    assert states["other"].state == "STOPPED"
    supervisor.start_program("other")
    supervisor.wait(["other"])
    pids = [state.pid for state in supervisor.states().values()]
    supervisor.shutdown(limit_s=20)
    assert not any(is_alive(pid) for pid in pids)
    assert not supervisor.is_running()


def test_a_program_that_is_killed_comes_back(supervisor: Supervisor) -> None:
    supervisor.start([SLEEPER])
    supervisor.wait(["sleeper"])
    first = supervisor.states()["sleeper"].pid
    os.kill(first, signal.SIGKILL)
    wait_until(
        lambda: (state := supervisor.states()["sleeper"]).is_up and state.pid != first, what="a new process"
    )


def test_no_orphan_survives_a_supervisor_that_is_killed(supervisor: Supervisor) -> None:
    supervisor.start([SLEEPER])
    supervisor.wait(["sleeper"])
    pid = supervisor.states()["sleeper"].pid
    os.kill(int((supervisor.run / "supervisord.pid").read_text()), signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), what="the end of the program")


def test_a_program_that_fails_is_shown_with_the_end_of_its_log(supervisor: Supervisor) -> None:
    code = "import sys; print('the disk is full', file=sys.stderr); sys.exit(3)"
    supervisor.start([Program("broken", (sys.executable, "-c", code))])
    with pytest.raises(ProgramFailed, match="broken ended") as caught:
        supervisor.wait(["broken"])
    assert "the disk is full" in str(caught.value)


def test_only_the_owner_reads_configuration_and_socket(supervisor: Supervisor) -> None:
    supervisor.start([Program("secret", ("sleep", "1000"), {"PASSWORD": "x y%z"})])
    for path in (supervisor.configuration, supervisor.socket):
        assert path.stat().st_mode & 0o077 == 0
    supervisor.wait(["secret"])
    environment = Path(f"/proc/{supervisor.states()['secret'].pid}/environ").read_bytes()
    assert b"PASSWORD=x y%z" in environment.split(b"\0")
