"""Who is asking, and whether this person may.

Every address needs a signed-in person unless its function says otherwise: forgetting a decorator closes a
door instead of opening one. The decorators only leave a mark on the function; `admit`, which runs before
every request, reads it. They stand directly above the function, below the decorator that registers it.

An API token may be narrower than its owner. A function says by `allows` which scopes open it; without that a
token needs `read` to look by REST, and `all` for everything else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import current_app, g, request

from common.errors import Forbidden, Unauthorized
from master.accounts import services
from master.accounts.models import Scope, User, UserRole
from master.audit.actors import Actor, act_as
from master.web.current import context

F = TypeVar("F", bound=Callable[..., Any])

SESSION_COOKIE = "openraas_session"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_PUBLIC = "_openraas_public"
_ROLE = "_openraas_role"
_SCOPES = "_openraas_scopes"
_RANK = {UserRole.USER: 0, UserRole.OPERATOR: 1, UserRole.ADMINISTRATOR: 2}


@dataclass(frozen=True)
class Caller:
    """The person who asks, and by what."""

    user: User
    # None: by a sign-in in a browser, which may do all that the person may.
    scopes: frozenset[Scope] | None
    means: str
    # The hash of the sign-in's cookie; None: by a token.
    session: str | None = None
    # Until when the token holds (Unix time).
    expires_at: float | None = None


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


def allows(*scopes: Scope) -> Callable[[F], F]:
    """API tokens with any of these scopes, or with `all`, may call this."""

    def mark(function: F) -> F:
        setattr(function, _SCOPES, frozenset(scopes))
        return function

    return mark


def is_public(view: Callable[..., Any]) -> bool:
    """Whether anybody may call it."""
    return bool(getattr(view, _PUBLIC, False))


def role_for(view: Callable[..., Any]) -> UserRole:
    """The role that it needs."""
    role: UserRole = getattr(view, _ROLE, UserRole.USER)
    return role


def scopes_for(view: Callable[..., Any], method: str, path: str) -> frozenset[Scope]:
    """The scopes of which one, or `all`, is needed."""
    declared: frozenset[Scope] | None = getattr(view, _SCOPES, None)
    if declared is not None:
        return declared
    reads = method in SAFE_METHODS and path.startswith("/api/")
    return frozenset({Scope.READ}) if reads else frozenset()


def may(user: User, role: UserRole) -> bool:
    """Whether this person has the role or a higher one."""
    return _RANK[UserRole(user.role)] >= _RANK[role]


def current_user() -> User:
    """The person who asks; raises Unauthorized if nobody is signed in."""
    return current_caller().user


def current_caller() -> Caller:
    """The person who asks and by what; raises Unauthorized if nobody is signed in."""
    found = caller()
    if found is None:
        raise Unauthorized("Nobody is signed in.", remedy="Sign in, or send an API token as Bearer.")
    return found


def visitor() -> User | None:
    """The person who asks, if one is signed in."""
    found = caller()
    return found.user if found else None


def caller() -> Caller | None:
    """The person who asks and by what, if one is signed in; looked up once per request."""
    if "caller" not in g:
        g.caller = _identify()
    found: Caller | None = g.caller
    return found


def check_scope(*scopes: Scope) -> None:
    """Raise Forbidden if the request comes by a token without any of these scopes."""
    found = caller()
    if found is None or found.scopes is None or Scope.ALL in found.scopes or found.scopes & set(scopes):
        return
    needed = " or ".join(sorted(scopes) or [Scope.ALL])
    raise Forbidden(
        f"This needs an API token with the scope {needed}; this one has {', '.join(sorted(found.scopes))}.",
        remedy="Make another token on your account page, or with openraas token add.",
    )


def cookie_name() -> str:
    """Name of the session cookie; over TLS browsers tie the prefix `__Host-` to this origin."""
    return f"__Host-{SESSION_COOKIE}" if request.is_secure else SESSION_COOKIE


def bearer_token() -> str | None:
    """The API token in the request, if it carries one."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def _identify() -> Caller | None:
    token = bearer_token()
    cookie = request.cookies.get(cookie_name())
    if token is not None:  # a token that does not hold is not made good by a cookie
        found = services.use_token(context().database, token)
        if found is None:
            return None
        scopes = frozenset(Scope(scope) for scope in found.scopes)
        return Caller(found.user, scopes, f"token {found.name}"[:80], expires_at=found.expires_at)
    if cookie is None:
        return None
    signed_in = services.use_session(context().database, cookie, request.remote_addr or "")
    return Caller(signed_in.user, None, "sign-in", signed_in.token_hash) if signed_in else None


def admit() -> None:
    """Refuse whoever may not call the function behind this address (`before_request`)."""
    act_as(Actor(address=request.remote_addr or ""))
    view = _view()
    is_asset = request.endpoint is not None and request.endpoint.split(".")[-1] == "static"
    if view is None or is_asset:
        return
    is_open = is_public(view)
    if is_open and request.method in SAFE_METHODS:
        return
    if (known := caller()) is not None:
        act_as(Actor(known.user.id, known.user.name, known.means, request.remote_addr or ""))
    if is_open:
        return
    user, role = current_user(), role_for(view)
    if not may(user, role):
        raise Forbidden(
            f"This needs the role {role.value}; {user.name} has the role {user.role}.",
            remedy="Ask an administrator.",
        )
    check_scope(*scopes_for(view, request.method, request.path))


def _view() -> Callable[..., Any] | None:
    """The function that will answer; none for an address that does not exist."""
    return current_app.view_functions.get(request.endpoint or "")
