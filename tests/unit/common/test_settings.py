"""Where settings come from, and what is said of bad ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import BadInput
from common.settings import load_settings


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration file that is in force, not written yet."""
    path = tmp_path / "openraas.toml"
    monkeypatch.setenv("OPENRAAS_CONFIG", str(path))
    monkeypatch.setenv("OPENRAAS_STATE_DIR", str(tmp_path))
    return path


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text('web_port = 8081\npolicy = "first"\nlease_s = "2h"\n')
    monkeypatch.setenv("OPENRAAS_WEB_PORT", "8082")
    settings = load_settings()
    assert (settings.web_port, settings.policy, settings.lease_s) == (8082, "first", 7200.0)
    assert settings.redis_port == 6390


def test_what_was_typed_wins_over_all(file: Path) -> None:
    file.write_text("web_port = 8081\n")
    assert load_settings(web_port=8083).web_port == 8083


@pytest.mark.parametrize(
    ("text", "field"),
    [("web_port = 0", "web_port"), ("frobnicate = 1", "frobnicate"), ('lease_s = "soon"', "lease_s")],
)
def test_a_bad_key_of_the_file_is_named(file: Path, text: str, field: str) -> None:
    file.write_text(text + "\n")
    with pytest.raises(BadInput, match=field) as caught:
        load_settings()
    assert caught.value.field == field
    assert caught.value.remedy


@pytest.mark.parametrize("text", [None, "this is = = no TOML"])
def test_a_file_that_is_missing_or_no_toml_is_named(file: Path, text: str | None) -> None:
    if text is not None:
        file.write_text(text)
    with pytest.raises(BadInput, match=file.name) as caught:
        load_settings()
    assert caught.value.remedy


def test_a_redis_elsewhere_needs_tls(file: Path) -> None:
    file.write_text('redis_url = "redis://:secret@192.0.2.1:6379/0"\n')
    with pytest.raises(BadInput, match="TLS") as caught:
        load_settings()
    assert "secret" not in str(caught.value)
