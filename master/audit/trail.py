"""Sees to it that every change by a person is in the audit log, whoever wrote the code that makes it.

Services write what changed, in the transaction that changes it. Whatever succeeded and left no entry of its own gets
one here that names the call.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar

from flask import current_app, request
from werkzeug.wrappers import Response

from common.errors import Unavailable
from common.logs import get_logger
from master.accounts.guard import SAFE_METHODS
from master.audit.actors import current_actor
from master.audit.services import record
from master.web.current import context, told_path

log = get_logger(__name__)
F = TypeVar("F", bound=Callable[..., Any])
_UNAUDITED = "_openraas_unaudited"


def changes_nothing(function: F) -> F:
    """What this does on a POST is no change that anybody would look for."""
    setattr(function, _UNAUDITED, True)
    return function


def leave_trail(response: Response) -> Response:
    """Write the entry that is missing (`after_request`)."""
    actor = current_actor()
    view = current_app.view_functions.get(request.endpoint or "")
    is_change = request.method not in SAFE_METHODS and response.status_code < HTTPStatus.BAD_REQUEST
    if (
        not is_change
        or actor.id is None
        or actor.recorded
        or view is None
        or getattr(view, _UNAUDITED, False)
    ):
        return response
    try:
        with context().database.write() as session:
            record(session, _action(), told_path().removeprefix("/api/v1"))
    except Unavailable as error:
        log.error("change not in the audit log", path=told_path(), error=str(error))
    return response


def _action() -> str:
    """`boxes_api.cordon` and `boxes.cordon` are the same to whoever reads."""
    subject, _, verb = (request.endpoint or "").partition(".")
    return f"{subject.removesuffix('_api')}.{verb.strip('_').replace('_', '-')}"
