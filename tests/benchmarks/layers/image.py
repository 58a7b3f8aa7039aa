"""The image that is pulled: files of Debian packages installed on this machine, in ten layers.

Made once and kept, since packing takes longer than most cases. Two manifests share the layers: the whole image, and
its base of the first layers, which a box may have already.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import platform
import shutil
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from common.oci.chunks import Measured, measure

LAYERS = 10
BASE_LAYERS = 7
LAYER_BYTES = 17_000_000
LEAST_FILES = 10_000
# A package of a few giant files says little of a real image.
MOST_PACKAGE_BYTES = 40_000_000
MOST_FILE_BYTES = 4_000_000
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
PACKAGES = Path("/var/lib/dpkg/info")
REPOSITORY = "bench"


@dataclass(frozen=True)
class Part:
    """One blob on the disk."""

    path: Path
    media_type: str
    measured: Measured


@dataclass(frozen=True)
class Image:
    """Manifest, config and layers."""

    parts: list[Part]

    @property
    def digest(self) -> str:
        """The manifest's digest."""
        return self.parts[0].measured.digest

    @property
    def wire_bytes(self) -> int:
        """What a box without any of it must fetch."""
        return sum(part.measured.size_bytes for part in self.parts)


@dataclass(frozen=True)
class Images:
    """The whole image and its base."""

    whole: Image
    base: Image
    files: int


def load(directory: Path) -> Images:
    """The images in `directory`, made if they are not there."""
    notes = directory / "notes.json"
    if not notes.exists():
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        notes.write_text(json.dumps(_pack(directory)))
    kept = json.loads(notes.read_text())
    layers = [_part(directory / f"layer-{number}", LAYER_TYPE) for number in range(LAYERS)]
    whole, base = (
        _image(directory, name, layers[:count], kept["diffs"][:count])
        for name, count in (("whole", LAYERS), ("base", BASE_LAYERS))
    )
    return Images(whole, base, kept["files"])


def _pack(directory: Path) -> dict[str, object]:
    print("packing the image (once)", flush=True)
    files, count, diffs = _files(), 0, []
    for number in range(LAYERS):
        with (directory / f"layer-{number}").open("wb") as target:
            added, diff = _layer(files, target)
        count += added
        diffs.append(diff)
    if count < LEAST_FILES:
        sys.exit(f"this machine's packages gave an image of {count} files only")
    return {"files": count, "diffs": diffs}


def _layer(files: Iterator[Path], target: BinaryIO) -> tuple[int, str]:
    """One layer of LAYER_BYTES on the wire; returns how many files it has and the digest of its tar."""
    packed = gzip.GzipFile("", "wb", 6, target, mtime=0)
    hashing = _Hashing(packed)
    count = 0
    with tarfile.open(fileobj=cast(BinaryIO, hashing), mode="w|", format=tarfile.GNU_FORMAT) as tar:
        for path in files:
            tar.add(path, recursive=False)
            count += 1
            if target.tell() > LAYER_BYTES:
                break
        else:
            sys.exit("this machine has too few packages for an image")
    packed.close()
    return count, f"sha256:{hashing.digest.hexdigest()}"


class _Hashing:
    """Writes on what it is given, and knows its digest."""

    def __init__(self, target: gzip.GzipFile) -> None:
        self._target = target
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._target.write(data)


def _files() -> Iterator[Path]:
    for listed in sorted(PACKAGES.glob("*.list")):
        paths = [Path(line) for line in listed.read_text().splitlines()]
        regular = [path for path in paths if path.is_file() and not path.is_symlink()]
        sizes = [path.stat().st_size for path in regular]
        if sum(sizes) < MOST_PACKAGE_BYTES and max(sizes, default=0) < MOST_FILE_BYTES:
            yield from regular


def _image(directory: Path, name: str, layers: list[Part], diffs: list[str]) -> Image:
    described = {
        "architecture": ARCHITECTURES[platform.machine()],
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diffs},
    }
    config = _write(directory / f"{name}-config", described, CONFIG_TYPE)
    described = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _descriptor(config),
        "layers": [_descriptor(layer) for layer in layers],
    }
    return Image([_write(directory / f"{name}-manifest", described, MANIFEST_TYPE), config, *layers])


def _write(path: Path, value: object, media_type: str) -> Part:
    path.write_text(json.dumps(value))
    return _part(path, media_type)


def _part(path: Path, media_type: str) -> Part:
    with path.open("rb") as file:
        return Part(path, media_type, measure(file))


def _descriptor(part: Part) -> dict[str, object]:
    measured = part.measured
    return {"mediaType": part.media_type, "digest": measured.digest, "size": measured.size_bytes}


def lay_out(images: Images, root: Path) -> None:
    """The same blobs as the rival keeps them (distribution's storage driver, "path layout")."""
    base = root / "docker/registry/v2"
    repository = base / "repositories" / REPOSITORY
    for image in (images.whole, images.base):
        for part in image.parts:
            digest = part.measured.digest.removeprefix("sha256:")
            blob = base / "blobs/sha256" / digest[:2] / digest / "data"
            if blob.exists():
                continue
            blob.parent.mkdir(parents=True)
            os.link(part.path, blob)
            kind = "_manifests/revisions" if part.media_type == MANIFEST_TYPE else "_layers"
            link = repository / kind / "sha256" / digest / "link"
            link.parent.mkdir(parents=True)
            link.write_text(part.measured.digest)
