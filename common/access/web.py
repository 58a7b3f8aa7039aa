"""`web`: any HTTP and WebSocket port, straight through the gateway."""

from __future__ import annotations

from typing import ClassVar, Literal

from common.access.way import Way


class Web(Way):
    """The application's own pages."""

    way: Literal["web"] = "web"
    title: ClassVar[str] = "Web page"
    needs_port: ClassVar[bool] = True

    @property
    def passes_on(self) -> bool:
        """See Way."""
        return True
