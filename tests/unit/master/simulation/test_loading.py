"""Scenarios from files: what is wrong is told with file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import BadInput
from master.simulation.loading import load_scenario, shipped

GOOD = """\
base: nearest-with-room
name: mine
servers:
  count: 3
  compute: {mean: 40, sd: 5, min: 10}
people:
  count: 7
"""


def write(folder: Path, text: str, name: str = "mine.yaml") -> str:
    """A scenario file."""
    (folder / name).write_text(text)
    return str(folder / name)


def test_a_scenario_names_only_what_differs_from_its_base(tmp_path: Path) -> None:
    scenario = load_scenario(write(tmp_path, GOOD))
    assert (scenario.servers.count, scenario.servers.compute.sd, scenario.people.count) == (3, 5, 7)
    assert scenario.servers.link_bps.mean == 1e9  # from the base


def test_a_setting_wins_over_the_file(tmp_path: Path) -> None:
    assert load_scenario(write(tmp_path, GOOD), ["people.count=99"]).people.count == 99


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_scenario_is_good(name: str) -> None:
    assert load_scenario(name).name == name


@pytest.mark.parametrize(
    ("text", "line", "key", "says"),
    [
        ("servers:\n  count: 3\n  compute: -5\n", 3, "servers.compute", "greater than or equal to 0"),
        ("people:\n  cuont: 3\n", 2, "people.cuont", "there is no such key"),
        ("servers:\n  count: 0\n", 2, "servers.count", "there is no box"),
        ("servers:\n  link_bps: quick\n", 2, "servers.link_bps", "is not an amount"),
        ("servers:\n  access_ms: {mean: 1, sd: 1, min: 4}\n", 2, "servers.access_ms", "above min"),
        ("people:\n  devices:\n    desktop:\n      share: 0.7\n", 2, "people.devices", "add up to 0.7"),
        (
            "people:\n  devices:\n    toaster:\n      share: 1\n",
            3,
            "people.devices.toaster",
            "'server', 'desktop'",
        ),
        ("tasks:\n  plain:\n    layers: [nothing]\n", 3, "tasks.plain.layers", "there is no pool nothing"),
        ("tasks:\n  plain:\n    slots: {least: 4, most: 2}\n", 3, "tasks.plain.slots", "most is below least"),
        ("people:\n  count: 3\n  count: 4\n", 3, "people.count", "is there twice"),
        ("people:\n  count: [3\n", 3, "", "this is not YAML"),
        ("people: &it\n  count: *it\n", 2, "people.count", "contains itself"),
        ("- 3\n", 1, "", "a scenario is a mapping"),
        ("slots: {count: .inf}\n", 1, "slots.count", ""),
        ("name: Not A Name\n", 1, "name", ""),
    ],
)
def test_a_bad_scenario_names_file_line_and_key(
    tmp_path: Path, text: str, line: int, key: str, says: str
) -> None:
    path = write(tmp_path, text if text.startswith("- ") else f"{text}base: nearest-with-room\n")
    with pytest.raises(BadInput) as caught:
        load_scenario(path)
    message = str(caught.value)
    assert says in message
    assert key in message
    assert f"{path}, line {line}" in message


def test_scenarios_that_are_based_on_each_other_in_a_circle_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "base: two.yaml\nname: one\n", "one.yaml")
    write(tmp_path, "base: one.yaml\nname: two\n", "two.yaml")
    with pytest.raises(BadInput, match=r"in a circle: .*one\.yaml → .*two\.yaml → .*one\.yaml"):
        load_scenario(str(tmp_path / "one.yaml"))


def test_a_scenario_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="openraas-paper"):
        load_scenario(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("people.count", "sets nothing"),
        ("people.count=-1", "--set people.count=-1: people.count"),
        ("people.count.x=1", "is a value and has no keys"),
        ("people.cuont=1", "there is no such key"),
    ],
)
def test_a_bad_setting_is_named(setting: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        load_scenario("nearest-with-room", [setting])


def test_copies_that_fit_on_no_server_are_told() -> None:
    from tests.support.simulation import begin, scenario

    with pytest.raises(BadInput, match="No server has room for a copy of base-0"):
        begin(scenario({"layers": ["base"]}, servers={"disk_bytes": 10}))
