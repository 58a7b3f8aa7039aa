"""What a request handler needs from its surroundings: the master's context and JSON answers.

Views and API functions of every subject import these, so that none of them knows how the application is made.
"""

from __future__ import annotations

from flask import Response, current_app
from pydantic import BaseModel

from master.context import MasterContext

EXTENSION = "openraas"


def context() -> MasterContext:
    """The context of the application that answers this request."""
    found: MasterContext = current_app.extensions[EXTENSION]
    return found


def reply(value: BaseModel, status: int = 200) -> Response:
    """A model as the JSON answer."""
    return Response(value.model_dump_json(), status, mimetype="application/json")


def nothing() -> Response:
    """The empty answer of what was done and has nothing to say (204)."""
    return Response(status=204)
