"""Images for the applications of a scenario, made without a container engine: their layers have the scenario's sizes.

The lowest layer holds busybox and the program of the sample that stands for the task; the others hold bytes that
nothing compresses, in as many files as the scenario says.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import random
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from master.experiment.errors import ExperimentError
from master.simulation.world import Application, Layer

_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_PACKAGE, _FETCH_S = "busybox-static", 120.0
# A file's header in an archive, and what its content is filled up to.
_BLOCK = 512


@dataclass(frozen=True)
class Packed:
    """A layer as it is sent, with the digest of what it holds."""

    name: str
    data: bytes
    diff_id: str
    files: int


def busybox() -> bytes:
    """A busybox that needs no library: the installed one, or that of Debian's package. Raises ExperimentError."""
    installed = Path(shutil.which("busybox") or "/bin/busybox")
    if installed.exists():
        return installed.read_bytes()
    with tempfile.TemporaryDirectory(prefix="openraas-busybox-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # apt fetches as somebody else
        try:
            got = subprocess.run(
                ["apt-get", "download", "-q", _PACKAGE],
                cwd=folder, capture_output=True, timeout=_FETCH_S, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _no_busybox() from error
        package = next(folder.glob(f"{_PACKAGE}_*.deb"), None)
        if got.returncode or package is None:
            raise _no_busybox()
        subprocess.run(["dpkg", "-x", str(package), str(folder)], check=True, timeout=_FETCH_S)
        return (folder / "bin" / "busybox").read_bytes()


def _no_busybox() -> ExperimentError:
    return ExperimentError(
        "The images of an experiment need busybox, and it is not here.",
        remedy=f"Run: apt install {_PACKAGE}.",
    )


def program_layer(name: str, program: bytes, files: Mapping[str, bytes]) -> Packed:
    """The lowest layer: busybox, its name `sh`, and the sample's own files by their paths in the image."""
    entries = {"bin/busybox": program, **files}
    return _pack(name, _tar(entries.items(), links={"bin/sh": "busybox"}), len(entries) + 1)


def weight_layer(layer: Layer) -> Packed:
    """A layer of the scenario; the same name and size give the same bytes."""
    dice = random.Random(layer.name)  # noqa: S311 - bytes that nothing compresses, not secrets
    each = max(1, layer.size_bytes // layer.files - 2 * _BLOCK)
    entries = ((f"weight/{layer.name}/{number}", dice.randbytes(each)) for number in range(layer.files))
    return _pack(layer.name, _tar(entries), layer.files)


def write_layout(folder: Path, layers: Iterable[Packed]) -> None:
    """An OCI image layout (OCI image specification, "Image Layout") of one image with these layers."""
    layers = list(layers)
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def add(content: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    config = {
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Cmd": ["/bin/sh", "/task"], "User": "65534:65534", "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": add(json.dumps(config).encode(), _CONFIG),
        "layers": [add(layer.data, _LAYER) for layer in layers],
    }
    descriptor = add(json.dumps(manifest).encode(), _MANIFEST)
    descriptor["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [descriptor]}))


def repository(application: Application) -> str:
    """What an application's image is called in the lab."""
    return f"experiment/{label(application)}"


def label(application: Application) -> str:
    """The name of an application in the lab's catalogue; a recorded task has a slash in its name."""
    return "-".join(re.findall(r"[a-z0-9]+", application.name.lower()))


def _pack(name: str, content: bytes, files: int) -> Packed:
    digest = hashlib.sha256(content).hexdigest()
    return Packed(name, gzip.compress(content, 1, mtime=0), f"sha256:{digest}", files)


def _tar(files: Iterable[tuple[str, bytes]], links: Mapping[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return buffer.getvalue()
