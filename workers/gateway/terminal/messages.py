"""What browser and box say to each other beside the bytes of the terminal, as JSON in text messages."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from common.words import Frozen

MOST_CELLS = 1000
MOST_ACK = 2**32


class Size(Frozen):
    """The window has this size now; who controls decides for all."""

    type: Literal["size"] = "size"
    columns: int = Field(ge=2, le=MOST_CELLS)
    rows: int = Field(ge=1, le=MOST_CELLS)


class Ack(Frozen):
    """The browser has shown so many more bytes: it may be sent as many again."""

    type: Literal["ack"] = "ack"
    bytes: int = Field(ge=0, le=MOST_ACK)


class Ping(Frozen):
    """Answered with the same `at`; the browser shows how long it took."""

    type: Literal["ping"] = "ping"
    at: float


class End(Frozen):
    """The window was closed: end its shell."""

    type: Literal["end"] = "end"


Message = Size | Ack | Ping | End
_ADAPTER: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="type")])


class Hello(Frozen):
    """The first message from the box; what the shell printed of late follows it."""

    type: Literal["hello"] = "hello"
    shell: str
    columns: int
    rows: int
    control: bool


class Resized(Frozen):
    """The window has this size now."""

    type: Literal["size"] = "size"
    columns: int
    rows: int


class Pong(Frozen):
    """The answer to a Ping."""

    type: Literal["pong"] = "pong"
    at: float


class Skipped(Frozen):
    """The browser was too slow: so many bytes are left out, and the screen begins anew."""

    type: Literal["skipped"] = "skipped"
    bytes: int


class Ended(Frozen):
    """The shell has ended."""

    type: Literal["ended"] = "ended"
    why: str = ""


def read(text: str) -> Message | None:
    """The message in a text, if it is one."""
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError:
        return None
