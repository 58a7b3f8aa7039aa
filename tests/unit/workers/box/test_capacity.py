"""What a machine has, in the words of container images and of the scheduler."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from workers.box import capacity
from workers.box.config import BoxConfig


@pytest.mark.parametrize(
    ("kernel", "image"), [("x86_64", "amd64"), ("aarch64", "arm64"), ("riscv64", "riscv64"), ("odd", "odd")]
)
def test_architectures_have_the_names_of_container_images(kernel: str, image: str) -> None:
    assert capacity.architecture(kernel) == image


def test_what_the_owner_says_wins_over_what_the_machine_has(tmp_path: Path) -> None:
    config = BoxConfig(
        box="b", state_dir=tmp_path, cpu=0.5, memory_bytes=2**30, gpu=3, lent_bytes=10**9, bandwidth_bps=5
    )
    found = capacity.detect(config)
    assert (found.cpu, found.memory_bytes, found.gpu, found.disk_bytes) == (0.5, 2**30, 3, 10**9)


def test_a_box_never_lends_more_disk_than_there_is(tmp_path: Path) -> None:
    config = BoxConfig(box="b", state_dir=tmp_path, lent_bytes=10**18)
    assert capacity.detect(config).disk_bytes < 10**18


def test_without_a_word_the_machine_is_measured(tmp_path: Path) -> None:
    found = capacity.detect(BoxConfig(box="b", state_dir=tmp_path))
    assert found.cpu >= 1
    assert found.memory_bytes > 2**20
    assert found.gpu >= 0


@pytest.fixture
def fresh() -> Iterator[None]:
    """Nothing was counted before, and nothing that is counted here stays."""
    capacity.nvidia_gpus.cache_clear()
    yield
    capacity.nvidia_gpus.cache_clear()


def smi(directory: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in place of NVIDIA's."""
    tool = directory / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")


@pytest.mark.usefixtures("fresh")
def test_graphics_processors_are_those_that_nvidias_driver_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi(tmp_path, "echo 'GPU 0: A (UUID: x)'; echo '  MIG 1g: y'; echo 'GPU 1: B (UUID: z)'", monkeypatch)
    nodes = [tmp_path / "dri" / "renderD128"]
    nodes[0].parent.mkdir()
    nodes[0].touch()
    assert capacity.count_gpus(nodes[0].parent) == 2
    assert capacity.detect(BoxConfig(box="b", state_dir=tmp_path, gpu=1)).gpu == 1


@pytest.mark.usefixtures("fresh")
def test_without_a_card_of_nvidia_the_render_nodes_of_the_kernel_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi(tmp_path, "echo 'NVIDIA-SMI has failed'; exit 9", monkeypatch)
    assert capacity.count_gpus(tmp_path / "dri") == 0
    (tmp_path / "dri").mkdir()
    for name in ("card0", "renderD128", "renderD129"):
        (tmp_path / "dri" / name).touch()
    assert capacity.count_gpus(tmp_path / "dri") == 2
