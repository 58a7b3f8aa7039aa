"""People whom an OpenID provider vouches for: who they are here, and what its claims make of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.orm import Session

from common.errors import Conflict, Forbidden
from common.logs import get_logger
from common.settings import Settings
from common.words import NAME
from master.accounts.models import Group, Identity, Membership, User, UserRole, UserState
from master.accounts.services import add_user, subject_of
from master.audit.services import record
from master.people.groups import create_group
from master.people.services import change_user, count_pending

log = get_logger(__name__)

MAXIMUM_NAME = 56  # a number may follow where the name is taken
MOST_PENDING = 1000
_RANK = [UserRole.USER, UserRole.OPERATOR, UserRole.ADMINISTRATOR]


def provider_name(settings: Settings) -> str:
    """What people call the provider; empty: there is none."""
    return settings.openid_name or urlsplit(settings.openid_issuer).hostname or ""


def find_identity(session: Session, user: User, issuer: str) -> Identity | None:
    """As whom the provider knows this person."""
    return session.scalar(select(Identity).where(Identity.user_id == user.id, Identity.issuer == issuer))


def person_of(session: Session, settings: Settings, claims: Mapping[str, Any]) -> User:
    """Who signs in with these claims; on the first time they are made.

    Nobody becomes somebody who is here already by having the same name or e-mail address there: that needs `link`
    by whoever is signed in here. Raises Forbidden where nobody new may come.
    """
    issuer, subject = settings.openid_issuer, str(claims["sub"])
    known = session.get(Identity, (issuer, subject))
    user = known.user if known is not None else _add(session, settings, claims)
    if user.state != UserState.DISABLED.value:
        _apply_role(session, settings, user, claims)
        _apply_groups(session, settings, user, claims)
    return user


def link(session: Session, user: User, issuer: str, subject: str) -> None:
    """Let the provider's subject sign in as this person. Raises Conflict if one of them has another already."""
    other, own = session.get(Identity, (issuer, subject)), find_identity(session, user, issuer)
    if other is not None and other.user_id == user.id:
        return
    if other is not None or own is not None:
        raise Conflict(
            "You, or whoever you are there, sign in with another account already.",
            remedy="Take that away on the account page first.",
        )
    session.add(Identity(issuer=issuer, subject=subject, user_id=user.id))
    record(session, "user.link", subject_of(user), after={"issuer": issuer, "subject": subject})


def unlink(session: Session, user: User, issuer: str) -> None:
    """The provider no more signs in this person; raises Conflict if nothing else would."""
    found = find_identity(session, user, issuer)
    if found is None:
        return
    if not user.password_hash:
        raise Conflict("You could not sign in any more.", remedy="Ask an administrator for a password first.")
    session.delete(found)
    record(session, "user.unlink", subject_of(user), before={"issuer": issuer, "subject": found.subject})


def _add(session: Session, settings: Settings, claims: Mapping[str, Any]) -> User:
    mode = settings.openid_sign_up
    if mode == "closed" or (mode == "approval" and count_pending(session) >= MOST_PENDING):
        raise Forbidden("There is no account here for you.", remedy="Ask an administrator for one.")
    user = add_user(
        session,
        _free_name(session, str(claims.get(settings.openid_name_claim) or "")),
        UserRole.USER,
        password_hash=None,
        state=UserState.ACTIVE if mode == "open" else UserState.PENDING,
        full_name=str(claims.get("name") or "")[:120],
        email=str(claims.get("email") or "")[:254],
        reason=f"Comes from {provider_name(settings)}.",
    )
    session.add(Identity(issuer=settings.openid_issuer, subject=str(claims["sub"]), user_id=user.id))
    session.flush()
    return user


def _free_name(session: Session, wanted: str) -> str:
    """A name as close to the wanted one as the rules and those who are here allow."""
    plain = re.sub(r"[^a-z0-9]+", "-", wanted.partition("@")[0].lower()).strip("-")[:MAXIMUM_NAME].strip("-")
    base = plain if re.fullmatch(NAME, plain) else "person"
    taken = set(session.scalars(select(User.name).where(User.name.startswith(base, autoescape=True))))
    number, name = 1, base
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    return name


def _claimed(settings: Settings, claims: Mapping[str, Any]) -> list[str]:
    value = claims.get(settings.openid_groups_claim) or []
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def _apply_role(session: Session, settings: Settings, user: User, claims: Mapping[str, Any]) -> None:
    """Where the settings say so, the provider gives the role, and takes it away."""
    if not settings.openid_roles:
        return
    given = [
        UserRole(settings.openid_roles[item])
        for item in _claimed(settings, claims)
        if item in settings.openid_roles
    ]
    role = max(given, key=_RANK.index, default=UserRole.USER)
    if role.value == user.role:
        return
    try:
        change_user(session, user, role=role)
    except Conflict as error:  # the last administrator stays
        log.warning("role of the provider not taken over", user=user.name, error=str(error))


def _apply_groups(session: Session, settings: Settings, user: User, claims: Mapping[str, Any]) -> None:
    """In the groups that the claims name, and in no other by the provider's word; who was added here stays."""
    source = settings.openid_issuer
    wanted = {
        settings.openid_groups[item] for item in _claimed(settings, claims) if item in settings.openid_groups
    }
    there = list(session.scalars(select(Membership).where(Membership.user_id == user.id)))
    for item in there:
        if item.source == source and item.group.name not in wanted:
            record(session, "group.remove-member", f"group:{item.group.name}", before={"member": user.name})
            session.delete(item)
    for name in sorted(wanted - {item.group.name for item in there}):
        group = session.scalar(select(Group).where(Group.name == name)) or create_group(session, name, "")
        session.add(Membership(group_id=group.id, user_id=user.id, source=source))
        record(session, "group.set-member", f"group:{name}", after={"member": user.name})
    session.flush()
