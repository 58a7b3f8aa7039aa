"""Boxes that hold layers, in this process (the front's routes on real sockets), and a small master for tags."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import random
import tarfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from common.join import JoinAnswer
from common.oci.store import ContentStore
from common.signing import SealKey, Signer, Verifier
from common.tickets import LayerTicket, RepositoryTicket, issue
from common.wishes import BlobSource, ChunkList, ImageSource
from common.words import Endpoint, Role
from workers.box.config import BoxConfig, BoxPaths, Identity
from workers.box.front import Route, make_server
from workers.box.table import Table
from workers.depository.arriving import ArrivingRoute
from workers.depository.client import SOCKET, LayersClient
from workers.depository.control import Control
from workers.depository.fetcher import Fetcher, shared_fetcher
from workers.depository.holdings import Holdings
from workers.depository.loopback import Loopback
from workers.depository.registry import Registry

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"
USER, PASSWORD = "ada", "a-password-of-ada"


class FakeMaster:
    """Tags in a dictionary, and a realm that gives USER every token."""

    def __init__(self, signer: Signer) -> None:
        self.signer = signer
        self.tags: dict[tuple[str, str], dict[str, Any]] = {}
        self.requests: list[tuple[str, str, str]] = []
        master = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self, status: int, value: object) -> None:
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                authorization = self.headers.get("Authorization", "")
                master.requests.append(("GET", self.path, authorization))
                if self.path.startswith("/v2/token"):
                    expected = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
                    if authorization != f"Basic {expected}":
                        self._answer(401, {"message": "Who are you?"})
                        return
                    self._answer(200, {"token": master.token(*_scopes(self.path))})
                    return
                name = self.path.removeprefix("/api/v1/images/tags/")
                repository, _, tag = name.rpartition("/")
                tags = [key[1] for key in master.tags if key[0] == name]
                found = master.tags.get((repository, tag))
                if not found and not tags:
                    self._answer(404, {"message": f"There is no image {name}."})
                    return
                answer: dict[str, Any] = {"tags": tags or None, "digest": None, "media_type": None}
                if found:
                    answer.update(digest=found["digest"], media_type=found["media_type"])
                self._answer(200, answer)

            def do_PUT(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                master.requests.append(("PUT", self.path, self.headers.get("Authorization", "")))
                master.tags[body["repository"], body["tag"]] = body
                self.send_response(204)
                self.end_headers()

            def do_DELETE(self) -> None:
                name = self.path.removeprefix("/api/v1/images/tags/")
                repository, _, tag = name.rpartition("/")
                digest = unquote(tag)
                gone = [
                    key
                    for key, told in master.tags.items()
                    if key == (repository, tag) or (key[0] == repository and told["digest"] == digest)
                ]
                for key in gone:
                    del master.tags[key]
                if not gone and ":" not in digest:
                    self._answer(404, {"message": f"There is no image {name}."})
                    return
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(host="127.0.0.1", port=self.server.server_address[1])

    def token(self, *repositories: str, actions: str = "pull,push,delete", **fields: Any) -> str:
        """A RepositoryTicket for these repositories."""
        allowed = {name: frozenset(actions.split(",")) for name in repositories}
        values = {"expires_at": time.time() + 60, "user": USER, "actions": allowed, **fields}
        return issue(self.signer, RepositoryTicket.model_validate(values))

    def layer_ticket(self, blobs: Iterable[str]) -> str:
        """A LayerTicket for these blobs."""
        ticket = LayerTicket(expires_at=time.time() + 300, box="reader", blobs=frozenset(blobs))
        return issue(self.signer, ticket)


def _scopes(path: str) -> list[str]:
    from urllib.parse import parse_qs, urlsplit

    scopes = parse_qs(urlsplit(path).query).get("scope", [])
    return [scope.split(":")[1] for text in scopes for scope in text.split()]


class FakeBox:
    """One box's front process, in threads of this process."""

    def __init__(self, name: str, directory: Path, master: FakeMaster, **config: Any) -> None:
        self.name = name
        self.master = master
        self.config = BoxConfig(
            box=name, state_dir=directory, **{"roles": frozenset({Role.DEPOSITORY}), **config}
        )
        self.paths = BoxPaths(directory)
        self.paths.run.mkdir(parents=True, exist_ok=True)
        identity(name, master).save(directory)
        self.verifier = Verifier(master.signer.public_key)
        self.table = Table(self.paths.table)
        self.holdings = Holdings(self.table, ContentStore(self.paths.store))
        arguments = (self.config, self.paths, self.table, self.verifier)
        public = (Registry(*arguments, accel=False), ArrivingRoute(*arguments, accel=False))
        self.public = self._serve(("127.0.0.1", 0), *public)
        self.loopback = self._serve(("127.0.0.1", 0), Loopback(*arguments))
        self.control = self._serve(self.paths.run / SOCKET, Control(*arguments))
        self.client = LayersClient(self.paths)

    @property
    def fetcher(self) -> Fetcher:
        return shared_fetcher(self.config, self.paths, self.table)

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(host="127.0.0.1", port=self.public.server_address[1])

    @property
    def loopback_port(self) -> int:
        return int(self.loopback.server_address[1])

    def _serve(self, address: Path | tuple[str, int], *routes: Route) -> ThreadingHTTPServer:
        server = make_server(address, list(routes))
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server

    def hold(self, image: Image) -> None:
        """Let the box hold an image as if it had been pushed."""
        for data, media_type in image.parts:
            self.holdings.add(self.holdings.store.put(data), media_type, image.repository)

    def stop(self) -> None:
        for server in (self.public, self.loopback, self.control):
            server.shutdown()
            server.server_close()


def identity(name: str, master: FakeMaster) -> Identity:
    """What joining would have given."""
    answer = JoinAnswer(
        box=name,
        certificate="",
        authority="",
        master_key=master.signer.public_key,
        master=master.endpoint,
        redis_url="redis://127.0.0.1:1/0",
        applications_domain="localhost",
    )
    return Identity(answer=answer, seal_key=SealKey.generate())


class Image:
    """An image made of random files, the same for the same seed."""

    def __init__(
        self, *sizes: int, repository: str = "site", seed: int = 1, architecture: str = "amd64"
    ) -> None:
        self.repository = repository
        source = random.Random(seed)  # noqa: S311 - the same image for the same seed
        tars = [_layer(f"layer-{number}", source.randbytes(size)) for number, size in enumerate(sizes)]
        self.layers = [gzip.compress(tar, 1, mtime=0) for tar in tars]
        config = {
            "architecture": architecture,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [_digest(tar) for tar in tars]},
        }
        self.config = json.dumps(config).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": _descriptor(self.config, CONFIG_TYPE),
            "layers": [_descriptor(layer, LAYER_TYPE) for layer in self.layers],
        }
        self.manifest = json.dumps(manifest).encode()

    @property
    def digest(self) -> str:
        return _digest(self.manifest)

    @property
    def parts(self) -> list[tuple[bytes, str]]:
        """Every blob with its media type: manifest, config, layers."""
        layers = [(layer, LAYER_TYPE) for layer in self.layers]
        return [(self.manifest, MANIFEST_TYPE), (self.config, CONFIG_TYPE), *layers]

    @property
    def by_digest(self) -> dict[str, bytes]:
        return {_digest(data): data for data, _ in self.parts}

    def chunks(self, part: int, chunk_bytes: int = 65536) -> list[bytes]:
        """One part in chunks."""
        data = self.parts[part][0]
        return [data[start : start + chunk_bytes] for start in range(0, len(data), chunk_bytes)]

    @property
    def size_bytes(self) -> int:
        return sum(len(data) for data, _ in self.parts)

    def source(
        self,
        master: FakeMaster,
        endpoints: dict[str, Endpoint],
        *,
        fetching: dict[str, Endpoint] | None = None,
        listed: bool = True,
        chunk_bytes: int = 65536,
    ) -> ImageSource:
        """What a placement says of it: who holds it, and who is fetching it too."""
        peers = fetching or {}
        blobs = [
            BlobSource(
                digest=_digest(data),
                size_bytes=len(data),
                media_type=media_type,
                boxes=sorted(endpoints),
                chunk_list=chunk_list(data, chunk_bytes) if listed else None,
            )
            for data, media_type in self.parts
        ]
        return ImageSource(
            name=f"{self.repository}:1",
            manifest=self.digest,
            blobs=blobs,
            endpoints={**endpoints, **peers},
            fetching=sorted(peers),
            ticket=master.layer_ticket(blob.digest for blob in blobs),
        )


def chunk_list(data: bytes, chunk_bytes: int) -> ChunkList:
    pieces = [data[start : start + chunk_bytes] for start in range(0, len(data), chunk_bytes)]
    return ChunkList(
        blob=_digest(data),
        size_bytes=len(data),
        chunk_bytes=chunk_bytes,
        chunks=[hashlib.sha256(piece).hexdigest() for piece in pieces],
    )


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _descriptor(data: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}


def _layer(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@contextmanager
def run_master() -> Iterator[FakeMaster]:
    """A master for tags and tokens."""
    master = FakeMaster(Signer(b"s" * 32))
    thread = threading.Thread(target=master.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield master
    finally:
        master.server.shutdown()
        master.server.server_close()


@contextmanager
def boxes(directory: Path, master: FakeMaster) -> Iterator[Callable[..., FakeBox]]:
    """Makes boxes, and stops them all at the end."""
    made: list[FakeBox] = []

    def make(name: str, **config: Any) -> FakeBox:
        made.append(FakeBox(name, directory / name, master, **config))
        return made[-1]

    try:
        yield make
    finally:
        for box in made:
            box.stop()
