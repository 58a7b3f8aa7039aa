"""Pages: people, approvals, groups."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _
from werkzeug.wrappers import Response

from common.errors import BadInput, Conflict, NotFound
from master.accounts import services as accounts
from master.accounts.guard import current_user, requires
from master.accounts.models import GroupRole, User, UserRole, UserState
from master.accounts.signing_up import make_reset_link
from master.people import groups, services
from master.people.forms import GroupForm, MemberForm, PersonForm, UserForm
from master.web.current import context

views = Blueprint("people", __name__)

Page = str | Response | tuple[str, int]
PER_PAGE = 50
MAXIMUM_PAGE = 10**6


def page_number() -> int:
    """The page of a list that is asked for, from 1."""
    return min(max(1, request.args.get("page", 1, type=int)), MAXIMUM_PAGE)


def _people(form: UserForm, name: str = "", password: str = "", link: str = "", status: int = 200) -> Page:
    page, search = page_number(), request.args.get("search", "")[:64]
    with context().database.read() as session:
        waiting = services.list_users(session, state=UserState.PENDING, limit=PER_PAGE)
        everybody = services.list_users(
            session, search=search, limit=PER_PAGE + 1, offset=(page - 1) * PER_PAGE
        )
        text = render_template(
            "people.html",
            people=[item for item in everybody[:PER_PAGE] if item.state != UserState.PENDING.value],
            waiting=waiting,
            form=form,
            new_name=name,
            password=password,
            link=link,
            search=search,
            page=page,
            has_more=len(everybody) > PER_PAGE,
        )
    return text, status


@views.get("/users")
@requires(UserRole.ADMINISTRATOR)
def people() -> Page:
    """Who waits for approval, everybody, and a form for one more."""
    return _people(UserForm())


@views.post("/users")
@requires(UserRole.ADMINISTRATOR)
def add_person() -> Page:
    """A new person; the generated password is shown this once."""
    form = UserForm()
    if not form.validate_on_submit():
        return _people(form, status=422)
    try:
        with context().database.write() as session:
            user, password = accounts.create_user(session, form.name.data or "", UserRole(form.role.data))
    except Conflict as error:
        form.name.errors = [error.message]
        return _people(form, status=409)
    return _people(UserForm(None), user.name, password)


@views.get("/users/<name>")
@requires(UserRole.ADMINISTRATOR)
def person(name: str) -> Page:
    """One person: what can be changed, and the groups that they are in."""
    with context().database.read() as session:
        user = accounts.find_user(session, name)
        return render_template(
            "person.html", person=user, groups=services.memberships_of(user), form=PersonForm(obj=user)
        )


@views.post("/users/<name>")
@requires(UserRole.ADMINISTRATOR)
def save_person(name: str) -> Page:
    """Change name, address or role."""
    form = PersonForm()
    with context().database.write() as session:
        user = accounts.find_user(session, name)
        if not form.validate():
            page = render_template(
                "person.html", person=user, groups=services.memberships_of(user), form=form
            )
            return page, 422
        services.change_user(
            session,
            user,
            role=UserRole(form.role.data),
            full_name=form.full_name.data or "",
            email=form.email.data or "",
        )
    flash(_("%(name)s is changed.", name=name))
    return redirect(url_for("people.person", name=name), 303)


@views.post("/users/<name>/<action>")
@requires(UserRole.ADMINISTRATOR)
def change_person(name: str, action: str) -> Page:
    """Approve or reject, reset the password or make a link for it, disable or enable."""
    password = link = ""
    with context().database.write() as session:
        user = accounts.find_user(session, name)
        if action == "reset":
            password = services.reset_password(session, user)
        elif action == "link":
            code, _until = make_reset_link(session, user, context().settings.reset_link_s)
            link = url_for("accounts.reset", code=code, _external=True)
        elif action == "reject":
            services.reject(session, user)
        elif action in ("approve", "enable", "disable"):
            state = UserState.DISABLED if action == "disable" else UserState.ACTIVE
            services.change_user(session, user, state=state)
        else:
            raise BadInput(f"There is no such change as {action}.", field="action")
    if password or link:
        return _people(UserForm(None), name, password, link)
    return redirect(url_for("people.people"), 303)


@views.get("/groups")
def list_groups() -> Page:
    """The groups that one is in; all of them for administrators."""
    return _groups(GroupForm())


def _groups(form: GroupForm, status: int = 200) -> Page:
    page = page_number()
    with context().database.read() as session:
        found = groups.list_groups(session, current_user(), limit=PER_PAGE + 1, offset=(page - 1) * PER_PAGE)
    text = render_template(
        "groups.html", groups=found[:PER_PAGE], form=form, page=page, has_more=len(found) > PER_PAGE
    )
    return text, status


@views.post("/groups")
@requires(UserRole.ADMINISTRATOR)
def add_group() -> Page:
    """A new group, without anybody in it."""
    form = GroupForm()
    if not form.validate_on_submit():
        return _groups(form, 422)
    try:
        with context().database.write() as session:
            group = groups.create_group(session, form.name.data or "", form.title.data or "")
    except Conflict as error:
        form.name.errors = [error.message]
        return _groups(form, 409)
    return redirect(url_for("people.group", group=group.name), 303)


def _group(name: str, form: MemberForm, status: int = 200) -> Page:
    with context().database.read() as session:
        user = session.get_one(User, current_user().id)
        group = groups.find_group(session, user, name)
        page = render_template(
            "group.html",
            group=group,
            members=groups.members_of(session, group),
            may_change=groups.teaches(session, user, group),
            form=form,
        )
    return page, status


@views.get("/groups/<group>")
def group(group: str) -> Page:
    """Who is in it; teachers and administrators change that."""
    return _group(group, MemberForm())


@views.post("/groups/<group>/members")
def set_member(group: str) -> Page:
    """Add somebody, or change what they are in it."""
    form = MemberForm()
    if not form.validate_on_submit():
        return _group(group, form, 422)
    try:
        with context().database.write() as session:
            by = session.get_one(User, current_user().id)
            found = groups.find_group(session, by, group)
            member = accounts.find_user(session, form.name.data or "")
            groups.set_member(session, by, found, member, GroupRole(form.role.data))
    except NotFound as error:
        if error.field != "name":
            raise
        form.name.errors = [error.message]
        return _group(group, form, 404)
    return redirect(url_for("people.group", group=group), 303)


@views.post("/groups/<group>/members/<name>/remove")
def remove_member(group: str, name: str) -> Response:
    """Take somebody out of the group."""
    with context().database.write() as session:
        by = session.get_one(User, current_user().id)
        found = groups.find_group(session, by, group)
        groups.remove_member(session, by, found, accounts.find_user(session, name))
    return redirect(url_for("people.group", group=group), 303)


@views.post("/groups/<group>/remove")
@requires(UserRole.ADMINISTRATOR)
def remove_group(group: str) -> Response:
    """Its limits go with it; its members stay."""
    with context().database.write() as session:
        groups.remove_group(session, groups.find_group(session, current_user(), group))
    return redirect(url_for("people.list_groups"), 303)
