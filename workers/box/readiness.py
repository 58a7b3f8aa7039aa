"""`/readyz` of a box: whether each part that its roles need works now, asked of the parts themselves."""

from __future__ import annotations

import http.client
import socket
import tempfile
import threading
import time
from collections.abc import Callable

from common.oci.store import ContentStore
from common.signing import Verifier
from common.words import Role
from workers.box.config import BoxConfig, BoxPaths
from workers.box.front import Exchange
from workers.box.pulse import Pulse
from workers.box.table import Table
from workers.compute.sockets import connect, usual_sockets

OK = "ok"
# Limit of each question to another program.
ANSWER_S = 2.0
# Whoever asks more often gets the same answer again: anybody may ask.
KEEP_S = 1.0
SSH_GREETING = b"SSH-"


class Readiness:
    """The route. 200 and each part `ok`, or 503 and what is wrong with those that are not."""

    prefix = "/readyz"

    def __init__(self, config: BoxConfig, paths: BoxPaths, table: Table, verifier: Verifier) -> None:  # noqa: ARG002
        self._config = config.with_engine()
        self._store = ContentStore(paths.store)
        self._pulse = Pulse(table)
        self._lock = threading.Lock()
        self._kept: dict[str, str] = {}
        self._kept_until = 0.0
        self._parts: dict[str, Callable[[], str]] = {
            "worker": self._worker,
            "redis": self._redis,
            "store": self._writable,
        }
        if Role.COMPUTE in config.roles:
            self._parts["engine"] = self._engine
        if Role.FILESTORE in config.roles:
            self._parts["sshd"] = self._sshd

    def handle(self, exchange: Exchange) -> None:
        """Answer what works and what does not."""
        with self._lock:
            if time.monotonic() >= self._kept_until:
                self._kept = {part: look() for part, look in self._parts.items()}
                self._kept_until = time.monotonic() + KEEP_S
            found = self._kept
        ready = all(said == OK for said in found.values())
        exchange.answer_json(200 if ready else 503, found, headers={"Cache-Control": "no-store"})

    def _worker(self) -> str:
        beat = self._pulse.last()
        if beat is None:
            return "The worker has not begun yet."
        silent_s = time.time() - beat.at
        if silent_s > self._config.status_ttl_s:
            return f"The worker has been silent for {silent_s:.0f} s."
        return OK

    def _redis(self) -> str:
        beat = self._pulse.last()
        return "Nobody has tried yet." if beat is None else beat.redis_problem or OK

    def _writable(self) -> str:
        try:
            with tempfile.TemporaryFile(dir=self._store.ingest) as file:
                file.write(b"?")
                file.flush()
        except OSError as error:
            return f"The content store cannot be written: {error.strerror}."
        return OK

    def _engine(self) -> str:
        urls = [self._config.engine_url] if self._config.engine_url else usual_sockets()
        return OK if any(_answers(url) for url in urls) else "The container engine does not answer."

    def _sshd(self) -> str:
        address = (self._config.address, self._config.filestore_port)
        try:
            with socket.create_connection(address, timeout=ANSWER_S) as connection:
                if connection.recv(len(SSH_GREETING)) == SSH_GREETING:
                    return OK
        except OSError:
            pass  # said below, as what answers something else is
        return "The server of the filestore does not answer."


def _answers(engine_url: str) -> bool:
    connection = connect(engine_url, timeout_s=ANSWER_S)
    try:
        connection.request("GET", "/_ping")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
