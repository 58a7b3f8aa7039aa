"""Making the samples' base image where no registry can be reached: a real engine, and packages of the test."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from rich.console import Console

from common.errors import Unavailable
from master.up import building
from master.up.building import BASE_IMAGE, Builder, BuildFailed
from master.up.display import Display
from tests.support.engine import run_engine

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def engine_url() -> Iterator[str]:
    """A private engine, which no registry answers."""
    with run_engine() as server:
        yield server.url


@pytest.fixture
def builder(engine_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Builder]:
    # A name under which nobody serves images, whatever this machine reaches.
    monkeypatch.setattr(building, "BASE_IMAGE", "no-such.invalid/debian:test")
    made = Builder(engine_url, Display(Console(file=io.StringIO())))
    yield made
    made.close()


def mmdebstrap(directory: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> None:
    """Let this be the machine's mmdebstrap; $4 is the tar that it is to write."""
    command = directory / "mmdebstrap"
    command.write_text(f"#!/bin/sh\n{does}\n")
    command.chmod(0o755)
    monkeypatch.setattr(building.needs, "find", lambda _: str(command))


def test_without_a_registry_the_base_is_made_from_packages_and_built_upon(
    builder: Builder, engine_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tarfile.open(tmp_path / "packages.tar", "w") as tar:
        entry = tarfile.TarInfo("etc/debian_version")
        entry.size = 5
        tar.addfile(entry, io.BytesIO(b"12.0\n"))
    mmdebstrap(
        tmp_path,
        monkeypatch,
        f'test "$2 $3" = "--variant=minbase bookworm" && cp {tmp_path}/packages.tar "$4"',
    )
    folder = tmp_path / "sample"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM no-such.invalid/debian:test\nCOPY Dockerfile /made\n")
    builder.build(folder, "sample:1")
    assert builder.has("sample:1")
    image = docker.DockerClient(base_url=engine_url).images.get("no-such.invalid/debian:test")
    assert image.attrs["Config"]["Cmd"] == ["bash"]


def test_an_image_builds_on_the_folder_beside_it_and_files_come_out_of_one(
    builder: Builder, tmp_path: Path
) -> None:
    for name, text in (
        ("below", "FROM scratch\nCOPY Dockerfile /files/levels.wad\n"),
        ("above", "FROM below:1\nCOPY Dockerfile /above\n"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "Dockerfile").write_text(text)
    builder.build(tmp_path / "above", "above:1")
    assert builder.has("below:1")
    files = tmp_path / "files"
    files.mkdir()
    builder.build_files(tmp_path / "below", "Dockerfile", "levels", files)
    assert [path.name for path in files.iterdir()] == ["levels.wad"]
    assert not builder.has("levels:files")
    with pytest.raises(BuildFailed, match="cannot be read"):
        builder.build(tmp_path / "nowhere", "nowhere:1")


def test_packages_that_cannot_be_had_are_told_with_the_end_of_what_was_said(
    builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mmdebstrap(tmp_path, monkeypatch, "echo cannot reach the mirror >&2; exit 25")
    monkeypatch.setattr(building, "BASE_IMAGE", "no-such.invalid/other:test")
    (tmp_path / "Dockerfile").write_text("FROM no-such.invalid/other:test\n")
    with pytest.raises(BuildFailed, match="cannot reach the mirror"):
        builder.build(tmp_path, "sample:2")


def test_without_mmdebstrap_the_package_is_named(
    builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "BASE_IMAGE", "no-such.invalid/third:test")
    monkeypatch.setattr(building.needs, "find", lambda _: None)
    (tmp_path / "Dockerfile").write_text("FROM no-such.invalid/third:test\n")
    with pytest.raises(Unavailable, match="mmdebstrap"):
        builder.build(tmp_path, "sample:3")


def test_the_base_is_debians_own_name_so_that_a_pulled_one_is_the_same() -> None:
    assert BASE_IMAGE == "debian:bookworm-slim"
