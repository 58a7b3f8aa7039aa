"""A gateway as on a box: nginx, the front process's server, an instance behind it."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from common.access import WEB, Way
from common.service import ServiceSpec
from common.signing import Signer, Verifier
from common.tickets import OpenTicket, issue
from common.wishes import ComputeWish, sign_wish, wish_field
from common.words import Resources
from tests.support.box import SEED, identity_for
from tests.support.redis import free_port, wait_until
from tests.support.registry import make_image
from workers.box.config import BoxConfig, BoxPaths
from workers.box.front import Exchange, make_server
from workers.box.table import Table
from workers.compute.instances import InstanceRow, Instances
from workers.gateway.auth import Auth
from workers.gateway.nginx import server_command
from workers.gateway.pictures import PictureRoute


class Application(BaseHTTPRequestHandler):
    """Answers with what it was asked; echoes bytes after an upgrade until `end`; streams slowly at /stream."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.headers.get("Upgrade") == "websocket":
            self._echo()
        elif self.path == "/stream":
            self._stream()
        elif self.path == "/steal":
            self._answer({}, {"X-Accel-Redirect": "/_openraas/ping"})
        else:
            length = int(self.headers.get("Content-Length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = {"path": self.path, "headers": headers, "body": self.rfile.read(length).decode()}
            self._answer(body, {})

    do_POST = do_GET  # noqa: N815

    def _answer(self, body: Any, headers: dict[str, str]) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _echo(self) -> None:
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        # RFC 6455, section 4.2.2: proof that the handshake was understood.
        key = self.headers.get("Sec-WebSocket-Key", "") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode(), usedforsecurity=False).digest()).decode()
        self.send_header("Sec-WebSocket-Accept", accept)
        self.end_headers()
        self.close_connection = True
        with suppress(OSError):
            while (data := self.connection.recv(4096)) and data != b"end":
                self.connection.sendall(data)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"data: first\n\n")
        self.close_connection = True
        self.server.hold.wait(20)  # type: ignore[attr-defined]
        self.wfile.write(b"data: second\n\n")

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Blobs:
    """Stands in for the registry: sends a blob through nginx, and takes an upload."""

    prefix = "/v2/"

    def handle(self, exchange: Exchange) -> None:
        if exchange.method == "PUT":
            exchange.answer(201, str(sum(len(piece) for piece in exchange.body())).encode())
        else:
            exchange.answer(200, headers={"X-Accel-Redirect": "/_store/sha256/abc"})


@dataclass
class Gateway:
    """A running gateway with one instance."""

    config: BoxConfig
    paths: BoxPaths
    instances: Instances
    table: Table
    signer: Signer
    application: ThreadingHTTPServer
    nginx: subprocess.Popen[bytes]
    log: Path

    def ask(
        self, method: str, path: str, host: str = "i-1.localhost", body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """One request; names of headers in the answer are in small letters."""
        connection = http.client.HTTPConnection("127.0.0.1", self.config.front_port, timeout=10)
        try:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(
                method, path, body=body, headers={"Host": f"{host}:{self.config.front_port}", **sent}
            )
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def ticket(self, instance: str = "i-1", **changes: Any) -> str:
        """A launch ticket."""
        values: dict[str, Any] = {
            "instance": instance, "generation": 1, "user": "u", "once": f"{time.time_ns()}",
            "expires_at": time.time() + 60, "session_until": time.time() + 600, **changes,
        }  # fmt: skip
        return issue(self.signer, OpenTicket(**values))

    def enter(self, instance: str = "i-1", **changes: Any) -> str:
        """The cookie that a fresh ticket gives."""
        status, headers, _ = self.ask(
            "GET", f"/_openraas/enter?ticket={self.ticket(instance, **changes)}", f"{instance}.localhost"
        )
        assert status == 303
        return headers["set-cookie"].split(";")[0]

    def lease(self, lease_end: float, instance: str = "i-1", version: int = 1) -> None:
        """Let the master want the instance to run until then; the box's worker keeps wishes so."""
        service = ServiceSpec(name="web", image="sample:1", resources=Resources(cpu=0.1, memory_bytes=2**25))
        wish = ComputeWish(
            subject=instance, instance=instance, deployment="d-1", generation=1, version=version,
            lease_end=lease_end, wanted="running", service=service, image=make_image().source(),
        )  # fmt: skip
        self.table.write(
            "INSERT OR REPLACE INTO wishes VALUES (?, ?, ?, ?)",
            (
                wish_field(wish.role, instance),
                wish.generation,
                version,
                sign_wish(self.signer, self.config.box, wish),
            ),
        )

    def add(
        self,
        instance: str,
        generation: int = 1,
        *,
        ready: bool = True,
        access: Way = WEB,
        container: str | None = None,
    ) -> InstanceRow:
        """An instance whose container is the application, or this one."""
        row = self.instances.admit(instance, generation, f"d-{instance}", Resources(), Resources())
        self.instances.place_on(row, f"net-{instance}", ["127.0.0.1"])
        port = self.application.server_address[1]
        self.instances.started(row, container or f"c-{instance}", int(port), time.time() + 60, access)
        if ready:
            self.instances.ready(row)
        return row


@contextmanager
def run_gateway(directory: Path, *, engine_url: str = "") -> Iterator[Gateway]:
    """nginx and the front's server, with one instance `i-1`."""
    application = ThreadingHTTPServer(("127.0.0.1", 0), Application)
    application.daemon_threads = True
    application.hold = threading.Event()  # type: ignore[attr-defined]
    config = BoxConfig(box="near", state_dir=directory, front_port=free_port(), engine_url=engine_url)
    paths = BoxPaths(directory)
    signer = Signer(SEED)
    identity_for(signer, config).save(directory)
    (paths.store / "blobs" / "sha256").mkdir(parents=True)
    (paths.store / "blobs" / "sha256" / "abc").write_bytes(b"the blob")
    table = Table(paths.table)
    verifier = Verifier(signer.public_key)
    auth = Auth(config, paths, table, verifier)
    pictures = PictureRoute(config, paths, table, verifier)
    front = make_server(paths.front_socket, [auth, Blobs(), pictures])
    for server in (application, front):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    log = directory / "nginx.log"
    with log.open("wb") as output:
        nginx = subprocess.Popen(server_command(config, paths), stdout=output, stderr=output)
    made = Gateway(config, paths, Instances(table), table, signer, application, nginx, log)
    try:

        def answers() -> bool:
            assert nginx.poll() is None, log.read_text()
            with suppress(OSError):
                return made.ask("GET", "/healthz", "127.0.0.1")[0] == 200
            return False

        wait_until(answers, 10, "nginx's answer")
        made.add("i-1")
        yield made
    finally:
        application.hold.set()  # type: ignore[attr-defined]
        made.nginx.terminate()
        made.nginx.wait(10)
        for server in (application, front):
            server.shutdown()
            server.server_close()
