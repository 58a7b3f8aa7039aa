"""Errors as answers: one JSON shape for programs, a page for people, and never a traceback."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import redis
from flask import Flask, Response, redirect, render_template, request, url_for
from flask_babel import gettext
from flask_babel import lazy_gettext as _l
from pydantic import BaseModel, Field, ValidationError
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.wrappers import Response as BaseResponse

from common.errors import OpenRaaSError
from common.logs import get_logger
from master.web.current import reply, told_path

log = get_logger(__name__)

_KINDS = {413: "too-large", 422: "bad-input", 429: "too-many", 500: "internal", 503: "unavailable"}


_TITLES = {
    400: _l("This request cannot be understood"),
    401: _l("Please sign in"),
    403: _l("This is not allowed"),
    404: _l("There is nothing here"),
    405: _l("This cannot be done here"),
    409: _l("This does not go together"),
    413: _l("This is too large"),
    422: _l("Something is not right yet"),
    429: _l("Too many tries"),
    500: _l("Something went wrong"),
    503: _l("Not available at the moment"),
}


class ErrorAnswer(BaseModel):
    """What every call answers that was not successful."""

    error: str = Field(description="The kind of error, such as `not-found`.")
    message: str = Field(description="What happened, to what.")
    field: str | None = Field(None, description="The part of the input that is wrong.")
    remedy: str | None = Field(None, description="What to do next.")


def register(app: Flask) -> None:
    """Answer every error of this application."""
    app.register_error_handler(OpenRaaSError, _on_own)
    app.register_error_handler(redis.RedisError, _on_redis)
    app.register_error_handler(HTTPException, _on_http)
    app.register_error_handler(Exception, _on_unexpected)


def on_validation_error(error: ValidationError) -> Response:
    """The answer to a call whose path, query or body is not what its description says."""
    first = error.errors(include_url=False, include_context=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "body"
    if first["loc"] == () and first["type"] == "model_type":
        message = "The body is not a JSON object with the content type application/json."
    else:
        message = f"{field}: {first['msg'].removeprefix('Value error, ')}."
    return reply(ErrorAnswer(error=kind_of(422), message=message, field=field, remedy=None), 422)


def kind_of(status: int) -> str:
    """The kind of error that a status means: its one name for programs."""
    return _KINDS.get(status) or HTTPStatus(status).phrase.lower().replace(" ", "-")


def is_rest() -> bool:
    """Whether the REST interface is asked; it speaks English."""
    return request.path.startswith("/api/v1/")


def wants_json() -> bool:
    """Whether a program is asking, not a page."""
    if is_rest():
        return True
    best = request.accept_mimetypes.best_match(["text/html", "application/json"], default="text/html")
    return best == "application/json"


def _on_own(error: OpenRaaSError) -> BaseResponse:
    if error.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("request failed", path=told_path(), error=str(error))
    return _answer(error.http_status, error.message, error.field, error.remedy)


def _on_redis(error: redis.RedisError) -> BaseResponse:
    """Whoever needs Redis for an answer and does not say more of its own."""
    log.warning("request failed", path=told_path(), error=f"Redis: {error}")
    return _answer(503, gettext("Redis does not answer."), None, gettext("Try again in a moment."))


def _on_http(error: HTTPException) -> BaseResponse:
    if error.response is not None or error.code is None or error.code < HTTPStatus.BAD_REQUEST:
        return error.get_response()
    message, remedy = error.description or HTTPStatus(error.code).phrase, None
    if isinstance(error, NotFound):
        message = gettext("There is nothing at %(path)s.", path=request.path)
        remedy = gettext("See that the address is whole.")
    answer = _answer(error.code, message, None, remedy)
    for name, value in error.get_headers():
        if name.lower() in ("allow", "retry-after", "www-authenticate"):
            answer.headers[name] = value
    return answer


def _on_unexpected(error: Exception) -> BaseResponse:
    log.error("request failed unexpectedly", path=told_path(), exc_info=error)
    return _answer(500, gettext("The master could not answer this."), None, gettext("Its log says why."))


def _answer(status: int, message: str, field: str | None, remedy: str | None) -> BaseResponse:
    if wants_json():
        answer: Any = reply(
            ErrorAnswer(error=kind_of(status), message=message, field=field, remedy=remedy), status
        )
        if status == HTTPStatus.UNAUTHORIZED:
            answer.headers["WWW-Authenticate"] = 'Bearer realm="openraas"'
        return answer  # type: ignore[no-any-return]
    if status == HTTPStatus.UNAUTHORIZED and request.method == "GET":
        return redirect(url_for("accounts.sign_in", next=request.full_path.rstrip("?")))
    title = _TITLES.get(status) or HTTPStatus(status).phrase
    page = render_template("error.html", status=status, title=title, message=message, remedy=remedy)
    return Response(page, status)
