"""Forms of people and groups."""

from __future__ import annotations

from flask_babel import lazy_gettext as _
from flask_wtf import FlaskForm
from wtforms import SelectField, StringField
from wtforms.fields import SelectChoice
from wtforms.validators import InputRequired, Length, Optional

from master.accounts.forms import NAME_RULES
from master.accounts.models import GroupRole, UserRole

ROLES = [
    SelectChoice(UserRole.USER.value, _("User")),
    SelectChoice(UserRole.OPERATOR.value, _("Operator")),
    SelectChoice(UserRole.ADMINISTRATOR.value, _("Administrator")),
]
GROUP_ROLES = [
    SelectChoice(GroupRole.MEMBER.value, _("Member")),
    SelectChoice(GroupRole.TEACHER.value, _("Teacher")),
]


class UserForm(FlaskForm):  # type: ignore[misc]
    """A new person."""

    name = StringField(_("Name"), list(NAME_RULES))
    role = SelectField(_("Role"), choices=ROLES)


class PersonForm(FlaskForm):  # type: ignore[misc]
    """What an administrator changes of a person."""

    full_name = StringField(_("Full name"), [Optional(), Length(max=120)])
    email = StringField(_("E-mail address"), [Optional(), Length(max=254)])
    role = SelectField(_("Role"), choices=ROLES)


class GroupForm(FlaskForm):  # type: ignore[misc]
    """A new group."""

    name = StringField(_("Name"), list(NAME_RULES))
    title = StringField(_("Title"), [Optional(), Length(max=120)])


class MemberForm(FlaskForm):  # type: ignore[misc]
    """Somebody who is to be in a group."""

    name = StringField(_("Name"), [InputRequired(_("A name is needed.")), Length(max=64)])
    role = SelectField(_("What they are in it"), choices=GROUP_ROLES)
