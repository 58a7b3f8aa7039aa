"""A home as a file page and WebDAV clients reach it: a filestore, the front's answer about tickets, and nginx."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote_from_bytes, urlencode, urlsplit

from redis import Redis

from common.signing import Signer
from common.tickets import FilesTicket, issue
from common.words import Endpoint
from master.accounts.models import UserRole
from master.context import MasterContext
from master.web.app import create_app
from tests.support.box import SEED, identity_for
from tests.support.files import MIB, Store, running_store
from tests.support.master import FakeBox, make_master
from tests.support.redis import RedisServer, free_port, wait_until
from tests.support.web import add_person, serve
from workers.box.front import make_server
from workers.filestore.browsing import sessions
from workers.filestore.browsing.access import FilesAccess
from workers.gateway.nginx import server_command

FILESET = "f-home"
READ, ALL = frozenset({"read"}), frozenset({"read", "write", "add"})


class FakeMaster(ThreadingHTTPServer):
    """Says what API tokens open; `tokens` may change, and each question is counted."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Answers)
        self.tokens: dict[str, str] = {}
        self.asked = 0


class _Answers(BaseHTTPRequestHandler):
    server: FakeMaster

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked += 1
        ticket = self.server.tokens.get(self.headers["Authorization"].removeprefix("Bearer "))
        answer = {"ticket": ticket} if ticket else {"message": "This token is not good."}
        body = json.dumps(answer).encode()
        self.send_response(200 if ticket else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@dataclass
class Home:
    """The home of one person, and how it is asked."""

    store: Store
    port: int
    master: FakeMaster

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        """The person's files, while a session is open."""
        return self.store.paths.exports / "homes" / FILESET / "data"

    def ticket(self, **facts: object) -> str:
        values: dict[str, Any] = {
            "user": "u-1",
            "box": "store",
            "fileset": FILESET,
            "size_limit_bytes": 64 * MIB,
            "may": ALL,
            "portal": "http://portal.test/files",
            "expires_at": time.time() + 600,
            **facts,
        }
        return issue(self.store.box.signer, FilesTicket(**values))

    def ask(
        self,
        method: str,
        verb: str,
        body: bytes | Iterable[bytes] | None = None,
        *,
        ticket: str | None = None,
        headers: dict[str, str] | None = None,
        **query: object,
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """One request with a ticket; a path of bytes is percent-encoded."""
        told = {
            name: quote_from_bytes(value) if isinstance(value, bytes) else value
            for name, value in query.items()
        }
        target = f"/files/{FILESET}/{verb}?{urlencode(told)}"
        sent = {"Authorization": f"Bearer {ticket or self.ticket()}", **(headers or {})}
        return self.send(method, target, body, sent)

    def send(
        self, method: str, target: str, body: bytes | Iterable[bytes] | None, headers: dict[str, str]
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(
                method, target, body=body, headers=headers, encode_chunked=not isinstance(body, bytes)
            )
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def told(self, method: str, verb: str, **more: Any) -> Any:
        """The JSON of an answer that has to be good."""
        status, _, body = self.ask(method, verb, **more)
        assert status < 300, (status, body)
        return json.loads(body) if body else None

    def names(self, path: bytes = b"") -> list[str]:
        """What the page would list."""
        return [entry["name"] for entry in self.told("GET", "list", path=path)["entries"]]

    def token(self, name: str = "ora_abcdefgh", **facts: object) -> str:
        """An API token that the master knows."""
        self.master.tokens[name] = self.ticket(**facts)
        return name


@contextmanager
def running_home(
    directory: Path, redis: RedisServer, *, portal_port: int | None = None, **options: object
) -> Iterator[Home]:
    """A box with a home behind its front and nginx; without a portal's port a fake master says what tokens open."""
    port, fake_port = free_port(), free_port()
    master_port = portal_port or fake_port
    with running_store(directory, redis, front_port=port, **options) as store:
        _join(store, master_port)
        context = store.box.context
        store.paths.logs.mkdir(exist_ok=True)
        route = FilesAccess(context.config, context.paths, context.table, context.verifier)
        front = make_server(store.paths.front_socket, [route])
        master = FakeMaster(fake_port)
        for server in (front, master):
            Thread(target=server.serve_forever, daemon=True).start()
        with (directory / "nginx.log").open("wb") as output:
            nginx = subprocess.Popen(server_command(store.config, store.paths), stdout=output, stderr=output)
        home = Home(store, port, master)
        try:
            wait_until(lambda: _answers(home), what="nginx")
            yield home
        finally:
            nginx.terminate()
            nginx.wait(10)
            for fileset in store.volumes.open_homes():
                sessions.end(store.paths.run, fileset)
                wait_until(lambda name=fileset: store.volumes.close_home(name), what="the session's end")  # type: ignore[misc]
            for server in (front, master):
                server.shutdown()
                server.server_close()


@dataclass(frozen=True)
class HomePortal:
    """A portal, a person, and the box on which that person's home is."""

    context: MasterContext
    home: Home
    address: str
    password: str
    token: str


@contextmanager
def running_home_portal(directory: Path, redis: RedisServer) -> Iterator[HomePortal]:
    """The portal and one box, which trust each other."""
    Redis.from_url(redis.url).flushall()  # boxes of the test before would count as this one's
    made = make_master(directory / "master", redis.url, home_limit_bytes=64 * MIB)
    context = replace(made, signer=Signer(SEED))
    _, password, token = add_person(context, "ada", UserRole.USER)
    with ExitStack() as stack:
        address = stack.enter_context(serve(create_app(context)))
        port = urlsplit(address).port
        home = stack.enter_context(running_home(directory / "s", redis, portal_port=port))
        FakeBox(context, "store", front=Endpoint(host="127.0.0.1", port=home.port))
        yield HomePortal(context, home, address, password, token)


def _join(store: Store, master_port: int) -> None:
    identity = identity_for(store.box.signer, store.config)
    answer = identity.answer.model_copy(update={"master": Endpoint(host="127.0.0.1", port=master_port)})
    identity.model_copy(update={"answer": answer}).save(store.config.state_dir)


def _answers(home: Home) -> bool:
    try:
        return home.send("GET", "/healthz", None, {})[0] == 200
    except OSError:
        return False
