"""Limits as they stand in SQL, and the check of a request against them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from common.errors import BadInput, Forbidden, NotFound
from master.accounts.models import Group, Membership, User, UserRole
from master.accounts.services import find_user
from master.audit.services import record
from master.deployments.models import Deployment, Instance
from master.lifecycle.states import OVER
from master.limits.models import Limit, LimitKind
from master.limits.rules import AMOUNTS, LEASE, Bound, Held, Rule, bounds, decisive, exceeded, explain

FIELDS = (*AMOUNTS, LEASE)
EVERYBODY = LimitKind.EVERYBODY.value


class LimitReached(Forbidden):
    """A person or a group may not use so much at once."""


@dataclass(frozen=True)
class Subject:
    """Of whom a limit speaks: `everybody`, `person:ada`, `members:class-1a` or `group:class-1a`."""

    kind: LimitKind
    id: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.name}" if self.name else self.kind.value


def find_subject(session: Session, text: str) -> Subject:
    """Who is meant; raises BadInput, or NotFound for a person or a group that there is not."""
    kind, _, name = text.partition(":")
    if text == EVERYBODY:
        return Subject(LimitKind.EVERYBODY, "", "")
    if kind == LimitKind.PERSON.value and name:
        return Subject(LimitKind.PERSON, find_user(session, name).id, name)
    if kind in (LimitKind.MEMBERS.value, LimitKind.GROUP.value) and name:
        group = session.scalar(select(Group.id).where(Group.name == name))
        if group is None:
            raise NotFound(f"There is no group {name}.", field="subject", remedy="See openraas group list.")
        return Subject(LimitKind(kind), group, name)
    raise BadInput(
        f"{text!r} says not of whom a limit is.",
        field="subject",
        remedy="Use everybody, person:NAME, members:GROUP (each member) or group:GROUP (all together).",
    )


def list_limits(
    session: Session, *, limit: int | None = None, offset: int = 0
) -> list[tuple[Subject, Limit]]:
    """All rows with of whom they speak, everybody's first."""
    statement = (
        select(Limit, func.coalesce(User.name, Group.name, ""))
        .outerjoin(User, User.id == Limit.subject_id)
        .outerjoin(Group, Group.id == Limit.subject_id)
        .order_by(Limit.kind != EVERYBODY, Limit.kind, func.coalesce(User.name, Group.name, ""))
    )
    rows = session.execute(statement.limit(limit).offset(offset))
    return [(Subject(LimitKind(row.kind), row.subject_id, name), row) for row, name in rows]


def get_limit(session: Session, subject: Subject) -> Limit:
    """The row; raises NotFound."""
    found = session.get(Limit, (subject.kind.value, subject.id))
    if found is None:
        raise NotFound(f"There is no limit of {subject}.", field="subject", remedy="See openraas limit list.")
    return found


def set_limit(session: Session, subject: Subject, values: Mapping[str, float | None]) -> Limit:
    """Change what is given; None: it says nothing of it any more."""
    row = session.get(Limit, (subject.kind.value, subject.id))
    if row is None:
        row = Limit(kind=subject.kind.value, subject_id=subject.id)
        session.add(row)
    if subject.kind is LimitKind.GROUP and values.get(LEASE) is not None:
        raise BadInput(
            "A whole group has no limit of hours.",
            field=LEASE,
            remedy=f"Set it for each of its members: members:{subject.name}.",
        )
    before = values_of(row)
    for name, value in values.items():
        setattr(row, name, value)
    record(session, "limit.set", f"limit:{subject}", before=before, after=values_of(row))
    session.flush()
    return row


def remove_limit(session: Session, subject: Subject) -> None:
    """From now on nothing is said of them; raises NotFound."""
    row = get_limit(session, subject)
    record(session, "limit.remove", f"limit:{subject}", before=values_of(row))
    session.delete(row)


def values_of(row: Limit) -> dict[str, float]:
    """What a row says."""
    return {name: value for name in FIELDS if (value := getattr(row, name)) is not None}


def rules_for(session: Session, user: User, *, lock: bool = False) -> list[Rule]:
    """All rows that speak of this person. `lock`: whoever else asks with it waits for this transaction."""
    if lock:
        session.execute(select(User.id).where(User.id == user.id).with_for_update())
    of_person = (
        select(Group.id, Group.name)
        .join(Membership, Membership.group_id == Group.id)
        .where(Membership.user_id == user.id)
    )
    groups = {row.id: row.name for row in session.execute(of_person)}
    of_groups = Limit.kind.in_([LimitKind.MEMBERS.value, LimitKind.GROUP.value])
    statement = select(Limit).where(
        (Limit.kind == EVERYBODY)
        | ((Limit.kind == LimitKind.PERSON.value) & (Limit.subject_id == user.id))
        | (of_groups & Limit.subject_id.in_(list(groups)))
    )
    if lock:  # in one order, so that two never wait for each other
        statement = statement.order_by(Limit.kind, Limit.subject_id).with_for_update()
    return [
        Rule(LimitKind(row.kind), row.subject_id, groups.get(row.subject_id, user.name), values_of(row))
        for row in session.scalars(statement)
    ]


def bounds_of(session: Session, user: User, *, lock: bool = False) -> list[Bound]:
    """All limits that count for this person now, with what is used."""
    rules = rules_for(session, user, lock=lock)
    if not rules:
        return []
    whole = [rule.subject_id for rule in rules if rule.kind is LimitKind.GROUP]
    return bounds(
        rules, held_by(session, {user.id}), {group: _held_by_group(session, group) for group in whole}
    )


def check(session: Session, user: User, asked: Mapping[str, float]) -> None:
    """Raise LimitReached if this person may not use so much more.

    To be called in the transaction that writes the request: another request of the same person, or of the same
    group where it has a limit, waits until that is committed.
    """
    found = exceeded(bounds_of(session, user, lock=True), asked)
    if found is None:
        return
    message, remedy = explain(found, asked, user.id)
    raise LimitReached(message, field=f"limits.{found.amount}", remedy=remedy)


def longest_lease_s(session: Session, user: User) -> float | None:
    """For how long this person may let a deployment run without asking anew; none: as the settings say."""
    rule = decisive(rules_for(session, user), LEASE)
    return rule.values[LEASE] if rule else None


def check_may_keep(session: Session, by: User, owner: User) -> None:
    """Raise LimitReached where a limit of hours counts for the owner: only administrators, who set it, lift it."""
    rule = decisive(rules_for(session, owner), LEASE)
    if rule is None or by.role == UserRole.ADMINISTRATOR.value:
        return
    raise LimitReached(
        f"A deployment of {owner.name} may run for {rule.values[LEASE] / 3600:g} h (limit of {name_of(rule)}).",
        field=f"limits.{LEASE}",
        remedy="Ask an administrator to keep it, or for another limit.",
    )


def _held_by_group(session: Session, group_id: str) -> list[Held]:
    members = select(Membership.user_id).where(Membership.group_id == group_id)
    return held_by(session, set(session.scalars(members)))


def held_by(session: Session, users: Collection[str]) -> list[Held]:
    """What the deployments of these people hold that have not ended, those included that wait or stop."""
    statement = (
        select(Deployment, Instance)
        .join(Instance, Instance.deployment_id == Deployment.id)
        .where(
            Deployment.user_id.in_(users),
            Deployment.ended_at.is_(None),
            Instance.state.not_in([state.value for state in OVER]),
        )
        .order_by(Deployment.created_at, Deployment.id)
    )
    found: dict[str, tuple[Deployment, list[Instance]]] = {}
    for deployment, instance in session.execute(statement):
        found.setdefault(deployment.id, (deployment, []))[1].append(instance)
    return [_held(deployment, instances) for deployment, instances in found.values()]


def _held(deployment: Deployment, instances: Sequence[Instance]) -> Held:
    amounts = {name: float(sum(getattr(item, name) for item in instances)) for name in AMOUNTS[1:]}
    return Held(
        deployment.id,
        deployment.title,
        deployment.user_id,
        {"deployments": 1.0, **amounts},
        stopping=deployment.wanted != "running",
    )


def name_of(rule: Rule) -> str:
    """Of whom a rule speaks, as `find_subject` reads it."""
    return str(Subject(rule.kind, rule.subject_id, "" if rule.kind is LimitKind.EVERYBODY else rule.subject))
