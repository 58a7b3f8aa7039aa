"""People, sign-ins and API tokens."""

from __future__ import annotations

import time
from collections.abc import Iterable

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, joinedload

from common.errors import BadInput, Conflict, Forbidden, NotFound, Unauthorized, Unavailable
from common.logs import get_logger
from common.words import new_id
from master.accounts import throttle
from master.accounts.models import ApiToken, Scope, User, UserRole, UserState, WebSession
from master.accounts.passwords import (
    generate_password,
    hash_password,
    new_token,
    token_hash,
    verify_password,
)
from master.audit.services import record
from master.context import MasterContext
from master.db.session import Database

log = get_logger(__name__)

FIRST_ADMINISTRATOR = "admin"
TOKEN_PREFIX = "ora_"  # noqa: S105 - lets people and scanners recognise a token
MINIMUM_PASSWORD = 10
MAXIMUM_PASSWORD = 200
# When a token or sign-in was last used is written down no more often than this.
SEEN_EVERY_S = 300.0
MOST_TOKENS = 100


def ensure_administrator(session: Session) -> str | None:
    """Make the first administrator if there is nobody yet; returns the generated password."""
    if session.scalar(select(func.count()).select_from(User)):
        return None
    _, password = create_user(session, FIRST_ADMINISTRATOR, UserRole.ADMINISTRATOR)
    return password


def create_user(session: Session, name: str, role: UserRole) -> tuple[User, str]:
    """A new person and the generated first password; raises Conflict if the name is taken."""
    password = generate_password()
    user = add_user(session, name, role, password_hash=hash_password(password))
    return user, password


def add_user(
    session: Session,
    name: str,
    role: UserRole,
    *,
    password_hash: str | None,
    state: UserState = UserState.ACTIVE,
    full_name: str = "",
    email: str = "",
    reason: str = "",
) -> User:
    """A new person; raises Conflict if the name is taken."""
    if session.scalar(select(User.id).where(User.name == name)):
        raise Conflict(f"There is a user {name} already.", field="name", remedy="Choose another name.")
    user = User(
        id=new_id("u"),
        name=name,
        role=role.value,
        state=state.value,
        password_hash=password_hash,
        full_name=full_name,
        email=email,
        reason=reason,
    )
    session.add(user)
    session.flush()
    record(session, "user.add", subject_of(user), after=shown(user))
    return user


def subject_of(user: User) -> str:
    """How the audit log names a person."""
    return f"user:{user.name}"


def shown(user: User) -> dict[str, str]:
    """What the audit log says of a person."""
    return {"role": user.role, "state": user.state, "full_name": user.full_name, "email": user.email}


def find_user(session: Session, name: str) -> User:
    """The person of that name; raises NotFound."""
    user = session.scalar(select(User).where(User.name == name))
    if user is None:
        raise NotFound(f"There is no user {name}.", field="name", remedy="openraas user list shows them.")
    return user


def change_password(context: MasterContext, name: str, current: str, new: str, address: str) -> None:
    """Change one's own password; all sign-ins end.

    Raises BadInput that names the field, or TooMany after too many wrong ones: whoever found a screen unlocked
    guesses no faster here than where people sign in.
    """
    check_new_password(new)
    throttle.enter(context.redis, name, address)
    with context.database.read() as session:
        known = find_user(session, name).password_hash
    if not verify_password(known, current):
        raise BadInput("This is not your password.", field="current", remedy="An administrator can reset it.")
    hashed = hash_password(new)
    with context.database.write() as session:
        user = find_user(session, name)
        user.password_hash = hashed
        end_sessions(session, user)
        record(session, "user.change-password", subject_of(user))
    throttle.forget(context.redis, name, address)


def check_new_password(password: str, *, field: str = "new") -> None:
    """Raise BadInput for a password that is too short or too long."""
    if not MINIMUM_PASSWORD <= len(password) <= MAXIMUM_PASSWORD:
        raise BadInput(
            f"A password has {MINIMUM_PASSWORD} to {MAXIMUM_PASSWORD} characters.",
            field=field,
            remedy="Choose another one.",
        )


def authenticate(context: MasterContext, name: str, password: str, address: str) -> User:
    """Who this is, by password.

    Raises Unauthorized, Forbidden for somebody who is not approved yet, or TooMany after too many wrong ones
    from this address. Nothing tells whether the name exists to whoever does not know its password.
    """
    throttle.enter(context.redis, name, address)
    with context.database.read() as session:
        user = session.scalar(select(User).where(User.name == name))
    right = verify_password(user.password_hash if user else None, password[:MAXIMUM_PASSWORD])
    if right and user is not None and user.state == UserState.PENDING.value:
        throttle.forget(context.redis, name, address)
        raise Forbidden(
            "Your account waits for approval.", remedy="Ask an administrator, or try again later."
        )
    if user is None or not right or not user.active:
        raise _wrong()
    throttle.forget(context.redis, name, address)
    return user


def authenticate_program(
    context: MasterContext, name: str, secret: str, address: str, *scopes: Scope
) -> User:
    """Who this is, for programs that know only name and password: an API token may stand in for the password.

    Such a token needs one of the scopes. Raises as `authenticate`.
    """
    if not secret.startswith(TOKEN_PREFIX):
        return authenticate(context, name, secret, address)
    throttle.enter(context.redis, name, address)
    token = use_token(context.database, secret)
    if token is None or token.user.name != name:
        raise _wrong()
    throttle.forget(context.redis, name, address)
    if not {Scope.ALL, *scopes} & {Scope(scope) for scope in token.scopes}:
        raise Forbidden(
            f"The token {token.name} has not the scope {' or '.join(scopes)}.",
            field="password",
            remedy="Make another token on your account page.",
        )
    return token.user


def _wrong() -> Unauthorized:
    return Unauthorized(
        "Name and password do not belong together.",
        field="password",
        remedy="An administrator can reset the password.",
    )


def start_session(session: Session, user: User, ttl_s: float, *, address: str = "", browser: str = "") -> str:
    """Sign a person in; returns the value of the cookie. What has expired is swept out on the way."""
    now = time.time()
    session.execute(delete(WebSession).where(WebSession.expires_at < now))
    token = new_token()
    session.add(
        WebSession(
            token_hash=token_hash(token),
            user_id=user.id,
            expires_at=now + ttl_s,
            seen_at=now,
            address=address[:64],
            browser=browser[:200],
        )
    )
    record(session, "user.sign-in", subject_of(user))
    return token


def end_session(session: Session, token: str) -> None:
    """Sign out."""
    session.execute(delete(WebSession).where(WebSession.token_hash == token_hash(token)))


def end_sessions(session: Session, user: User) -> None:
    """Sign a person out everywhere."""
    session.execute(delete(WebSession).where(WebSession.user_id == user.id))


def list_sessions(session: Session, user: User) -> list[WebSession]:
    """This person's sign-ins that hold, the one used last first."""
    query = select(WebSession).where(WebSession.user_id == user.id, WebSession.expires_at > time.time())
    return list(session.scalars(query.order_by(WebSession.seen_at.desc(), WebSession.token_hash)))


def revoke_session(session: Session, user: User, session_id: str) -> None:
    """End one of a person's sign-ins by the start of its hash; raises NotFound."""
    for item in list_sessions(session, user):
        if public_id(item.token_hash) == session_id:
            session.delete(item)
            record(session, "user.end-session", subject_of(user), before={"address": item.address})
            return
    raise NotFound(
        f"There is no sign-in {session_id}.", field="session", remedy="Your account page lists them."
    )


def use_session(database: Database, cookie: str, address: str) -> WebSession | None:
    """The sign-in whose cookie this is, of an active person; it is noted that it was used from there."""
    with database.read() as session:
        found = session.get(WebSession, token_hash(cookie), options=[joinedload(WebSession.user)])
    if found is None or found.expires_at <= time.time() or not found.user.active:
        return None
    if found.seen_at < time.time() - SEEN_EVERY_S or found.address != address[:64]:
        _note(database, WebSession, found.token_hash, seen_at=time.time(), address=address[:64])
    return found


def _note(database: Database, model: type[WebSession] | type[ApiToken], key: str, **values: object) -> None:
    """That something was used matters less than what it was used for: a busy database does not stop that."""
    try:
        with database.write() as session:
            if (row := session.get(model, key)) is not None:
                for name, value in values.items():
                    setattr(row, name, value)
    except Unavailable as error:
        log.warning("use not noted", error=str(error))


def issue_api_token(
    session: Session, user: User, name: str, ttl_s: float | None, scopes: Iterable[Scope] = (Scope.ALL,)
) -> str:
    """A token for programs, shown once; `ttl_s` None: it holds until it is revoked. Raises Conflict."""
    session.execute(delete(ApiToken).where(ApiToken.user_id == user.id, ApiToken.expires_at < time.time()))
    if len(list_tokens(session, user)) >= MOST_TOKENS:
        raise Conflict(f"You have {MOST_TOKENS} tokens already.", remedy="Revoke those that you do not use.")
    token = new_token(TOKEN_PREFIX)
    row = ApiToken(
        token_hash=token_hash(token),
        user_id=user.id,
        name=name,
        scopes=sorted(set(scopes)),
        expires_at=None if ttl_s is None else time.time() + ttl_s,
    )
    session.add(row)
    session.flush()
    record(session, "token.add", f"token:{name}", after={"owner": user.name, "scopes": row.scopes})
    return token


def shortened(ttl_s: float | None, expires_at: float | None) -> float | None:
    """How long a new token holds that somebody makes whose own right to it ends then (None: never)."""
    if expires_at is None:
        return ttl_s
    left_s = max(0.0, expires_at - time.time())
    return left_s if ttl_s is None else min(ttl_s, left_s)


def narrowed(asked: Iterable[Scope], held: frozenset[Scope] | None) -> list[Scope]:
    """The scopes of a new token that somebody makes who holds `held` (None: all); raises Forbidden for more."""
    wanted = set(asked)
    if held is None or Scope.ALL in held or wanted <= held:
        return sorted(wanted)
    raise Forbidden(
        f"A token with the scopes {', '.join(sorted(held))} makes none with {', '.join(sorted(wanted - held))}.",
        field="scopes",
        remedy="Make it on your account page.",
    )


def use_token(database: Database, token: str) -> ApiToken | None:
    """The API token, if it holds and its owner is active; it is noted that it was used."""
    with database.read() as session:
        found = session.get(ApiToken, token_hash(token), options=[joinedload(ApiToken.user)])
    if found is None or not found.user.active:
        return None
    if found.expires_at is not None and found.expires_at <= time.time():
        return None
    if (found.used_at or 0.0) < time.time() - SEEN_EVERY_S:
        _note(database, ApiToken, found.token_hash, used_at=time.time())
    return found


def list_tokens(session: Session, user: User) -> list[ApiToken]:
    """This person's tokens, the newest first."""
    query = select(ApiToken).where(ApiToken.user_id == user.id)
    return list(session.scalars(query.order_by(ApiToken.created_at.desc(), ApiToken.token_hash)))


def revoke_token(session: Session, user: User, token_id: str) -> None:
    """End a token by the start of its hash, as `list_tokens` shows it; raises NotFound."""
    for token in list_tokens(session, user):
        if public_id(token.token_hash) == token_id:
            session.delete(token)
            record(session, "token.revoke", f"token:{token.name}", before={"owner": user.name})
            return
    raise NotFound(f"There is no token {token_id}.", field="token", remedy="Your account page lists them.")


def public_id(hashed: str) -> str:
    """What names a token or a sign-in without giving it away."""
    return hashed[:12]
