"""What a request handler needs from its surroundings: the master's context and JSON answers.

Views and API functions of every subject import these, so that none of them knows how the application is made.
"""

from __future__ import annotations

from flask import Response, current_app, request
from pydantic import BaseModel

from master.context import MasterContext

EXTENSION = "openraas"
# What lets in whoever knows it is called this in the rule of every address that has it.
SECRET_PART = "secret"  # noqa: S105 - the name of a part of a rule


def context() -> MasterContext:
    """The context of the application that answers this request."""
    found: MasterContext = current_app.extensions[EXTENSION]
    return found


def reply(value: BaseModel, status: int = 200) -> Response:
    """A model as the JSON answer."""
    return Response(value.model_dump_json(), status, mimetype="application/json")


def told_path() -> str:
    """The path of this request as logs and the audit log may keep it: without what lets in whoever reads it."""
    secret = (request.view_args or {}).get(SECRET_PART)
    return request.path.replace(str(secret), "(hidden)") if secret else request.path


def nothing() -> Response:
    """The empty answer of what was done and has nothing to say (204)."""
    return Response(status=204)
