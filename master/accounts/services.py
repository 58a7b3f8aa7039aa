"""People, sign-ins and API tokens."""

from __future__ import annotations

import time
from collections.abc import Iterable

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, joinedload

from common.errors import BadInput, Conflict, NotFound, Unauthorized
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
from master.context import MasterContext

FIRST_ADMINISTRATOR = "admin"
TOKEN_PREFIX = "ora_"  # noqa: S105 - lets people and scanners recognise a token
MINIMUM_PASSWORD = 10
MAXIMUM_PASSWORD = 200


def ensure_administrator(session: Session) -> str | None:
    """Make the first administrator if there is nobody yet; returns the generated password."""
    if session.scalar(select(func.count()).select_from(User)):
        return None
    _, password = create_user(session, FIRST_ADMINISTRATOR, UserRole.ADMINISTRATOR)
    return password


def create_user(session: Session, name: str, role: UserRole) -> tuple[User, str]:
    """A new person and the generated first password; raises Conflict if the name is taken."""
    if session.scalar(select(User.id).where(User.name == name)):
        raise Conflict(f"There is a user {name} already.", field="name", remedy="Choose another name.")
    password = generate_password()
    user = User(id=new_id("u"), name=name, role=role.value, password_hash=hash_password(password))
    session.add(user)
    session.flush()
    return user, password


def list_users(session: Session) -> list[User]:
    """Everybody, by name."""
    return list(session.scalars(select(User).order_by(User.name)))


def find_user(session: Session, name: str) -> User:
    """The person of that name; raises NotFound."""
    user = session.scalar(select(User).where(User.name == name))
    if user is None:
        raise NotFound(f"There is no user {name}.", field="name", remedy="openraas user list shows them.")
    return user


def change_user(
    session: Session, user: User, *, role: UserRole | None = None, active: bool | None = None
) -> None:
    """Change role or disable; raises Conflict if no active administrator would be left."""
    demoted = role is not None and role is not UserRole.ADMINISTRATOR
    if (demoted or active is False) and _is_last_administrator(session, user):
        raise Conflict(
            f"{user.name} is the last administrator.", remedy="Make somebody else administrator first."
        )
    if role is not None:
        user.role = role.value
    if active is not None:
        user.state = (UserState.ACTIVE if active else UserState.DISABLED).value
        if not active:
            end_sessions(session, user)


def _is_last_administrator(session: Session, user: User) -> bool:
    others = select(func.count()).where(
        User.role == UserRole.ADMINISTRATOR.value, User.state == UserState.ACTIVE.value, User.id != user.id
    )
    is_one = user.active and user.role == UserRole.ADMINISTRATOR.value
    return is_one and not session.scalar(others)


def reset_password(session: Session, user: User) -> str:
    """Give a generated password, shown once; all sign-ins and tokens of this person end."""
    password = generate_password()
    user.password_hash = hash_password(password)
    end_sessions(session, user)
    session.execute(delete(ApiToken).where(ApiToken.user_id == user.id))
    return password


def change_password(context: MasterContext, name: str, current: str, new: str, address: str) -> None:
    """Change one's own password; all sign-ins end.

    Raises BadInput that names the field, or TooMany after too many wrong ones: whoever found a screen unlocked
    guesses no faster here than where people sign in.
    """
    if not MINIMUM_PASSWORD <= len(new) <= MAXIMUM_PASSWORD:
        raise BadInput(f"A password has {MINIMUM_PASSWORD} to {MAXIMUM_PASSWORD} characters.", field="new")
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
    throttle.forget(context.redis, name, address)


def authenticate(context: MasterContext, name: str, password: str, address: str) -> User:
    """Who this is, by password or by an API token in its place (as `docker login` needs it).

    Raises Unauthorized, or TooMany after too many wrong ones from this address.
    """
    throttle.enter(context.redis, name, address)
    with context.database.read() as session:
        if password.startswith(TOKEN_PREFIX):
            user = user_of_token(session, password)
            good = user is not None and user.name == name
        else:
            user = session.scalar(select(User).where(User.name == name, User.state == UserState.ACTIVE.value))
            good = verify_password(user.password_hash if user else None, password[:MAXIMUM_PASSWORD])
    if user is None or not good:
        raise Unauthorized(
            "Name and password do not belong together.",
            field="password",
            remedy="An administrator can reset the password.",
        )
    throttle.forget(context.redis, name, address)
    return user


def start_session(session: Session, user: User, ttl_s: float) -> str:
    """Sign a person in; returns the value of the cookie. What has expired is swept out on the way."""
    session.execute(delete(WebSession).where(WebSession.expires_at < time.time()))
    token = new_token()
    session.add(WebSession(token_hash=token_hash(token), user_id=user.id, expires_at=time.time() + ttl_s))
    return token


def end_session(session: Session, token: str) -> None:
    """Sign out."""
    session.execute(delete(WebSession).where(WebSession.token_hash == token_hash(token)))


def end_sessions(session: Session, user: User) -> None:
    """Sign a person out everywhere."""
    session.execute(delete(WebSession).where(WebSession.user_id == user.id))


def user_of_session(session: Session, token: str) -> User | None:
    """The active person whose sign-in this cookie is."""
    found = session.get(WebSession, token_hash(token), options=[joinedload(WebSession.user)])
    return found.user if found and found.expires_at > time.time() and found.user.active else None


def issue_api_token(
    session: Session, user: User, name: str, ttl_s: float | None, scopes: Iterable[Scope] = (Scope.ALL,)
) -> str:
    """A token for programs, shown once; `ttl_s` None: it holds until it is revoked."""
    token = new_token(TOKEN_PREFIX)
    expires_at = None if ttl_s is None else time.time() + ttl_s
    session.add(
        ApiToken(
            token_hash=token_hash(token),
            user_id=user.id,
            name=name,
            scopes=sorted(set(scopes)),
            expires_at=expires_at,
        )
    )
    session.flush()
    return token


def user_of_token(session: Session, token: str) -> User | None:
    """The active person to whom this API token was given."""
    found = session.get(ApiToken, token_hash(token), options=[joinedload(ApiToken.user)])
    if found is None or not found.user.active:
        return None
    return found.user if found.expires_at is None or found.expires_at > time.time() else None


def list_tokens(session: Session, user: User) -> list[ApiToken]:
    """This person's tokens, the newest first."""
    query = select(ApiToken).where(ApiToken.user_id == user.id).order_by(ApiToken.created_at.desc())
    return list(session.scalars(query))


def revoke_token(session: Session, user: User, token_id: str) -> None:
    """End a token by the start of its hash, as `list_tokens` shows it; raises NotFound."""
    for token in list_tokens(session, user):
        if token_id_of(token) == token_id:
            session.delete(token)
            return
    raise NotFound(f"There is no token {token_id}.", field="token", remedy="Your account page lists them.")


def token_id_of(token: ApiToken) -> str:
    """What names a token without giving it away."""
    return token.token_hash[:12]
