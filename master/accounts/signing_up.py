"""How people come in: by signing up themselves, or by a link with which they choose a password."""

from __future__ import annotations

import time

from sqlalchemy import delete
from sqlalchemy.orm import Session, joinedload

from common.errors import Forbidden, NotFound, TooMany
from master.accounts import throttle
from master.accounts.models import ResetLink, User, UserRole, UserState
from master.accounts.passwords import hash_password, new_token, token_hash
from master.accounts.services import add_user, check_new_password, end_sessions, subject_of
from master.audit.services import record
from master.context import MasterContext
from master.people.services import count_pending, set_password

# Nobody fills the list of those who wait.
MOST_PENDING = 1000


def sign_up(
    context: MasterContext,
    name: str,
    password: str,
    address: str,
    *,
    full_name: str = "",
    email: str = "",
    reason: str = "",
) -> User:
    """Make oneself an account, which waits for approval unless the settings let everybody in.

    Raises Forbidden where nobody may, Conflict for a name that is taken, BadInput, TooMany.
    """
    mode = context.settings.sign_up
    if mode == "closed":
        raise Forbidden("Nobody may sign up here.", remedy="Ask an administrator for an account.")
    check_new_password(password, field="password")
    throttle.count_sign_up(context.redis, address)
    hashed = hash_password(password)
    with context.database.write() as session:
        if count_pending(session) >= MOST_PENDING:
            raise TooMany("Too many people wait for approval.", remedy="Try again tomorrow.")
        return add_user(
            session,
            name,
            UserRole.USER,
            password_hash=hashed,
            state=UserState.ACTIVE if mode == "open" else UserState.PENDING,
            full_name=full_name,
            email=email,
            reason=reason,
        )


def make_reset_link(session: Session, user: User, ttl_s: float) -> tuple[str, float]:
    """The secret of a link with which this person chooses a password once, and until when; older ones end."""
    session.execute(delete(ResetLink).where(ResetLink.user_id == user.id))
    session.execute(delete(ResetLink).where(ResetLink.expires_at < time.time()))
    secret, expires_at = new_token(), time.time() + ttl_s
    session.add(ResetLink(token_hash=token_hash(secret), user_id=user.id, expires_at=expires_at))
    record(session, "user.make-reset-link", subject_of(user))
    return secret, expires_at


def find_reset_link(session: Session, secret: str) -> ResetLink:
    """The link, if it still holds; raises NotFound."""
    found = session.get(ResetLink, token_hash(secret), options=[joinedload(ResetLink.user)])
    if found is None or found.expires_at <= time.time():
        raise NotFound(
            "This link does not hold any more.", field="code", remedy="Ask an administrator for a new one."
        )
    return found


def use_reset_link(context: MasterContext, secret: str, password: str) -> User:
    """Set the password by a link, which ends; all sign-ins and tokens of this person end, too.

    Raises BadInput, NotFound.
    """
    check_new_password(password, field="new")
    with context.database.read() as session:
        find_reset_link(session, secret)
    hashed = hash_password(password)
    with context.database.write() as session:
        # Whoever deletes it has used it: of two at once only one.
        user = find_reset_link(session, secret).user
        used = session.execute(delete(ResetLink).where(ResetLink.token_hash == token_hash(secret)))
        if not used.rowcount:  # type: ignore[attr-defined]
            raise NotFound("This link was used already.", field="code", remedy="Sign in.")
        set_password(session, user, hashed)
        end_sessions(session, user)
        record(session, "user.use-reset-link", subject_of(user))
    return user
