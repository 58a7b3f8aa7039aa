"""Asking a box's front something small: with a ticket, within a limit, and with its errors as our own."""

from __future__ import annotations

import contextlib
import http.client
import json
from typing import Any

from common.errors import BadInput, Conflict, Forbidden, NotFound, OpenRaaSError, Unavailable

MOST_ANSWER_BYTES = 16 * 2**20
_REFUSALS: dict[int, type[OpenRaaSError]] = {
    401: Unavailable,  # the ticket is ours: the person is signed in, and master and box disagree
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: BadInput,
}


class NoRoomThere(OpenRaaSError):
    """The box says that something does not fit."""

    http_status = 507


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    ticket: str,
    *,
    limit_bytes: int | None = None,
) -> bytes:
    """The body of a good answer, or its first `limit_bytes`; raises what the box says is wrong, or Unavailable."""
    headers = {"Authorization": f"Bearer {ticket}"}
    if limit_bytes is not None:
        headers["Range"] = f"bytes=0-{limit_bytes - 1}"
    try:
        connection.request(method, target, headers=headers)
        answer = connection.getresponse()
        body = answer.read(limit_bytes if limit_bytes is not None else MOST_ANSWER_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(
            f"The box {connection.host} does not answer: {error or type(error).__name__}.",
            remedy="Try again in a moment.",
        ) from error
    finally:
        connection.close()
    if answer.status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
        return b""  # the file is empty
    if answer.status >= http.client.BAD_REQUEST:
        raise _refusal(answer.status, body)
    return body


def _refusal(status: int, body: bytes) -> OpenRaaSError:
    told: dict[str, Any] = {}
    with contextlib.suppress(ValueError, TypeError):
        told = dict(json.loads(body))
    message, field = str(told.get("message") or f"The box answers with status {status}."), told.get("field")
    if status == http.client.INSUFFICIENT_STORAGE:
        return NoRoomThere(message, field=field)
    return _REFUSALS.get(status, Unavailable)(message, field=field)
