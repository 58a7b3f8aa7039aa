"""The road of a guest to an application's own pages: nginx cannot cut one connection of many, this can.

Each session that came by an invitation gets a port on loopback, which passes bytes on to the instance and counts as
an open connection of the session while it does. What everybody else asks goes to the instance directly.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time

from common.errors import Unavailable
from common.logs import get_logger
from workers.compute.instances import InstanceRow
from workers.gateway.connections import Connections
from workers.gateway.cookies import Session

log = get_logger(__name__)

MOST_RELAYS = 256
# A port that nobody was sent to for so long, and that carries nothing, is closed.
IDLE_S, LOOK_S = 60.0, 5.0
CONNECT_S = 5.0
PIECE_BYTES = 64 * 1024


class Relays:
    """The relays of one front process, by session."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._lock = threading.Lock()
        self._relays: dict[tuple[str, str], _Relay] = {}

    def upstream(self, session: Session, row: InstanceRow) -> str:
        """Where nginx sends the session's requests. Raises Unavailable if too many guests are here."""
        key = (session.key, row.upstream or "")
        with self._lock:
            self._relays = {name: relay for name, relay in self._relays.items() if relay.is_open}
            relay = self._relays.get(key)
            if relay is None:
                if len(self._relays) >= MOST_RELAYS:
                    raise Unavailable("Too many guests use this box now.", remedy="Try again in a moment.")
                target = (row.address or "", row.port or 0)
                relay = self._relays[key] = _Relay(session, target, self._connections)
            relay.asked_at = time.monotonic()
            return relay.address


class _Relay:
    """One listening port and the connections through it."""

    def __init__(self, session: Session, target: tuple[str, int], connections: Connections) -> None:
        self._session, self._target, self._connections = session, target, connections
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(LOOK_S)
        self._lock, self._carried = threading.Lock(), 0
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked_at = time.monotonic()
        self.is_open = True
        threading.Thread(target=self._accept, name="relay", daemon=True).start()

    def _accept(self) -> None:
        try:
            with self._listener:
                while self._carried or time.monotonic() - self.asked_at < IDLE_S:
                    with contextlib.suppress(TimeoutError):
                        client = self._listener.accept()[0]
                        self._count(1)
                        threading.Thread(
                            target=self._carry, args=(client,), name="relayed", daemon=True
                        ).start()
        except (OSError, RuntimeError) as error:  # no descriptor or no thread is left
            log.warning("a guest's road is closed; the next request opens another", error=str(error))
        finally:
            self.is_open = False

    def _carry(self, client: socket.socket) -> None:
        try:
            with client, socket.create_connection(self._target, CONNECT_S) as instance:
                client.settimeout(None)
                instance.settimeout(None)
                with self._connections.opened(self._session, lambda _: _end(client, instance)):
                    back = threading.Thread(
                        target=_pass_on, args=(instance, client), name="relayed", daemon=True
                    )
                    back.start()
                    _pass_on(client, instance)
                    back.join()
        except OSError:
            pass  # nginx tells the browser that the application does not answer
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        with self._lock:
            self._carried += more


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    """Until the source ends; then the target is told so, and may go on answering."""
    with contextlib.suppress(OSError):
        while piece := source.recv(PIECE_BYTES):
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _end(*connections: socket.socket) -> None:
    for connection in connections:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
