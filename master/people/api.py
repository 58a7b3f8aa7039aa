"""REST: people and groups."""

from __future__ import annotations

from flask import Response, url_for
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from common.words import Name
from master.accounts import services as accounts
from master.accounts.api import Strict, UserView, user_view
from master.accounts.guard import allows, check_scope, current_user, requires
from master.accounts.models import Group, GroupRole, Scope, User, UserRole, UserState
from master.accounts.signing_up import make_reset_link
from master.people import groups, services
from master.web.current import context, nothing, reply
from master.web.description import raises
from master.web.paging import Page, reply_page
from master.web.versions import IfMatch, check_unchanged

_USERS = Tag(name="users", description="People; for administrators.")
_GROUPS = Tag(name="groups", description="Groups: for administrators, their teachers and members.")
api = APIBlueprint("people_api", __name__, url_prefix="/api/v1")


class UserQuery(Page):
    """Which people."""

    state: UserState | None = Field(None, description="Only those: `pending` wait for approval.")
    search: str = Field("", max_length=64, description="Part of the name.")


class UserList(BaseModel):
    """People, by name."""

    users: list[UserView]


class UserWithPassword(UserView):
    """A person with a generated password, which is shown this once."""

    password: str


class NewUser(Strict):
    """A person to be added."""

    name: Name
    role: UserRole = UserRole.USER


class UserChange(Strict):
    """What changes; what is left out stays."""

    role: UserRole | None = None
    state: UserState | None = Field(None, description="`active` approves or enables, `disabled` shuts out.")
    active: bool | None = Field(None, description="The same as the state `active` or `disabled`.")
    full_name: str | None = Field(None, max_length=120)
    email: str | None = Field(None, max_length=254)


class UserPath(BaseModel):
    """A person by name."""

    name: str = Field(max_length=64)


class ResetLinkView(BaseModel):
    """A link with which a person chooses a password, once; it is shown this once."""

    url: str
    expires_at: float


class GroupView(BaseModel):
    """A group."""

    id: str
    name: str
    title: str
    members: int
    created_at: float


class MemberView(BaseModel):
    """Somebody in a group."""

    name: str
    full_name: str
    role: GroupRole


class GroupDetails(GroupView):
    """A group with who is in it, teachers first."""

    people: list[MemberView]


class GroupList(BaseModel):
    """Groups, by name."""

    groups: list[GroupView]


class NewGroup(Strict):
    """A group to be made."""

    name: Name
    title: str = Field("", max_length=120)


class GroupChange(Strict):
    """What changes."""

    title: str = Field(max_length=120)


class GroupPath(BaseModel):
    """A group by name."""

    group: str = Field(max_length=64)


class MemberPath(GroupPath):
    """Somebody in a group."""

    name: str = Field(max_length=64)


class MemberChange(Strict):
    """What they are in the group."""

    role: GroupRole = GroupRole.MEMBER


def _check_rank(*roles: UserRole | None) -> None:
    """A token for people alone neither makes nor takes over an account that may do more than it."""
    if set(roles) - {None, UserRole.USER}:
        check_scope()


def _show(name: str) -> UserView:
    with context().database.read() as session:
        return user_view(accounts.find_user(session, name))


@api.get("/users", summary="List people", tags=[_USERS], responses={200: UserList})
@requires(UserRole.ADMINISTRATOR)
@allows(Scope.PEOPLE, Scope.READ)
def list_users(query: UserQuery) -> Response:
    """By name."""
    with context().database.read() as session:
        found = services.list_users(
            session, state=query.state, search=query.search, limit=query.and_one, offset=query.offset
        )
        answer = UserList(users=[user_view(user) for user in found[: query.limit]])
    return reply_page(answer, query, more=len(found) > query.limit)


@api.post("/users", summary="Add a person", tags=[_USERS], responses={201: UserWithPassword})
@requires(UserRole.ADMINISTRATOR)
@allows(Scope.PEOPLE)
def add_user(body: NewUser) -> Response:
    """The generated password is shown this once."""
    _check_rank(body.role)
    with context().database.write() as session:
        user, password = accounts.create_user(session, body.name, body.role)
        answer = UserWithPassword(**user_view(user).model_dump(), password=password)
    return reply(answer, 201)


@api.get("/users/<name>", summary="Show a person", tags=[_USERS], responses={200: UserView})
@requires(UserRole.ADMINISTRATOR)
@allows(Scope.PEOPLE, Scope.READ)
def show_user(path: UserPath) -> Response:
    """With the groups that they are in."""
    return reply(_show(path.name))


@api.patch("/users/<name>", summary="Change a person", tags=[_USERS], responses={200: UserView})
@requires(UserRole.ADMINISTRATOR)
@allows(Scope.PEOPLE)
@raises(412)
def change_user(path: UserPath, header: IfMatch, body: UserChange) -> Response:
    """Another role, approved, or disabled: then every sign-in of this person ends."""
    del header
    state = body.state
    if state is None and body.active is not None:
        state = UserState.ACTIVE if body.active else UserState.DISABLED
    with context().database.write() as session:
        user = accounts.find_user(session, path.name)
        _check_rank(body.role, UserRole(user.role))
        check_unchanged(user_view(user))
        services.change_user(
            session, user, role=body.role, state=state, full_name=body.full_name, email=body.email
        )
        return reply(user_view(user))


@api.delete("/users/<name>", summary="Reject a person", tags=[_USERS], responses={204: None})
@requires(UserRole.ADMINISTRATOR)
@allows(Scope.PEOPLE)
def reject_user(path: UserPath) -> Response:
    """Remove somebody who waits for approval; 409 for others, who can be disabled."""
    with context().database.write() as session:
        services.reject(session, accounts.find_user(session, path.name))
    return nothing()


@api.post("/users/<name>/reset", summary="Reset a password", tags=[_USERS], responses={200: UserWithPassword})
@requires(UserRole.ADMINISTRATOR)
@allows(Scope.PEOPLE)
def reset_password(path: UserPath) -> Response:
    """A new generated password, shown this once; all sign-ins and tokens of this person end."""
    with context().database.write() as session:
        user = accounts.find_user(session, path.name)
        _check_rank(UserRole(user.role))
        password = services.reset_password(session, user)
        return reply(UserWithPassword(**user_view(user).model_dump(), password=password))


@api.post(
    "/users/<name>/reset-link",
    summary="Make a link to reset a password",
    tags=[_USERS],
    responses={201: ResetLinkView},
)
@requires(UserRole.ADMINISTRATOR)
@allows(Scope.PEOPLE)
def reset_link(path: UserPath) -> Response:
    """With it the person chooses a password, once; only then their sign-ins and tokens end."""
    with context().database.write() as session:
        user = accounts.find_user(session, path.name)
        _check_rank(UserRole(user.role))
        code, expires_at = make_reset_link(session, user, context().settings.reset_link_s)
    url = url_for("accounts.reset", code=code, _external=True)
    return reply(ResetLinkView(url=url, expires_at=expires_at), 201)


def _group(group: Group, members: int) -> GroupView:
    return GroupView(
        id=group.id, name=group.name, title=group.title, members=members, created_at=group.created_at
    )


def _details(name: str) -> GroupDetails:
    with context().database.read() as session:
        group = groups.find_group(session, current_user(), name)
        people = groups.members_of(session, group)
        return GroupDetails(
            **_group(group, len(people)).model_dump(),
            people=[
                MemberView(name=item.user.name, full_name=item.user.full_name, role=GroupRole(item.role))
                for item in people
            ],
        )


@api.get("/groups", summary="List groups", tags=[_GROUPS], responses={200: GroupList})
@allows(Scope.PEOPLE, Scope.READ)
def list_groups(query: Page) -> Response:
    """One's own; all of them for administrators."""
    with context().database.read() as session:
        found = groups.list_groups(session, current_user(), limit=query.and_one, offset=query.offset)
    answer = GroupList(groups=[_group(*item) for item in found[: query.limit]])
    return reply_page(answer, query, more=len(found) > query.limit)


@api.post("/groups", summary="Make a group", tags=[_GROUPS], responses={201: GroupDetails})
@requires(UserRole.ADMINISTRATOR)
@allows(Scope.PEOPLE)
def create_group(body: NewGroup) -> Response:
    """Without anybody in it."""
    with context().database.write() as session:
        groups.create_group(session, body.name, body.title)
    return reply(_details(body.name), 201)


@api.get("/groups/<group>", summary="Show a group", tags=[_GROUPS], responses={200: GroupDetails})
@allows(Scope.PEOPLE, Scope.READ)
def show_group(path: GroupPath) -> Response:
    """With who is in it."""
    return reply(_details(path.group))


@api.patch("/groups/<group>", summary="Change a group", tags=[_GROUPS], responses={200: GroupDetails})
@requires(UserRole.ADMINISTRATOR)
@allows(Scope.PEOPLE)
@raises(412)
def change_group(path: GroupPath, header: IfMatch, body: GroupChange) -> Response:
    """Another title."""
    del header
    check_unchanged(_details(path.group))
    with context().database.write() as session:
        groups.change_group(session, groups.find_group(session, current_user(), path.group), body.title)
    return reply(_details(path.group))


@api.delete("/groups/<group>", summary="Remove a group", tags=[_GROUPS], responses={204: None})
@requires(UserRole.ADMINISTRATOR)
@allows(Scope.PEOPLE)
def remove_group(path: GroupPath) -> Response:
    """Its limits go with it; its members stay."""
    with context().database.write() as session:
        groups.remove_group(session, groups.find_group(session, current_user(), path.group))
    return nothing()


@api.put(
    "/groups/<group>/members/<name>", summary="Set a member", tags=[_GROUPS], responses={200: GroupDetails}
)
@allows(Scope.PEOPLE)
def set_member(path: MemberPath, body: MemberChange) -> Response:
    """Add somebody, or change what they are. Teachers add members; administrators choose teachers."""
    with context().database.write() as session:
        by = session.get_one(User, current_user().id)
        group = groups.find_group(session, by, path.group)
        groups.set_member(session, by, group, accounts.find_user(session, path.name), body.role)
    return reply(_details(path.group))


@api.delete(
    "/groups/<group>/members/<name>", summary="Remove a member", tags=[_GROUPS], responses={204: None}
)
@allows(Scope.PEOPLE)
def remove_member(path: MemberPath) -> Response:
    """Take somebody out of the group."""
    with context().database.write() as session:
        by = session.get_one(User, current_user().id)
        group = groups.find_group(session, by, path.group)
        groups.remove_member(session, by, group, accounts.find_user(session, path.name))
    return nothing()
