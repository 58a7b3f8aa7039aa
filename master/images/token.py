"""The token protocol of the distribution specification, with the master as realm.

`docker login`, `docker push` and every other client get here a short-lived RepositoryTicket for what they ask
and may do. Source: CNCF distribution, "Token Authentication Specification" (GET) and "OAuth2 Token
Authentication" (POST, grant type password).
"""

from __future__ import annotations

import base64
import binascii
import datetime
import re
import time
from collections.abc import Iterable
from typing import Any, Literal

from flask import Blueprint, Response, jsonify, request

from common.errors import BadInput, NotFound, OpenRaaSError, Unauthorized
from common.tickets import RepositoryTicket, issue
from common.words import REPOSITORY
from master.accounts.guard import check_scope, public, visitor
from master.accounts.models import Scope, User, UserRole
from master.accounts.services import authenticate_program
from master.audit.trail import changes_nothing
from master.boxes.services import find as find_box
from master.context import MasterContext
from master.web.current import context

token_views = Blueprint("registry_token", __name__)

Action = Literal["pull", "push", "delete"]
Actions = dict[str, frozenset[Action]]

_KNOWN: dict[str, Action] = {"pull": "pull", "push": "push", "delete": "delete"}
_REPOSITORY = re.compile(REPOSITORY)
_LIMIT_SCOPES = 100
# The scope with which clients ask for the list of repositories.
CATALOGUE = "registry:catalog:*"


def parse_scopes(scopes: Iterable[str]) -> Actions:
    """What is asked for, by repository, of scopes such as `repository:team/notebook:pull,push`.

    Scopes of other kinds are left out, as the specification wants. Raises BadInput for a bad repository name.
    """
    asked: Actions = {}
    for scope in [part for text in scopes for part in text.split()][:_LIMIT_SCOPES]:
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        if kind != "repository":
            continue
        if not _REPOSITORY.fullmatch(name) or len(name) > 128:
            raise BadInput(
                f"{name!r} is not a repository name.",
                field="scope",
                remedy="Use a-z, 0-9, dots, dashes and slashes.",
            )
        known = frozenset(_KNOWN[action] for action in actions.split(",") if action in _KNOWN)
        asked[name] = asked.get(name, frozenset()) | known
    return asked


def allowed(user: User, asked: Actions) -> Actions:
    """What of it the person may do: pull everything; push and delete as an operator, or below the own name."""
    return {name: actions if may_push(user, name) else actions & {"pull"} for name, actions in asked.items()}


def may_push(user: User, repository: str) -> bool:
    """Whether the person may change what is in a repository."""
    return user.role != UserRole.USER or repository.startswith(f"{user.name}/")


@token_views.get("/v2/token")
@public
def token() -> Response:
    """A ticket for name and password (or an API token as password) in the header."""
    try:
        return _grant(context(), _who(), request.args.getlist("scope"), request.args.get("service", ""))
    except OpenRaaSError as error:
        return _refuse(error)


@token_views.post("/v2/token")
@public
@changes_nothing
def oauth_token() -> Response:
    """A ticket for name and password in a form."""
    form = request.form
    if form.get("grant_type") != "password":
        answer = jsonify(error="unsupported_grant_type", error_description="Only password is supported.")
        answer.status_code = 400
        return answer
    try:
        master = context()
        name, password = form.get("username", ""), form.get("password", "")
        user = authenticate_program(master, name, password, request.remote_addr or "", Scope.IMAGES)
        return _grant(master, user, form.getlist("scope"), form.get("service", ""))
    except OpenRaaSError as error:
        return _refuse(error)


def _who() -> User:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            name, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise Unauthorized("The Authorization header cannot be read.") from error
        if colon:
            return authenticate_program(context(), name, password, request.remote_addr or "", Scope.IMAGES)
    user = visitor()
    if user is None:
        raise Unauthorized(
            "Nobody is signed in.", remedy="Run docker login with your name and password or an API token."
        )
    check_scope(Scope.IMAGES)
    return user


def _grant(master: MasterContext, user: User, scopes: list[str], service: str) -> Response:
    if service:
        try:
            with master.database.read() as session:
                find_box(session, service)
        except NotFound as error:
            raise BadInput(
                f"There is no depository {service}.", field="service", remedy="See openraas box list."
            ) from error
    now, holds_s = time.time(), master.settings.repository_ticket_s
    ticket = RepositoryTicket(
        expires_at=now + holds_s,
        user=user.name,
        box=service or None,
        actions=allowed(user, parse_scopes(scopes)),
        catalogue=CATALOGUE in " ".join(scopes).split(),
    )
    text = issue(master.signer, ticket)
    answer = jsonify(
        token=text,
        access_token=text,
        expires_in=int(holds_s),
        issued_at=datetime.datetime.fromtimestamp(now, datetime.UTC).isoformat(timespec="seconds"),
    )
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _refuse(error: OpenRaaSError) -> Response:
    """The error in the shape that registry clients print (distribution specification, "Error Codes")."""
    code = {401: "UNAUTHORIZED", 403: "DENIED", 429: "TOOMANYREQUESTS"}.get(error.http_status, "UNSUPPORTED")
    body: dict[str, Any] = {"errors": [{"code": code, "message": str(error), "detail": error.field}]}
    answer = jsonify(body)
    answer.status_code = 400 if error.http_status == 422 else error.http_status
    if error.http_status == 401:
        answer.headers["WWW-Authenticate"] = 'Basic realm="openraas"'
    return answer
