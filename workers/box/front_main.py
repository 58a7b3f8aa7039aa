"""`openraas box front`: what a box answers by HTTP, put together from the parts of its roles.

Three listeners: the Unix socket behind nginx (everybody), another for the box's own worker, and a loopback
port for the container engine's pulls.
"""

from __future__ import annotations

import os
import signal
import threading
from http.server import ThreadingHTTPServer
from importlib import import_module
from pathlib import Path

from common import logs
from common.errors import Unavailable
from common.signing import Verifier
from common.words import Role
from workers.box.config import NICENESS, BoxConfig, BoxPaths, Identity
from workers.box.front import Route, make_server
from workers.box.table import Table

log = logs.get_logger(__name__)

# A route is one module with a class, built from (config, paths, table, verifier), and the role that it is of;
# layers are served by every box, for whoever has fetched some is their depository.
Routes = tuple[tuple[str, Role | None], ...]
PUBLIC_ROUTES: Routes = (
    ("workers.box.readiness:Readiness", None),
    ("workers.depository.registry:Registry", None),
    ("workers.depository.arriving:ArrivingRoute", None),
    ("workers.filestore.content:Content", Role.FILESTORE),
    ("workers.filestore.browsing.access:FilesAccess", Role.FILESTORE),
    ("workers.gateway.auth:Auth", Role.COMPUTE),
    ("workers.compute.log_route:LogRoute", Role.COMPUTE),
    ("workers.compute.use_route:UseRoute", Role.COMPUTE),
    ("workers.gateway.pictures:PictureRoute", Role.COMPUTE),
)
OWN_ROUTES: Routes = (("workers.depository.control:Control", None),)
ENGINE_ROUTES: Routes = (("workers.depository.loopback:Loopback", Role.COMPUTE),)


class Front:
    """All listeners of one box's front process."""

    def __init__(self, config: BoxConfig, identity: Identity) -> None:
        self._config = config
        self._paths = BoxPaths(config.state_dir)
        self._table = Table(self._paths.table)
        self._verifier = Verifier(identity.answer.master_key)
        self._servers: list[ThreadingHTTPServer] = []

    def _routes(self, routes: Routes) -> list[Route]:
        made = []
        for name, role in routes:
            if role is not None and role not in self._config.roles:
                continue
            module, _, attribute = name.partition(":")
            make = getattr(import_module(module), attribute)
            route: Route = make(self._config, self._paths, self._table, self._verifier)
            made.append(route)
        return made

    def start(self) -> None:
        """Listen everywhere; raises Unavailable if the loopback port is taken."""
        loopback = ("127.0.0.1", self._config.loopback_port)
        for address, routes in (
            (self._paths.front_socket, PUBLIC_ROUTES),
            (self._paths.run / "layers.sock", OWN_ROUTES),
            (loopback, ENGINE_ROUTES),
        ):
            try:
                server = make_server(address, self._routes(routes))
            except OSError as error:
                raise Unavailable(
                    f"The box cannot listen on {address}: {error.strerror}.",
                    field="loopback_port",
                    remedy="Choose another loopback_port in box.toml.",
                ) from error
            self._servers.append(server)
            threading.Thread(target=server.serve_forever, name=str(address), daemon=True).start()

    def stop(self) -> None:
        """Take no more requests; those under way end with the process."""
        for server in self._servers:
            server.shutdown()
            server.server_close()


def go_first() -> None:
    """Take the priority, where this user may; elsewhere layers come slower while the engine unpacks, no more."""
    try:
        os.nice(NICENESS)
    except OSError as error:
        log.info("the box's front runs with ordinary priority", error=error.strerror)


def run(state_dir: Path) -> None:
    """Serve until SIGTERM."""
    config, identity = BoxConfig.load(state_dir), Identity.load(state_dir)
    logs.configure(config.log_level, json_lines=config.log_format == "json", box=config.box)
    go_first()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    front = Front(config, identity)
    front.start()
    ended.wait()
    front.stop()
