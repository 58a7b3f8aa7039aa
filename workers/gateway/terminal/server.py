"""`/_openraas/terminal/`: the page, the list of an instance's shells, and the WebSocket of one window."""

from __future__ import annotations

import threading

from common.errors import NotFound, OpenRaaSError
from workers.compute.instances import InstanceRow, Instances, Stage
from workers.compute.sockets import usual_sockets
from workers.gateway.terminal.messages import Ack, End, Ended, Ping, Pong, Size, read
from workers.gateway.terminal.shell import Shell, Viewer
from workers.gateway.terminal.shells import Shells
from workers.gateway.visit import Host, Visit
from workers.gateway.websocket import WebSocket

PACKAGES = ("xterm", "xterm-addon-fit", "xterm-addon-clipboard", "xterm-addon-web-links")
# A paste comes in one message; what is larger is cut off with its connection.
MESSAGE_BYTES = 4 * 2**20


class TerminalServer:
    """See WayServer."""

    def __init__(self, host: Host) -> None:
        self._instances = Instances(host.table)
        engine = host.config.with_engine().engine_url
        self._shells = Shells(
            [engine] if engine else usual_sockets(),
            timeout_s=host.config.engine_timeout_s,
            linger_s=host.config.terminal_linger_s,
            is_current=self._is_current,
        )

    def handle(self, visit: Visit) -> None:
        """See WayServer."""
        if visit.path == "":
            visit.page("terminal.html", *PACKAGES)
        elif visit.path == "shells":
            visit.json({"shells": [shell.id for shell in self._shells.of(visit.row)]})
        elif visit.path == "socket":
            self._window(visit)
        else:
            raise NotFound("There is nothing here.")

    def _is_current(self, row: InstanceRow) -> bool:
        now = self._instances.get(row.instance)
        return now is not None and now.generation == row.generation and now.state is Stage.RUNNING

    def _window(self, visit: Visit) -> None:
        """One window: an existing shell (`?shell=`), else a new one, which only who controls may start."""
        name = visit.exchange.query.get("shell", "")
        with visit.websocket(most_bytes=MESSAGE_BYTES) as socket:
            try:
                shell = self._pick(visit, name)
            except OpenRaaSError as error:
                socket.send(Ended(why=str(error)).model_dump_json())
                return
            viewer = Viewer(socket.send, may_control=visit.may_control)
            sender = threading.Thread(target=_send, args=(shell, viewer, socket), name="window", daemon=True)
            sender.start()
            try:
                _receive(shell, viewer, socket)
            finally:
                shell.leave(viewer)
                socket.close()
                sender.join()

    def _pick(self, visit: Visit, name: str) -> Shell:
        if name:
            return self._shells.find(visit.row, name)
        visit.need_control()
        return self._shells.start(visit.row, visit.way)


def _send(shell: Shell, viewer: Viewer, socket: WebSocket) -> None:
    try:
        shell.show(viewer)
    except OSError:
        pass  # a browser that takes nothing is left; it connects again and gets the rest
    finally:
        socket.close()


def _receive(shell: Shell, viewer: Viewer, socket: WebSocket) -> None:
    """What the browser sends. Here is where a session that only watches is kept from typing."""
    while (message := socket.receive()) is not None:
        if isinstance(message, bytes):
            if viewer.may_control:
                shell.write(message)
            continue
        match read(message):
            case Ack(bytes=count):
                shell.shown(viewer, count)
            case Ping(at=at):
                socket.send(Pong(at=at).model_dump_json())
            case Size(columns=columns, rows=rows) if viewer.may_control:
                shell.resize(columns, rows)
            case End() if viewer.may_control:
                shell.end()
            case _:
                pass
