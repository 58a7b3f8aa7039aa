"""`terminal`: a shell in the container, by the engine's exec; nothing is needed in the image."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from common.access.way import Way

Word = Annotated[str, StringConstraints(min_length=1, max_length=1000, pattern=r"^[^\x00]*$")]


class Terminal(Way):
    """A terminal in the browser."""

    way: Literal["terminal"] = "terminal"
    shell: list[Word] | None = Field(
        None, min_length=1, max_length=32, description="What each window runs; none: bash, else sh."
    )
    title: ClassVar[str] = "Terminal"
    needs_terminal: ClassVar[bool] = True
    server: ClassVar[str | None] = "workers.gateway.terminal.server:TerminalServer"
    can_be_watched: ClassVar[bool] = True
