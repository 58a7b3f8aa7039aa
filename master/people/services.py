"""What administrators do with people: look, change, approve, reset."""

from __future__ import annotations

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, selectinload

from common.errors import Conflict
from master.accounts.models import ApiToken, Membership, User, UserRole, UserState
from master.accounts.passwords import generate_password, hash_password
from master.accounts.services import end_sessions, shown, subject_of
from master.audit.services import record


def list_users(
    session: Session,
    *,
    state: UserState | None = None,
    search: str = "",
    group: str = "",
    limit: int | None = None,
    offset: int = 0,
) -> list[User]:
    """People by name, with their groups; `search` is part of a name, `group` the id of one."""
    whole = selectinload(User.memberships).joinedload(Membership.group)
    statement = select(User).options(whole).order_by(User.name)
    if state is not None:
        statement = statement.where(User.state == state.value)
    if search:
        words = User.name.contains(search, autoescape=True) | User.full_name.icontains(
            search, autoescape=True
        )
        statement = statement.where(words)
    if group:
        statement = statement.where(User.memberships.any(Membership.group_id == group))
    return list(session.scalars(statement.limit(limit).offset(offset)))


def count_pending(session: Session) -> int:
    """How many wait for approval."""
    query = select(func.count()).select_from(User).where(User.state == UserState.PENDING.value)
    return session.scalar(query) or 0


def change_user(
    session: Session,
    user: User,
    *,
    role: UserRole | None = None,
    state: UserState | None = None,
    full_name: str | None = None,
    email: str | None = None,
) -> None:
    """Change what is given. Who is disabled is signed out everywhere; approving somebody makes them active.

    Raises Conflict if no active administrator would be left, or for somebody who is to wait again.
    """
    demoted = role is not None and role is not UserRole.ADMINISTRATOR
    stopped = state is not None and state is not UserState.ACTIVE
    if (demoted or stopped) and _is_last_administrator(session, user):
        raise Conflict(
            f"{user.name} is the last administrator.", remedy="Make somebody else administrator first."
        )
    if state is UserState.PENDING and user.state != UserState.PENDING.value:
        raise Conflict(
            f"{user.name} has been approved already.", field="state", remedy="Disable them instead."
        )
    before = shown(user)
    approved = user.state == UserState.PENDING.value and state is UserState.ACTIVE
    action = "user.approve" if approved else "user.change"
    if role is not None:
        user.role = role.value
    if full_name is not None:
        user.full_name = full_name
    if email is not None:
        user.email = email
    if state is not None:
        user.state = state.value
        if not user.active:
            end_sessions(session, user)
    record(session, action, subject_of(user), before=before, after=shown(user))


def reject(session: Session, user: User) -> None:
    """Remove somebody who waits for approval; raises Conflict for anybody else."""
    if user.state != UserState.PENDING.value:
        raise Conflict(
            f"{user.name} does not wait for approval.", field="name", remedy="Disable them instead."
        )
    record(session, "user.reject", subject_of(user), before=shown(user))
    session.delete(user)


def _is_last_administrator(session: Session, user: User) -> bool:
    if not (user.active and user.role == UserRole.ADMINISTRATOR.value):
        return False
    # Two administrators who disable each other at once take turns here.
    administrators = session.scalars(
        select(User.id)
        .where(User.role == UserRole.ADMINISTRATOR.value, User.state == UserState.ACTIVE.value)
        .order_by(User.id)
        .with_for_update()
    ).all()
    return set(administrators) <= {user.id}


def reset_password(session: Session, user: User) -> str:
    """Give a generated password, shown once; all sign-ins and tokens of this person end."""
    password = generate_password()
    set_password(session, user, hash_password(password))
    record(session, "user.reset-password", subject_of(user))
    return password


def set_password(session: Session, user: User, password_hash: str) -> None:
    """Another password; all sign-ins and tokens of this person end."""
    user.password_hash = password_hash
    end_sessions(session, user)
    session.execute(delete(ApiToken).where(ApiToken.user_id == user.id))


def memberships_of(user: User) -> list[Membership]:
    """The groups that a person is in, read while there is a session."""
    found = list(user.memberships)
    for membership in found:
        _ = membership.group
    return found
