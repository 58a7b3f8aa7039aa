"""What a machine has, in the words of container images and of the scheduler."""

from __future__ import annotations

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
