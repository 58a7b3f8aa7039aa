"""The output of an instance as the answer to a request, for programs and pages alike."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator

from flask import Response, current_app, request
from pydantic import BaseModel, Field

from common.errors import Unavailable
from common.output import DEFAULT_LINES, MOST_LINES
from common.words import InstanceId
from master.accounts.guard import current_user
from master.deployments.output import BoxOutput, find_output
from master.web.current import context
from master.web.streams import SLOTS


class OutputQuery(BaseModel):
    """Which part of the output."""

    tail: int = Field(DEFAULT_LINES, ge=0, le=MOST_LINES, description="The last so many lines.")
    follow: bool = Field(False, description="And then what is printed from now on, until the container ends.")
    instance: InstanceId | None = Field(
        None, description="Needed where the deployment has several instances."
    )


def answer_output(deployment: str, query: OutputQuery) -> Response:
    """A stream of plain text. Raises what `find_output` and `BoxOutput` raise, before the stream begins."""
    master = context()
    source = find_output(master, current_user(), deployment, query.instance)
    slots: threading.BoundedSemaphore | None = current_app.extensions[SLOTS] if query.follow else None
    if slots is not None and not slots.acquire(blocking=False):
        raise Unavailable("Too much output is being followed.", remedy="Read it without following.")
    try:
        output = BoxOutput(master, source, lines=query.tail, follow=query.follow)
    except BaseException:
        if slots is not None:
            slots.release()
        raise
    response = Response(_pieces(output, _listener()), mimetype="text/plain")
    # X-Accel-Buffering: an nginx in front must hand every line on at once.
    response.headers.update({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    response.call_on_close(output.close)
    if slots is not None:
        response.call_on_close(slots.release)
    return response


def _pieces(output: BoxOutput, listener: socket.socket | None) -> Iterator[bytes]:
    yield b""  # the server sends status and headers with the first piece, however late the next one comes
    try:
        yield from output.pieces(listener)
    except ConnectionError as error:
        # Breaking the connection tells the reader that this is not all; with this number the server makes no fuss.
        raise ConnectionResetError(errno.ECONNRESET, str(error)) from error


def _listener() -> socket.socket | None:
    """The socket of whoever asks, where the server shows it."""
    found: socket.socket | None = request.environ.get("gunicorn.socket") or request.environ.get(
        "werkzeug.socket"
    )
    return found
