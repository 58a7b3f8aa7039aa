"""`openraas lab` as a person types it: one process makes a lab, others see, change and remove it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.settings import Settings, load_settings
from common.words import Role
from tests.support.redis import free_port, wait_until
from workers.lab import build, commands, remains
from workers.lab.commands import OPENRAAS
from workers.lab.errors import LabError
from workers.lab.fleet import Lab
from workers.lab.master import Master
from workers.lab.processes import node_environment

pytestmark = pytest.mark.lab

UP_S, DOWN_S = 120.0, 60.0
# An address of this machine that is neither loopback nor reachable from any network.
HOST_ADDRESS = "198.18.231.1"


def lab(*arguments: str, code: int = 0, limit_s: float = UP_S) -> str:
    """What `openraas lab …` says; fails the test if it ends otherwise than expected."""
    done = subprocess.run([*OPENRAAS, "lab", *arguments], capture_output=True, text=True, timeout=limit_s)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory with a short path, that does not exist yet."""
    with tempfile.TemporaryDirectory(prefix="orlab-") as parent:
        yield Path(parent) / "lab"


def status(lab_id: str) -> dict[str, dict[str, Any]]:
    """All nodes by name."""
    return {row["name"]: row for row in json.loads(lab("status", "--lab", lab_id, "--json"))}


def test_what_one_process_made_others_see_change_and_remove(lab_id: str, directory: Path) -> None:
    box = f"{lab_id}-1"
    said = lab(
        "up", "--boxes", "1", "--roles", "depository", "--uplink", "50mbit", "--delay", "5ms", "--own-master",
        "--set", "policy=first",
        "--lab", lab_id, "--state-dir", str(directory), "--json", "--each", "--lent 1GB",
    )  # fmt: skip
    made = json.loads(said)
    assert (made["lab"], [row["name"] for row in made["boxes"]]) == (lab_id, ["master", box])
    assert lab_id in json.loads(lab("list", "--json"))
    assert made["master"]["own"]
    assert (Path(made["master"]["state_dir"]) / "portal.url").exists()
    row = status(lab_id)[box]
    assert (row["state"], row["roles"], row["uplink_bps"]) == ("up", ["depository"], 50_000_000)
    assert row["delay_ms"] == 5
    assert row["downlink_bps"] == 50_000_000
    assert lab("exec", "--lab", lab_id, box, "hostname").strip() == box

    assert json.loads(lab("cut", box, "--json"))["state"] == "cut"  # only this lab has a box of that name
    assert status(lab_id)[box]["state"] == "cut"
    lab("kill", box)
    assert status(lab_id)[box]["state"] == "killed"
    assert "does not run" in lab("exec", "--lab", lab_id, box, "hostname", code=1)
    assert json.loads(lab("heal", box, "--lab", lab_id, "--json"))["state"] == "up"
    assert status(lab_id)[box]["state"] == "up"
    assert "no box nobody" in lab("kill", "nobody", "--lab", lab_id, code=2)

    lab("kill", "master", "--lab", lab_id)
    lab("heal", "master", "--lab", lab_id)
    wait_until(lambda: box in Master(Lab.open(lab_id).state).online(), UP_S, "the box at a healed master")

    assert json.loads(lab("down", "--lab", lab_id, "--json")) == {"removed": [lab_id]}
    assert remains.of(lab_id, directory) == []
    assert not directory.exists()
    assert lab_id not in json.loads(lab("list", "--json"))


def test_what_a_lab_up_that_was_killed_left_behind_is_removed(lab_id: str, directory: Path) -> None:
    arguments = ["up", "--boxes", "2", "--own-master", "--lab", lab_id, "--state-dir", str(directory)]
    making = subprocess.Popen([*OPENRAAS, "lab", *arguments], stdout=subprocess.DEVNULL)
    wait_until(lambda: len(remains.namespaces(lab_id)) > 2, UP_S, "a lab that is half made")
    making.send_signal(signal.SIGKILL)
    making.wait(10)

    lab("down", "--lab", lab_id)

    assert remains.of(lab_id, directory) == []
    assert not directory.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_being_asked_to_end_undoes_what_was_made(
    number: signal.Signals, lab_id: str, directory: Path
) -> None:
    arguments = ["up", "--boxes", "2", "--own-master", "--lab", lab_id, "--state-dir", str(directory)]
    making = subprocess.Popen(
        [*OPENRAAS, "lab", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_until(lambda: len(remains.namespaces(lab_id)) > 1, UP_S, "a lab that is half made")
    making.send_signal(number)

    assert making.wait(DOWN_S) == 1
    assert remains.of(lab_id, directory) == []
    assert not directory.exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--boxes", "0"), "--boxes"),
        (("--boxes", "1", "--uplink", "fast"), "--uplink"),
        (("--boxes", "1", "--uplink", "1bit"), "8kbit"),
        (("--boxes", "1", "--delay", "2ms,long"), "long"),
        (("--boxes", "1", "--delay", "1h"), "--delay"),
        (("--boxes", "1", "--set", "colour=red"), "colour=red"),
        (("--boxes", "1", "--roles", "compute,cook"), "cook"),
        (("--boxes", "1", "--lab", "Too-Long"), "--lab"),
        (("--boxes", "1", "--subnet", "10.0.0.0/33", "--lab", "{lab}"), "10.0.0.0/33"),
    ],
)
def test_bad_input_is_named_and_makes_nothing(
    arguments: tuple[str, ...], named: str, lab_id: str, directory: Path
) -> None:
    words = [word.replace("{lab}", lab_id) for word in arguments]
    said = lab("up", *words, "--own-master", "--state-dir", str(directory), code=2)

    assert named in said
    assert not directory.exists()
    assert remains.of(lab_id, directory) == []


def test_a_directory_with_something_in_it_is_left_alone(lab_id: str, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    said = lab("up", "--boxes", "1", "--own-master", "--lab", lab_id, "--state-dir", str(tmp_path), code=1)

    assert "not empty" in said
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_without_root_it_says_what_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match=r"needs root.*sudo"):
        build.up(build.Plan(boxes=1, own_master=True), load_settings(state_dir=tmp_path))
    with pytest.raises(LabError, match="needs root"):
        commands.require_root()


@pytest.fixture
def running_master(directory: Path) -> Iterator[Settings]:
    """A master that runs on this machine, not in a lab."""
    settings = Settings(
        state_dir=directory.parent / "master", listen=HOST_ADDRESS, web_port=free_port(),
        redis_port=free_port(), metrics_port=0,
    )  # fmt: skip
    variables = {f"OPENRAAS_{key.upper()}": str(getattr(settings, key)) for key in settings.model_fields_set}
    subprocess.run(["ip", "address", "replace", f"{HOST_ADDRESS}/32", "dev", "lo"], check=True)
    process = subprocess.Popen(
        [*OPENRAAS, "up", "--no-box"],
        env={**node_environment(), **variables},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        wait_until(lambda: answers(variables), UP_S, "a master that answers")
        yield settings
    finally:
        process.terminate()
        process.wait(DOWN_S)
        subprocess.run(["ip", "address", "delete", f"{HOST_ADDRESS}/32", "dev", "lo"], check=True)


def answers(variables: dict[str, str]) -> bool:
    """Whether the master takes a verb of the command line."""
    return subprocess.run(
        [*OPENRAAS, "box", "list"], env={**node_environment(), **variables, "XDG_CONFIG_HOME": "/nowhere"},
        capture_output=True, timeout=60,
    ).returncode == 0  # fmt: skip


def test_a_lab_joins_the_master_that_runs_and_leaves_it_again(
    running_master: Settings, lab_id: str, directory: Path
) -> None:
    plan = build.Plan(boxes=2, roles=[frozenset({Role.DEPOSITORY})], lab=lab_id, state_dir=directory)
    made = build.up(plan, running_master)
    master = Master(made.state)
    try:
        assert master.online() == {f"{lab_id}-1", f"{lab_id}-2"}
    finally:
        build.down(lab_id)

    assert master.command("box", "list") == []
    assert remains.of(lab_id, directory) == []
