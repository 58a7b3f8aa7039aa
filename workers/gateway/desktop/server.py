"""What a box answers below `/_openraas/desktop/`: the page with the screen, and the WebSocket behind it."""

from __future__ import annotations

from pydantic import Field, ValidationError

from common.errors import BadInput, NotFound
from common.words import Frozen
from workers.compute.execs import run_in
from workers.compute.sockets import usual_sockets
from workers.gateway.desktop import bridge
from workers.gateway.desktop.screens import Screens
from workers.gateway.visit import Host, Visit

PACKAGE = "novnc"
MOST_BODY_BYTES = 1000


class FrameRate(Frozen):
    """What the bar asks for."""

    frame_rate: int = Field(ge=1, le=120)


class DesktopServer:
    """One for all screens of a box; see WayServer."""

    def __init__(self, host: Host) -> None:
        engine = host.config.with_engine().engine_url
        self._engines = [engine] if engine else usual_sockets()
        self._timeout_s = host.config.engine_timeout_s
        self._screens = Screens(host.config.state_dir)

    def handle(self, visit: Visit) -> None:
        """See WayServer."""
        if visit.path == "":
            visit.page("desktop.html", PACKAGE)
        elif visit.path == "socket":
            # By the password the screen's server knows what this session may do: it takes no input of who watches.
            bridge.run(visit, self._screens.connect(visit.row, visit.session.mode))
        elif visit.path == "frame-rate" and visit.exchange.method == "POST":
            self._set_frame_rate(visit)
        else:
            raise NotFound("There is nothing here.")

    def _set_frame_rate(self, visit: Visit) -> None:
        """Tell the running server of the screen; TigerVNC's own tool does that from inside."""
        visit.need_control()
        try:
            wanted = FrameRate.model_validate_json(_body(visit))
        except ValidationError as error:
            raise BadInput(
                "frame_rate: a whole number from 1 to 120 is expected.", field="frame_rate"
            ) from error
        command = ["vncconfig", "-set", f"FrameRate={wanted.frame_rate}"]
        run_in(self._engines, visit.row.container or "", command, timeout_s=self._timeout_s)
        visit.json(wanted.model_dump())


def _body(visit: Visit) -> bytes:
    body = b""
    for piece in visit.exchange.body():
        body += piece
        if len(body) > MOST_BODY_BYTES:
            raise BadInput("This request is too long.")
    return body
