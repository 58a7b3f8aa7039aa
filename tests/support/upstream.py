"""Registries elsewhere: Debian's docker-registry with a password, and one of our own that misbehaves."""

from __future__ import annotations

import base64
import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from common.oci.digest import digest_of
from common.oci.manifests import OCI_INDEX
from tests.support.certificates import CertificateAuthority
from tests.support.depository import MANIFEST_TYPE, PASSWORD, USER, Image
from tests.support.redis import free_port, wait_until

# Of PASSWORD.
BCRYPT = "$2y$05$Kv7qAAPnM0yHXGntVJFFGedAcsMtFm54XI/AAOr.25arPBTZOhw3m"


@dataclass(frozen=True)
class Upstream:
    """A registry at `host` (with its port); `client` may push."""

    host: str
    client: httpx.Client

    def push(self, image: Image, reference: str) -> None:
        """Push an image under a tag or its digest."""
        base = f"/v2/{image.repository}"
        for data, _ in image.parts[1:]:
            begun = self.client.post(f"{base}/blobs/uploads/").raise_for_status()
            place = httpx.URL(begun.headers["Location"]).copy_merge_params({"digest": digest_of(data)})
            self.client.put(place, content=data).raise_for_status()
        self.put_manifest(image.repository, reference, image.manifest, MANIFEST_TYPE)

    def push_index(self, tag: str, *images: tuple[Image, str]) -> str:
        """Push images and an index of them; returns its digest."""
        for image, _ in images:
            self.push(image, image.digest)
        data = index_of(*images)
        self.put_manifest(images[0][0].repository, tag, data, OCI_INDEX)
        return digest_of(data)

    def put_manifest(self, repository: str, reference: str, data: bytes, media_type: str) -> None:
        """Push a manifest alone."""
        path = f"/v2/{repository}/manifests/{reference}"
        self.client.put(path, content=data, headers={"Content-Type": media_type}).raise_for_status()


def index_of(*images: tuple[Image, str]) -> bytes:
    """An index of images by architecture."""
    entries = [
        {
            "mediaType": MANIFEST_TYPE,
            "digest": image.digest,
            "size": len(image.manifest),
            "platform": {"os": "linux", "architecture": architecture},
        }
        for image, architecture in images
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()


@contextmanager
def run_docker_registry(directory: Path, authority: CertificateAuthority | None = None) -> Iterator[Upstream]:
    """CNCF distribution as Debian has it, with basic authentication; by TLS if it has an authority."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("the Debian package docker-registry is not installed")
    directory.mkdir(parents=True)
    (directory / "htpasswd").write_text(f"{USER}:{BCRYPT}\n")
    host = f"127.0.0.1:{free_port()}"
    http: dict[str, object] = {"addr": host}
    trusted: ssl.SSLContext | bool = True
    if authority is not None:
        certificate, key = authority.sign("127.0.0.1")
        (directory / "tls.crt").write_bytes(certificate)
        (directory / "tls.key").write_bytes(key)
        http["tls"] = {"certificate": str(directory / "tls.crt"), "key": str(directory / "tls.key")}
        trusted = ssl.create_default_context(cadata=authority.certificate.decode())
    (directory / "config.yml").write_text(
        json.dumps({
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(directory / "data")}},
            "http": http,
            "auth": {"htpasswd": {"realm": "elsewhere", "path": str(directory / "htpasswd")}},
        })
    )  # fmt: skip
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(directory / "config.yml")], stdout=log, stderr=log)
    try:
        url = f"{'http' if authority is None else 'https'}://{host}"
        with httpx.Client(base_url=url, auth=(USER, PASSWORD), timeout=20, verify=trusted) as client:
            wait_until(lambda: _answers(client), what="docker-registry")
            yield Upstream(host, client)
    finally:
        process.terminate()
        process.wait(10)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/v2/").status_code == 200
    except httpx.HTTPError:
        return False


@dataclass
class Faulty:
    """A registry with tokens whose blobs lie at another address, where credentials must not come.

    `break_after` bytes each answer with a blob is cut off.
    """

    blobs: dict[str, bytes]
    manifests: dict[str, tuple[bytes, str]]
    break_after: int | None = None
    lies: bool = False
    host: str = ""
    elsewhere: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)


@contextmanager
def run_faulty(faulty: Faulty) -> Iterator[Faulty]:
    """Serve it on two ports of loopback."""
    expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            authorization = self.headers.get("Authorization", "")
            path = self.path.partition("?")[0]
            faulty.asked.append((path, self.headers.get("Range", "")))
            if path == "/token":
                good = authorization == expected
                self._send(200 if good else 401, json.dumps({"token": "t-1"} if good else {}).encode())
            elif path.startswith("/content/"):
                if authorization:
                    faulty.leaked.append(path)
                self._blob(path.rsplit("/", 1)[-1])
            elif authorization != "Bearer t-1":
                realm = f'Bearer realm="http://{faulty.host}/token",service="elsewhere"'
                self._send(401, b"{}", WWW_Authenticate=realm)
            elif "/blobs/" in path:
                self._send(307, b"", Location=f"http://{faulty.elsewhere}/content/{path.rsplit('/', 1)[-1]}")
            else:
                data, kind = faulty.manifests.get(path.rsplit("/", 1)[-1], (b"", ""))
                self._send(200 if data else 404, data, Content_Type=kind)

        def _blob(self, digest: str) -> None:
            data = faulty.blobs[digest]
            if faulty.lies:
                data = bytes(len(data))
            first = (
                int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
                if "Range" in self.headers
                else 0
            )
            self.send_response(206 if first else 200)
            if first:
                self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - first))
            self.end_headers()
            most = len(data) if faulty.break_after is None else faulty.break_after
            self.wfile.write(data[first : first + most])
            if first + most < len(data):
                self.close_connection = True

        def _send(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
    faulty.host, faulty.elsewhere = (f"127.0.0.1:{server.server_address[1]}" for server in servers)
    for server in servers:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield faulty
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def faulty_of(image: Image, tag: str, **how: Any) -> Faulty:
    """Such a registry with one image."""
    manifests = dict.fromkeys((tag, image.digest), (image.manifest, MANIFEST_TYPE))
    return Faulty({digest_of(data): data for data, _ in image.parts[1:]}, manifests, **how)
