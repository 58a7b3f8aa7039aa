"""The OpenAPI description, completed with what every call has in common.

Which errors a call can answer follows from what it is: closed to strangers, with a path, with a body, a change. What
follows from nothing is declared at the function by `raises`. Each status has one kind of error, so each is one
schema, and a program can tell them apart without reading sentences.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar

from flask_openapi3 import OpenAPI

from master.accounts.guard import is_public, role_for, scopes_for
from master.web.errors import ErrorAnswer, kind_of

F = TypeVar("F", bound=Callable[..., Any])
_RAISES = "_openraas_raises"
_EXTENSION = "openraas-description"
_METHODS = frozenset({"get", "post", "put", "patch", "delete"})
_CHANGES = _METHODS - {"get"}
# What each status means, in the order of the description.
_MEANINGS = {
    400: "The request cannot be read.",
    401: "Nobody is signed in, or the token does not hold.",
    403: "The person or the token may not do this.",
    404: "There is no such thing, or not for this person.",
    409: "It contradicts what is there now.",
    412: "Somebody else changed it meanwhile.",
    413: "The body is too large.",
    422: "Something of the input is wrong; `field` says what.",
    429: "Too often in too short a time.",
    503: "Something that is needed does not answer now; try again.",
}


def raises(*statuses: int) -> Callable[[F], F]:
    """Say that a call can also answer with these errors."""

    def mark(function: F) -> F:
        setattr(function, _RAISES, frozenset(statuses))
        return function

    return mark


def describe(app: OpenAPI) -> dict[str, Any]:
    """OpenAPI 3.1 of every call; made once."""
    found: dict[str, Any] | None = app.extensions.get(_EXTENSION)
    if found is None:
        found = app.extensions[_EXTENSION] = _complete(app)
    return found


def _complete(app: OpenAPI) -> dict[str, Any]:
    document: dict[str, Any] = app.api_doc
    schemas = document["components"]["schemas"]
    responses = document["components"].setdefault("responses", {})
    for status, meaning in _MEANINGS.items():
        name = _name(status)
        schemas[f"{name}Answer"] = _schema(status)
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}Answer"}}}
        responses[name] = {"description": f"`{kind_of(status)}`: {meaning}", "content": content}
    by_call = {
        (_path(rule.rule), method.lower()): rule.endpoint
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
    }
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in _METHODS:
                endpoint = by_call[path, method]
                _complete_call(operation, endpoint, app.view_functions[endpoint], method, path)
    return document


def _path(rule: str) -> str:
    # A rule of Flask as OpenAPI writes it.
    return rule.replace("<path:", "{").replace("<", "{").replace(">", "}")


def _complete_call(
    operation: dict[str, Any], endpoint: str, view: Callable[..., Any], method: str, path: str
) -> None:
    operation["operationId"] = endpoint.replace("_api.", "_").strip("_")
    closed = not is_public(view)
    operation["security"] = [{"token": []}, {"session": []}] if closed else []
    if closed:
        operation["x-role"] = role_for(view).value
        operation["x-scopes"] = sorted({*scopes_for(view, method.upper(), path), "all"})
    answers = operation["responses"]
    for status in (422, "422", "default"):  # the library's, of its own shape
        answers.pop(status, None)
    for status in sorted(_statuses(operation, view, method, path)):
        answers[str(status)] = {"$ref": f"#/components/responses/{_name(status)}"}
    if method == "get" and "application/json" in answers.get("200", {}).get("content", {}):
        answers["304"] = {"description": "It is what the ETag in If-None-Match names."}
    if method == "post" and closed:
        _add_key(operation)


def _statuses(operation: dict[str, Any], view: Callable[..., Any], method: str, path: str) -> set[int]:
    found = {503, *getattr(view, _RAISES, ())}
    if not is_public(view):
        found |= {401, 403}
    if "{" in path:
        found |= {404, 422}
    if operation.get("parameters"):
        found.add(422)
    if method in _CHANGES:
        found |= {403, 409, 413, 422}
    return found


def _add_key(operation: dict[str, Any]) -> None:
    parameters = operation.setdefault("parameters", [])
    if any(item["name"] == "Idempotency-Key" for item in parameters):
        return
    parameters.append(
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": "The same call sent again with the same key within a day gets the first one's answer.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 64},
        }
    )


def _name(status: int) -> str:
    return "".join(word.title() for word in kind_of(status).split("-"))


def _schema(status: int) -> dict[str, Any]:
    schema = ErrorAnswer.model_json_schema()
    schema["title"] = f"{_name(status)}Answer"
    schema["description"] = f"{HTTPStatus(status).value}: {_MEANINGS[status]}"
    schema["properties"]["error"] = {"type": "string", "enum": [kind_of(status)]}
    return schema
