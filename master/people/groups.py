"""Groups: a class or a laboratory, with teachers who look after their members."""

from __future__ import annotations

from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session, aliased

from common.errors import Conflict, Forbidden, NotFound
from common.words import new_id
from master.accounts.models import Group, GroupRole, Membership, User, UserRole
from master.audit.services import record
from master.limits.models import Limit, LimitKind


def list_groups(
    session: Session, user: User, *, limit: int | None = None, offset: int = 0
) -> list[tuple[Group, int]]:
    """Groups by name with how many members each has: all for administrators, one's own for others."""
    size = select(func.count()).where(Membership.group_id == Group.id).scalar_subquery()
    statement = select(Group, size).order_by(Group.name).limit(limit).offset(offset)
    if user.role != UserRole.ADMINISTRATOR.value:
        statement = statement.where(Group.members.any(Membership.user_id == user.id))
    return [(group, count) for group, count in session.execute(statement)]


def find_group(session: Session, user: User, name: str) -> Group:
    """The group, if this person is in it or an administrator. Raises NotFound."""
    group = session.scalar(select(Group).where(Group.name == name))
    is_theirs = user.role == UserRole.ADMINISTRATOR.value or (
        group is not None and session.get(Membership, (group.id, user.id)) is not None
    )
    if group is None or not is_theirs:
        raise NotFound(f"There is no group {name}.", field="group", remedy="See openraas group list.")
    return group


def create_group(session: Session, name: str, title: str) -> Group:
    """A new group; raises Conflict if the name is taken."""
    if session.scalar(select(Group.id).where(Group.name == name)):
        raise Conflict(f"There is a group {name} already.", field="name", remedy="Choose another name.")
    group = Group(id=new_id("g"), name=name, title=title)
    session.add(group)
    session.flush()
    record(session, "group.add", subject_of(group), after={"title": title})
    return group


def change_group(session: Session, group: Group, title: str) -> None:
    """Another title."""
    record(session, "group.change", subject_of(group), before={"title": group.title}, after={"title": title})
    group.title = title


def remove_group(session: Session, group: Group) -> None:
    """Remove the group; its members stay people."""
    kinds = (LimitKind.GROUP.value, LimitKind.MEMBERS.value)
    session.execute(delete(Limit).where(Limit.kind.in_(kinds), Limit.subject_id == group.id))
    record(session, "group.remove", subject_of(group), before={"title": group.title})
    session.delete(group)


def members_of(session: Session, group: Group) -> list[Membership]:
    """Who is in it, teachers first, then by name."""
    statement = (select(Membership).join(Membership.user).where(Membership.group_id == group.id)).order_by(
        Membership.role.desc(), User.name
    )
    found = list(session.scalars(statement))
    for membership in found:
        _ = membership.user
    return found


def pupils(user: User, group: Group | None = None) -> Select[str]:
    """The ids of the people whom this one looks after as a teacher, or of those in `group`.

    Only users: who has a role here is no pupil, whatever groups a teacher puts them in. To whoever has a role
    themselves all members of `group` are.
    """
    member, teacher = aliased(Membership), aliased(Membership)
    found = select(member.user_id).where(member.role == GroupRole.MEMBER.value)
    if group is not None:
        found = found.where(member.group_id == group.id)
        if user.role != UserRole.USER.value:
            return found
    return (
        found.join(teacher, teacher.group_id == member.group_id)
        .join(User, User.id == member.user_id)
        .where(
            teacher.user_id == user.id,
            teacher.role == GroupRole.TEACHER.value,
            User.role == UserRole.USER.value,
        )
    )


def taught_by(session: Session, user: User) -> list[Group]:
    """The groups whose teacher this person is, by name."""
    statement = select(Group).join(Membership, Membership.group_id == Group.id).order_by(Group.name)
    is_teacher = Membership.role == GroupRole.TEACHER.value
    return list(session.scalars(statement.where(Membership.user_id == user.id, is_teacher)))


def teaches(session: Session, user: User, group: Group) -> bool:
    """Whether this person may change who is in the group."""
    if user.role == UserRole.ADMINISTRATOR.value:
        return True
    found = session.get(Membership, (group.id, user.id))
    return found is not None and found.role == GroupRole.TEACHER.value


def set_member(session: Session, by: User, group: Group, user: User, role: GroupRole) -> None:
    """Add somebody or change what they are in the group.

    Raises Forbidden unless `by` is an administrator, or a teacher of the group who adds a member.
    """
    _check_may_change(session, by, group)
    found = session.get(Membership, (group.id, user.id))
    was = found.role if found else None
    if GroupRole.TEACHER.value in (role.value, was) and by.role != UserRole.ADMINISTRATOR.value:
        raise Forbidden("Only administrators choose teachers.", field="role", remedy="Ask an administrator.")
    if found is None:
        session.add(Membership(group_id=group.id, user_id=user.id, role=role.value))
        session.flush()
    else:
        found.role = role.value
    changed = {"member": user.name, "role": role.value}
    record(session, "group.set-member", subject_of(group), before={"role": was}, after=changed)


def remove_member(session: Session, by: User, group: Group, user: User) -> None:
    """Take somebody out of the group. Raises Forbidden as `set_member`, NotFound."""
    _check_may_change(session, by, group)
    found = session.get(Membership, (group.id, user.id))
    if found is None:
        raise NotFound(f"{user.name} is not in {group.name}.", field="name", remedy="See who is in it.")
    if found.role == GroupRole.TEACHER.value and by.role != UserRole.ADMINISTRATOR.value:
        raise Forbidden("Only administrators choose teachers.", field="role", remedy="Ask an administrator.")
    session.delete(found)
    record(
        session, "group.remove-member", subject_of(group), before={"member": user.name, "role": found.role}
    )


def _check_may_change(session: Session, by: User, group: Group) -> None:
    if not teaches(session, by, group):
        raise Forbidden(
            f"Only administrators and teachers of {group.name} change who is in it.",
            remedy="Ask one of them.",
        )


def subject_of(group: Group) -> str:
    """How the audit log names a group."""
    return f"group:{group.name}"
