"""`desktop`: a graphical screen in the browser."""

from __future__ import annotations

from typing import ClassVar, Literal

from common.access.way import Way


class Desktop(Way):
    """The screen that the container serves at its port."""

    way: Literal["desktop"] = "desktop"
    title: ClassVar[str] = "Desktop"
    needs_port: ClassVar[bool] = True

    @property
    def passes_on(self) -> bool:
        """See Way."""
        return True
