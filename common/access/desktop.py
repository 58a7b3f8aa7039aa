"""`desktop`: a screen in the browser. The container serves it by VNC; the box brings the page and the bridge."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from common.access.way import Way

VNC_PORT = 5900
# The size of a screen that follows the window of whoever controls it begins here.
WINDOW, FIRST_SIZE = "window", "1280x720"

# An option of the launch form may stand for a value; it is filled in before a box sees it.
Reference = Annotated[str, StringConstraints(pattern=r"^\$\{[^}]+\}$")]
Size = Annotated[str, StringConstraints(pattern=r"^(window|[1-9][0-9]{2,3}x[1-9][0-9]{2,3})$")]


class Desktop(Way):
    """The screen that the container serves at its port, with the passwords that the box has made for it.

    What is said here is how it begins; whoever controls the screen changes all of it while it runs.
    """

    way: Literal["desktop"] = "desktop"
    size: Size | Reference = Field(
        WINDOW, description="`window`: as large as the browser's; else fixed, as in 1280x720."
    )
    frame_rate: Annotated[int, Field(ge=1, le=120)] | Reference = Field(
        30, description="Most pictures a second."
    )
    quality: Annotated[int, Field(ge=0, le=9)] | Reference = Field(
        6, description="Of pictures with many colours: 0 is small, 9 is sharp."
    )

    title: ClassVar[str] = "Desktop"
    default_port: ClassVar[int | None] = VNC_PORT
    server: ClassVar[str | None] = "workers.gateway.desktop.server:DesktopServer"
    hands_out: ClassVar[str | None] = "workers.gateway.desktop.handing:hand_out"
    has_picture: ClassVar[bool] = True
    can_be_watched: ClassVar[bool] = True

    @property
    def first_size(self) -> str:
        """How large the screen is before anybody looks."""
        return FIRST_SIZE if self.size == WINDOW else self.size
