"""A small image of several layers, built without an engine: busybox and files of random bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
APT_S = 120.0


def busybox(directory: Path) -> bytes:
    """A busybox that needs no library: the installed one, or that of Debian's package."""
    installed = Path("/bin/busybox")
    if not installed.exists():
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o755)
        got = subprocess.run(
            ["apt-get", "download", "-q", "busybox-static"], cwd=directory, capture_output=True, timeout=APT_S
        )
        package = next(directory.glob("busybox-static_*.deb"), None)
        if got.returncode or package is None:
            pytest.skip("the Debian package busybox-static is neither installed nor can be fetched")
        subprocess.run(["dpkg", "-x", str(package), str(directory)], check=True, timeout=APT_S)
        installed = directory / "bin/busybox"
    return installed.read_bytes()


def _tar(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


class Layout:
    """An OCI image layout on disk (OCI image specification, "Image Layout")."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "blobs/sha256").mkdir(parents=True)

    def add(self, content: bytes, media_type: str) -> dict[str, Any]:
        """Write a blob; returns its descriptor."""
        digest = hashlib.sha256(content).hexdigest()
        (self.directory / "blobs/sha256" / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    def finish(self, config: Mapping[str, Any], layers: list[bytes]) -> str:
        """Write layers, config, manifest and index; returns the manifest's digest."""
        descriptors = [self.add(gzip.compress(layer, 1, mtime=0), LAYER) for layer in layers]
        diffs = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
        whole = {
            "architecture": ARCHITECTURES[platform.machine()],
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": diffs},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.add(json.dumps(whole).encode(), CONFIG),
            "layers": descriptors,
        }
        descriptor = self.add(json.dumps(manifest).encode(), MANIFEST)
        descriptor["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
        (self.directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        index = {"schemaVersion": 2, "manifests": [descriptor]}
        (self.directory / "index.json").write_text(json.dumps(index))
        return str(descriptor["digest"])


def web_image(directory: Path, *, layers: int = 4, layer_bytes: int = 5_000_000) -> str:
    """An image that serves /srv on port 8080, with `layers` layers of bytes that nothing compresses."""
    scratch = directory.with_name(f"{directory.name}.busybox")
    program = busybox(scratch)
    shutil.rmtree(scratch, ignore_errors=True)
    links = [_tar({"bin/busybox": program, "bin/sh": program, "srv/.keep": b""})]
    weights = [_tar({f"weight/{number}": os.urandom(layer_bytes)}) for number in range(layers)]
    config = {"Cmd": ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/srv"], "User": "65534:65534"}
    return Layout(directory).finish(config, links + weights)
