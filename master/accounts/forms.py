"""Forms of signing in and of one's account."""

from __future__ import annotations

from flask_babel import lazy_gettext as _
from flask_wtf import FlaskForm
from wtforms import PasswordField, SelectField, StringField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired, Length, Regexp

from common.words import NAME
from master.accounts.models import UserRole
from master.accounts.services import MAXIMUM_PASSWORD, MINIMUM_PASSWORD
from master.web.words import PEOPLE


class SignInForm(FlaskForm):  # type: ignore[misc]
    """Name and password."""

    name = StringField(_("Name"), [InputRequired(_("Your name is needed.")), Length(max=64)])
    password = PasswordField(
        _("Password"), [InputRequired(_("Your password is needed.")), Length(max=MAXIMUM_PASSWORD)]
    )


class PasswordForm(FlaskForm):  # type: ignore[misc]
    """Changing one's own password."""

    current = PasswordField(
        _("Current password"),
        [InputRequired(_("Your current password is needed.")), Length(max=MAXIMUM_PASSWORD)],
    )
    new = PasswordField(
        _("New password"),
        [
            InputRequired(_("A new password is needed.")),
            Length(
                MINIMUM_PASSWORD,
                MAXIMUM_PASSWORD,
                _("At least %(number)s characters.", number=MINIMUM_PASSWORD),
            ),
        ],
    )


class TokenForm(FlaskForm):  # type: ignore[misc]
    """A new API token."""

    name = StringField(_("What it is for"), [InputRequired(_("A name is needed.")), Length(max=64)])


class UserForm(FlaskForm):  # type: ignore[misc]
    """A new person."""

    name = StringField(
        _("Name"),
        [
            InputRequired(_("A name is needed.")),
            Length(max=64),
            Regexp(NAME, message=_("Small letters, digits, and . _ - between them.")),
        ],
    )
    role = SelectField(_("Role"), choices=[SelectChoice(role.value, PEOPLE[role.value]) for role in UserRole])
