"""Removing what others may still be writing to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from workers.filestore.programs import remove_tree


def test_what_is_put_into_a_directory_while_it_is_removed_goes_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doomed = tmp_path / "doomed"
    (doomed / "inner").mkdir(parents=True)
    late = iter(["one", "two"])
    really_remove = os.rmdir

    def rmdir(path: Any, *arguments: Any, **options: Any) -> None:
        if (name := next(late, None)) is not None:
            (doomed / name).touch()
        really_remove(path, *arguments, **options)

    monkeypatch.setattr(os, "rmdir", rmdir)
    remove_tree(str(doomed))
    assert not doomed.exists()
    remove_tree(str(doomed))


def test_a_directory_that_never_gets_empty_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doomed = tmp_path / "doomed"
    doomed.mkdir()

    def rmdir(*_: Any, **__: Any) -> None:
        raise OSError(39, "Directory not empty")

    monkeypatch.setattr(os, "rmdir", rmdir)
    with pytest.raises(OSError, match="not empty"):
        remove_tree(str(doomed))
