"""`scripts/bootstrap.sh` on a machine that lacks something: a checkout of its own, and commands of the test."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# What the script itself runs, and Python, so that it does not ask for these.
TOOLS = ("sh", "cat", "cut", "dirname", "grep", "id", "python3", "rm", "sha256sum", "sleep", "touch", "chmod")
NEEDED = (
    "redis-server",
    "nginx",
    "sshd",
    "sshfs",
    "bwrap",
    "iptables",
    "ip",
    "setpriv",
    "mmdebstrap",
    "dockerd",
)


class Machine:
    """A checkout, and a folder of commands that is all that the script finds."""

    def __init__(self, directory: Path) -> None:
        self.checkout, self.commands = directory / "checkout", directory / "bin"
        (self.checkout / "scripts").mkdir(parents=True)
        self.commands.mkdir()
        # The script adds Debian's own folders of servers to the path: here they are this machine's commands.
        script = (ROOT / "scripts" / "bootstrap.sh").read_text()
        added = 'PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"\n'
        assert added in script
        self.policy = directory / "policy-rc.d"
        script = script.replace(added, "").replace("/usr/sbin/policy-rc.d", str(self.policy))
        (self.checkout / "scripts" / "bootstrap.sh").write_text(script)
        for name in ("requirements.lock", "pyproject.toml", "scripts/frontend.toml"):
            (self.checkout / name).touch()
        for name in TOOLS:
            found = shutil.which(name)
            assert found is not None
            (self.commands / name).symlink_to(found)

    def has(self, name: str, does: str = "exit 0") -> None:
        """Let there be a command."""
        path = self.commands / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\n{does}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def bootstrap(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", str(self.checkout / "scripts" / "bootstrap.sh"), *arguments],
            env={"PATH": str(self.commands), "HOME": os.environ.get("HOME", "/")},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.has("python3", "exit 0")  # good enough a Python, with venv
    for name in NEEDED:
        made.has(name)
    return made


def test_who_is_not_root_is_told_exactly_what_to_install(machine: Machine) -> None:
    machine.has("id", "echo 1000")
    machine.has("apt-get", "touch apt-was-run")
    for name in ("redis-server", "bwrap"):
        (machine.commands / name).unlink()
    done = machine.bootstrap()
    assert done.returncode == 1
    assert "    apt-get install --no-install-recommends redis-server bubblewrap\n" in done.stderr
    assert "as root" in done.stderr
    assert not (machine.checkout / "apt-was-run").exists()
    assert not (machine.checkout / ".venv").exists()


def test_tests_need_the_clients_that_they_drive_too(machine: Machine) -> None:
    machine.has("id", "echo 1000")
    assert (
        "install --no-install-recommends skopeo chromium postgresql\n" in machine.bootstrap("--tests").stderr
    )


def test_without_a_python_that_is_new_enough_one_is_named(machine: Machine) -> None:
    machine.has("id", "echo 1000")
    machine.has("python3", "exit 1")
    if any(Path(f"/usr/bin/{name}").exists() for name in ("python3", "python3.11")):
        machine.checkout.joinpath("scripts/bootstrap.sh").write_text(
            machine.checkout.joinpath("scripts/bootstrap.sh")
            .read_text()
            .replace("/usr/bin/python3", "no-such")
        )
    assert "install --no-install-recommends python3 python3-venv\n" in machine.bootstrap().stderr


def test_root_gets_what_is_missing_and_nothing_else(machine: Machine) -> None:
    machine.has("id", "echo 0")
    machine.has("apt-get", f'test -x {machine.policy} && echo "$@" >>apt-was-run')
    (machine.commands / "sshfs").unlink()
    # What follows is Python's business: here it is there already.
    (machine.checkout / ".venv").mkdir()
    (machine.checkout / ".venv" / ".installed").write_text(_wanted())
    done = machine.bootstrap()
    assert done.returncode == 0, done.stderr
    assert (machine.checkout / "apt-was-run").read_text().splitlines() == [
        "update -q",
        "install -q --yes --no-install-recommends sshfs",
    ]
    assert not machine.policy.exists()


def test_a_machines_own_policy_for_services_stays(machine: Machine) -> None:
    machine.has("id", "echo 0")
    machine.has("apt-get", "exit 100")
    (machine.commands / "sshfs").unlink()
    machine.policy.write_text("mine")
    assert machine.bootstrap().returncode == 100
    assert machine.policy.read_text() == "mine"


def test_what_apt_cannot_install_ends_it_and_nothing_stays(machine: Machine) -> None:
    machine.has("id", "echo 0")
    machine.has("apt-get", "exit 100")
    (machine.commands / "sshfs").unlink()
    assert machine.bootstrap().returncode == 100
    assert not machine.policy.exists()
    assert not (machine.checkout / ".venv").exists()


def test_a_machine_that_has_everything_is_left_as_it_is(machine: Machine) -> None:
    machine.has("apt-get", "touch apt-was-run")
    (machine.checkout / ".venv").mkdir()
    (machine.checkout / ".venv" / ".installed").write_text(_wanted())
    done = machine.bootstrap()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (machine.checkout / "apt-was-run").exists()


def _wanted() -> str:
    """What the script notes when the packages of an empty lock file are installed."""
    return subprocess.run(["sha256sum"], input="", capture_output=True, text=True, check=True).stdout.split()[
        0
    ]
