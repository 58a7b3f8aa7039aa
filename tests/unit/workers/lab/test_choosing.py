"""Which lab a verb means that names none."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from common.errors import BadInput, NotFound
from workers.lab import plan
from workers.lab.plan import LabState, Node, choose, save


@pytest.fixture(autouse=True)
def own_labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "RUN", tmp_path / "run")


def make(tmp_path: Path, lab: str, *boxes: str) -> None:
    nodes = {name: Node(name=name, number=11 + index) for index, name in enumerate(boxes)}
    subnet = ipaddress.IPv4Network("10.231.0.0/24")
    (tmp_path / lab).mkdir()
    save(LabState(lab=lab, state_dir=tmp_path / lab, made_state_dir=True, subnet=subnet, nodes=nodes))


def test_without_a_lab_the_verb_says_how_to_make_one() -> None:
    with pytest.raises(NotFound, match="lab up"):
        choose(None, "lab1-1")


def test_the_only_lab_is_meant(tmp_path: Path) -> None:
    make(tmp_path, "lab1", "lab1-1")
    assert choose(None).lab == "lab1"
    assert choose(None, "nobody").lab == "lab1"


def test_of_several_labs_the_one_is_meant_that_has_the_box(tmp_path: Path) -> None:
    make(tmp_path, "lab1", "master", "lab1-1")
    make(tmp_path, "lab2", "master", "lab2-1")
    (tmp_path / "run/broken").symlink_to(tmp_path / "nowhere")
    assert choose(None, "lab2-1").lab == "lab2"
    assert choose("lab1", "lab2-1").lab == "lab1"
    for box in ("master", "nobody", None):
        with pytest.raises(BadInput, match="several labs"):
            choose(None, box)
