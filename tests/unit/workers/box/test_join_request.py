"""Joining, as far as no master is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.addresses import MasterAddress
from common.errors import BadInput, Conflict, Unavailable
from workers.box.config import IDENTITY_FILE, BoxConfig
from workers.box.join import Master, join, write_configuration

SILENT = Master(MasterAddress("127.0.0.1", 1, tls=False))
TOKEN = f"{'a' * 64}.{'s' * 32}"


def test_what_is_no_token_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    config = BoxConfig(box="b", state_dir=tmp_path)
    with pytest.raises(BadInput, match="token"):
        join(SILENT, "nonsense", config)


def test_a_master_that_is_away_leaves_nothing_behind(tmp_path: Path) -> None:
    config = BoxConfig(box="b", state_dir=tmp_path / "box")
    with pytest.raises(Unavailable, match="does not answer"):
        join(SILENT, TOKEN, config)
    assert not config.state_dir.exists()


def test_a_box_that_has_joined_is_not_joined_by_accident(tmp_path: Path) -> None:
    (tmp_path / IDENTITY_FILE).write_text("{}")
    with pytest.raises(Conflict, match="joined already"):
        join(SILENT, TOKEN, BoxConfig(box="b", state_dir=tmp_path))


def test_what_the_owner_chose_is_read_back_the_same(tmp_path: Path) -> None:
    chosen = {
        "box": "b",
        "state_dir": tmp_path,
        "roles": ["depository"],
        "fixed": False,
        "lent_bytes": "20GB",
        "labels": {"room": 'a "quoted" ü', "floor.no": "2"},
        "coordinate": {"x_ms": 1.5, "y_ms": -2},
    }
    config = BoxConfig.build(chosen, source="test")
    write_configuration(config)
    assert BoxConfig.load(tmp_path) == config


def test_an_unknown_key_in_box_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "box.toml").write_text('box = "b"\nfrobnicate = 1\n')
    with pytest.raises(BadInput, match="frobnicate") as caught:
        BoxConfig.load(tmp_path)
    assert caught.value.field == "frobnicate"
