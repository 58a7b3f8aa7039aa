"""An image of busybox and a tiny registry on loopback that serves it; it can be told to say nothing."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from common.wishes import BlobSource, ImageSource
from tests.support.engine import root_file_system

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def digest_of(data: bytes) -> str:
    """The sha256 digest as OCI writes it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass(frozen=True)
class TestImage:
    """Blobs by digest, and the manifest's digest."""

    __test__ = False
    manifest: str
    blobs: dict[str, bytes]
    types: dict[str, str]

    def source(self, name: str = "sample:1") -> ImageSource:
        """As a wish names it."""
        blobs = [
            BlobSource(digest=digest, size_bytes=len(data), media_type=self.types[digest], boxes=[])
            for digest, data in self.blobs.items()
        ]
        return ImageSource(name=name, manifest=self.manifest, blobs=blobs, endpoints={}, ticket="none")


@cache
def make_image(mark: str = "") -> TestImage:
    """An image of busybox; images of different marks have different manifests and the same layer."""
    tar = root_file_system()
    layer = gzip.compress(tar, 1, mtime=0)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/bin/sleep", "3600"], "Env": ["PATH=/bin"], "Labels": {"mark": mark}},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(tar)]},
            "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "busybox"}],
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "size": len(config), "digest": digest_of(config)},
            "layers": [{"mediaType": LAYER, "size": len(layer), "digest": digest_of(layer)}],
        }
    ).encode()
    blobs = {digest_of(data): data for data in (manifest, config, layer)}
    types = {digest_of(manifest): MANIFEST, digest_of(config): CONFIG, digest_of(layer): LAYER}
    return TestImage(digest_of(manifest), blobs, types)


@dataclass
class Registry:
    """A running registry. While `frozen` is set it takes requests and answers none."""

    port: int
    images: list[TestImage] = field(default_factory=list)
    frozen: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)
    closing: threading.Event = field(default_factory=threading.Event)

    def find(self, digest: str) -> tuple[bytes, str] | None:
        """A blob and its media type."""
        for image in self.images:
            if digest in image.blobs:
                return image.blobs[digest], image.types[digest]
        return None


@contextmanager
def run_registry(*images: TestImage) -> Iterator[Registry]:
    """Serve these images on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            registry.asked.set()
            while registry.frozen.is_set() and not registry.closing.wait(0.05):
                pass
            last = self.path.rsplit("/", 1)[-1]
            found = (b"{}", "application/json") if self.path == "/v2/" else registry.find(last)
            status = 200 if found else 404
            data, kind = found or (b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}', "application/json")
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Docker-Content-Digest", last)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    registry = Registry(server.server_address[1], list(images))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield registry
    finally:
        registry.closing.set()
        server.shutdown()
        server.server_close()
