"""The members of an image's archive, whether it is a directory or a tar."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from common.errors import BadInput
from common.oci.manifests import LIMIT_BYTES


class BadArchive(BadInput):
    """A file or directory that holds no image this project can read."""

    usual_remedy = "Save the image again: docker save IMAGE -o FILE, or skopeo copy … oci-archive:FILE."


class Members:
    """The members of a directory or a tar, by their path."""

    def __init__(self, root: Path, tar: tarfile.TarFile | None) -> None:
        self._root = root
        self._tar = tar
        self.name = str(root)

    def open(self, name: str) -> BinaryIO:
        """A member for reading; raises BadArchive if there is none of that name."""
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts:
            raise BadArchive(f"{self.name} names a file outside of itself: {name!r}.")
        try:
            if self._tar is None:
                path = (self._root / name).resolve()
                if not path.is_relative_to(self._root.resolve()):
                    raise BadArchive(f"{self.name} names a file outside of itself: {name!r}.")
                return path.open("rb")
            file = self._tar.extractfile(self._member(name))
        except (KeyError, FileNotFoundError, IsADirectoryError) as error:
            raise BadArchive(f"{self.name} has no {name}.") from error
        if file is None:
            raise BadArchive(f"{name} in {self.name} is not a file.")
        return file  # type: ignore[return-value]

    def _member(self, name: str) -> tarfile.TarInfo:
        assert self._tar is not None  # noqa: S101 - only asked for tars
        try:
            return self._tar.getmember(name)
        except KeyError:
            return self._tar.getmember(f"./{name}")

    def has(self, name: str) -> bool:
        """Whether there is such a member."""
        try:
            self.open(name).close()
        except BadArchive:
            return False
        return True

    def read(self, name: str, limit_bytes: int = LIMIT_BYTES) -> bytes:
        """A small member whole."""
        with self.open(name) as file:
            data = file.read(limit_bytes + 1)
        if len(data) > limit_bytes:
            raise BadArchive(f"{name} in {self.name} is larger than {limit_bytes} bytes.")
        return data

    def json(self, name: str) -> Any:
        """A JSON member."""
        try:
            return json.loads(self.read(name))
        except ValueError as error:
            raise BadArchive(f"{name} in {self.name} is not JSON: {error}.") from error


@contextmanager
def open_members(path: Path) -> Iterator[Members]:
    """The members of `path`, for as long as the context is open. Raises BadArchive."""
    if path.is_dir():
        yield Members(path, None)
        return
    try:
        tar = tarfile.open(path)  # noqa: SIM115 - closed below, while errors of the body are not ours
    except FileNotFoundError as error:
        raise BadArchive(f"{path} does not exist.", field="path") from error
    except (tarfile.TarError, OSError, EOFError) as error:
        raise BadArchive(f"{path} is not a tar: {error}.", field="path") from error
    with tar:
        yield Members(path, tar)
