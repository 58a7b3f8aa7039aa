"""Who is asking, and whether this person may.

Every address needs a signed-in person unless its function says otherwise: forgetting a decorator closes a
door instead of opening one. The decorators only leave a mark on the function; `admit`, which runs before
every request, reads it. They stand directly above the function, below the decorator that registers it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import current_app, g, request

from common.errors import Forbidden, Unauthorized
from master.accounts import services
from master.accounts.models import User, UserRole
from master.web.current import context

F = TypeVar("F", bound=Callable[..., Any])

SESSION_COOKIE = "openraas_session"
_PUBLIC = "_openraas_public"
_ROLE = "_openraas_role"
_RANK = {UserRole.USER: 0, UserRole.OPERATOR: 1, UserRole.ADMINISTRATOR: 2}


def public(function: F) -> F:
    """Anybody may call this, signed in or not."""
    setattr(function, _PUBLIC, True)
    return function


def requires(role: UserRole) -> Callable[[F], F]:
    """Only people with this role, or a higher one, may call this."""

    def mark(function: F) -> F:
        setattr(function, _ROLE, role)
        return function

    return mark


def may(user: User, role: UserRole) -> bool:
    """Whether this person has the role or a higher one."""
    return _RANK[UserRole(user.role)] >= _RANK[role]


def current_user() -> User:
    """The person who asks; raises Unauthorized if nobody is signed in."""
    user = visitor()
    if user is None:
        raise Unauthorized("Nobody is signed in.", remedy="Sign in, or send an API token as Bearer.")
    return user


def visitor() -> User | None:
    """The person who asks, if one is signed in; looked up once per request."""
    if "visitor" not in g:
        g.visitor = _identify()
    found: User | None = g.visitor
    return found


def cookie_name() -> str:
    """Name of the session cookie; over TLS browsers tie the prefix `__Host-` to this origin."""
    return f"__Host-{SESSION_COOKIE}" if request.is_secure else SESSION_COOKIE


def bearer_token() -> str | None:
    """The API token in the request, if it carries one."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def _identify() -> User | None:
    token = bearer_token()
    cookie = request.cookies.get(cookie_name())
    if token is None and cookie is None:
        return None
    with context().database.read() as session:
        if token is not None:  # a token that does not hold is not made good by a cookie
            return services.user_of_token(session, token)
        return services.user_of_session(session, cookie or "")


def admit() -> None:
    """Refuse whoever may not call the function behind this address (`before_request`)."""
    view = _view()
    is_asset = request.endpoint is not None and request.endpoint.split(".")[-1] == "static"
    if view is None or is_asset or getattr(view, _PUBLIC, False):
        return
    user = current_user()
    role: UserRole = getattr(view, _ROLE, UserRole.USER)
    if not may(user, role):
        raise Forbidden(
            f"This needs the role {role.value}; {user.name} has the role {user.role}.",
            remedy="Ask an administrator.",
        )


def _view() -> Callable[..., Any] | None:
    """The function that will answer; none for an address that does not exist."""
    return current_app.view_functions.get(request.endpoint or "")
