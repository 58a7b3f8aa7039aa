"""Versions of what is answered (RFC 9110, sections 8.8.3 and 13.1): ETag, If-None-Match and If-Match.

Every JSON answer to a GET has an ETag, and one that was seen already is not sent again. A change that sends the ETag
of what it was made from is refused if somebody else was faster.
"""

from __future__ import annotations

from flask import request
from pydantic import BaseModel, Field
from werkzeug.http import generate_etag
from werkzeug.wrappers import Response

from common.errors import OpenRaaSError
from master.web.current import reply


class Outdated(OpenRaaSError):
    """What was to be changed is not any more what the caller saw."""

    http_status = 412


class IfMatch(BaseModel):
    """Change it only if it still is what was seen."""

    if_match: str | None = Field(
        None, alias="If-Match", max_length=200, description="The ETag of what was seen; 412 if it changed."
    )


def answer_version(response: Response) -> Response:
    """Add the ETag, and leave the body out if the caller has it (`after_request`)."""
    is_whole = response.status_code == 200 and not response.is_streamed
    if request.method == "GET" and is_whole and response.mimetype == "application/json":
        response.set_etag(generate_etag(response.get_data()))
        response.make_conditional(request)
    return response


def check_unchanged(now: BaseModel) -> None:
    """Raise Outdated if the caller saw something else than `now`, which a GET would answer."""
    if not request.if_match or request.if_match.contains(generate_etag(reply(now).get_data())):
        return
    raise Outdated(
        "Somebody else changed it since you looked.", field="If-Match", remedy="Look again, then change it."
    )
