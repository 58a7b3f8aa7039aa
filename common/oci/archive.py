"""Images in files: what `docker save` writes, and OCI image layouts, as a directory or a tar.

Layers that lie there uncompressed are compressed in a way that depends on their content alone, so that pushing the
same image twice from different machines moves and stores its layers once.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from common.errors import BadInput
from common.oci.digest import digest_of, hex_of
from common.oci.manifests import DOCKER_MANIFEST, LIMIT_BYTES, Descriptor, Manifest, parse

DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
# Media types of layers that travel uncompressed, and what they are once compressed.
COMPRESSED = {
    "application/vnd.oci.image.layer.v1.tar": "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.docker.image.rootfs.diff.tar": DOCKER_LAYER,
}
# Part of what makes the result the same everywhere; twice as quick as gzip's default, a few percent larger.
_LEVEL = 3
_STEP_BYTES = 2**20
_GZIP_MAGIC = b"\x1f\x8b"

Opener = Callable[[], BinaryIO]


class BadArchive(BadInput):
    """A file or directory that holds no image this project can read."""


@dataclass(frozen=True)
class ArchivedBlob:
    """A config or layer of an archived image; `open` gives its bytes as they are to be pushed."""

    descriptor: Descriptor
    open: Opener


@dataclass(frozen=True)
class ArchivedImage:
    """An image for one platform, ready to be pushed: its blobs first (config, then layers), then the manifest."""

    manifest: bytes
    media_type: str
    architecture: str
    blobs: tuple[ArchivedBlob, ...]

    @property
    def digest(self) -> str:
        """The digest of the manifest."""
        return digest_of(self.manifest)


class _Files:
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
def open_archive(path: Path, *, architecture: str = "") -> Iterator[ArchivedImage]:
    """The image in `path`; its blobs can be read while the context is open.

    Of an archive with several platforms, `architecture` chooses one. Raises BadArchive.
    """
    with tempfile.TemporaryDirectory(prefix="openraas-archive-") as scratch, _files(path) as files:
        if files.has("index.json"):
            yield _from_layout(files, Path(scratch), architecture)
        elif files.has("manifest.json"):
            yield _from_docker(files, Path(scratch))
        else:
            raise BadArchive(
                f"{path} is neither an OCI image layout nor the output of docker save.",
                field="path",
                remedy="Make one: docker save IMAGE -o image.tar.",
            )


@contextmanager
def _files(path: Path) -> Iterator[_Files]:
    if path.is_dir():
        yield _Files(path, None)
        return
    try:
        tar = tarfile.open(path)  # noqa: SIM115 - closed below, while errors of the body are not ours
    except FileNotFoundError as error:
        raise BadArchive(f"{path} does not exist.", field="path") from error
    except (tarfile.TarError, OSError, EOFError) as error:
        raise BadArchive(f"{path} is not a tar: {error}.", field="path") from error
    with tar:
        yield _Files(path, tar)


def _from_layout(files: _Files, scratch: Path, architecture: str) -> ArchivedImage:
    def blob(digest: str) -> str:
        return f"blobs/sha256/{hex_of(digest)}"

    data = files.read("index.json")
    manifest = parse(data)
    for _ in range(2):  # an index may name indexes, one below the other, never deeper in practice
        if manifest.is_index:
            data = files.read(blob(_choose(manifest, architecture, files.name).digest))
            manifest = parse(data)
    if manifest.config is None:
        raise BadArchive(f"{files.name} holds no image.", field="path")
    config = _as_is(files, blob(manifest.config.digest), manifest.config)
    layers = [_layer(files, blob(item.digest), item, scratch) for item in manifest.layers]
    if any(new.descriptor != old for new, old in zip(layers, manifest.layers, strict=True)):
        value = json.loads(data)
        for entry, new in zip(value["layers"], layers, strict=True):
            entry.update(new.descriptor.as_json())
        data = json.dumps(value).encode()
    return _image(data, manifest.media_type, files.read(blob(manifest.config.digest)), (config, *layers))


def _choose(index: Manifest, architecture: str, name: str) -> Descriptor:
    real = [item for item in index.manifests if item.architecture != "unknown"]
    fitting = [item for item in real if not architecture or item.architecture in ("", architecture)]
    if len(fitting) != 1:
        known = ", ".join(sorted({item.architecture or "one without a platform" for item in real})) or "none"
        raise BadArchive(
            f"{name} holds {len(fitting)} images that could be meant (architectures: {known}).",
            field="architecture",
            remedy="Name one that is there once, or save a single image.",
        )
    return fitting[0]


def _from_docker(files: _Files, scratch: Path) -> ArchivedImage:
    """What `docker save` of engines before 25 writes: manifest.json, a config, a directory per layer."""
    entries = files.json("manifest.json")
    if not isinstance(entries, list) or len(entries) != 1 or not isinstance(entries[0], dict):
        raise BadArchive(f"{files.name} does not hold exactly one image.", field="path")
    try:
        config_name, layer_names = str(entries[0]["Config"]), [str(name) for name in entries[0]["Layers"]]
    except (KeyError, TypeError) as error:
        raise BadArchive(f"manifest.json in {files.name} has no {error}.", field="path") from error
    content = files.read(config_name)
    config = _as_is(files, config_name, Descriptor(DOCKER_CONFIG, digest_of(content), len(content)))
    layers = [_layer(files, name, None, scratch) for name in layer_names]
    manifest = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": config.descriptor.as_json(),
        "layers": [layer.descriptor.as_json() for layer in layers],
    }
    return _image(json.dumps(manifest).encode(), DOCKER_MANIFEST, content, (config, *layers))


def _image(data: bytes, media_type: str, config: bytes, blobs: tuple[ArchivedBlob, ...]) -> ArchivedImage:
    try:
        architecture = str(json.loads(config).get("architecture", ""))
    except (ValueError, AttributeError) as error:
        raise BadArchive("The image's config is not a JSON object.", field="path") from error
    return ArchivedImage(data, media_type, architecture, blobs)


def _as_is(files: _Files, name: str, descriptor: Descriptor) -> ArchivedBlob:
    return ArchivedBlob(descriptor, lambda: files.open(name))


def _layer(files: _Files, name: str, told: Descriptor | None, scratch: Path) -> ArchivedBlob:
    """A layer as it is pushed: as it is if it is compressed, else compressed into `scratch`."""
    with files.open(name) as file:
        is_gzip = file.read(2) == _GZIP_MAGIC
    if told is not None and (is_gzip or told.media_type not in COMPRESSED):
        return _as_is(files, name, told)
    if is_gzip:
        with files.open(name) as file:
            digest, size = _hash(file)
        return _as_is(files, name, Descriptor(DOCKER_LAYER, digest, size))
    media_type = DOCKER_LAYER if told is None else COMPRESSED[told.media_type]
    path = scratch / f"{len(list(scratch.iterdir()))}.gz"
    with files.open(name) as file, path.open("wb") as out:
        compress(file, out)
    with path.open("rb") as file:
        digest, size = _hash(file)
    return ArchivedBlob(Descriptor(media_type, digest, size), lambda: path.open("rb"))


def compress(source: BinaryIO, out: BinaryIO) -> None:
    """gzip without a name or a time: the same content gives the same bytes (for one version of zlib)."""
    with gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=out, mtime=0) as packed:
        while piece := source.read(_STEP_BYTES):
            packed.write(piece)


def _hash(file: BinaryIO) -> tuple[str, int]:
    whole, size = hashlib.sha256(), 0
    while piece := file.read(_STEP_BYTES):
        whole.update(piece)
        size += len(piece)
    return f"sha256:{whole.hexdigest()}", size
