"""Forms of signing in and of one's account."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import PasswordField, SelectField, StringField
from wtforms.validators import InputRequired, Length, Regexp

from common.words import NAME
from master.accounts.models import UserRole
from master.accounts.services import MAXIMUM_PASSWORD, MINIMUM_PASSWORD


class SignInForm(FlaskForm):  # type: ignore[misc]
    """Name and password."""

    name = StringField("Name", [InputRequired("Your name is needed."), Length(max=64)])
    password = PasswordField(
        "Password", [InputRequired("Your password is needed."), Length(max=MAXIMUM_PASSWORD)]
    )


class PasswordForm(FlaskForm):  # type: ignore[misc]
    """Changing one's own password."""

    current = PasswordField(
        "Current password", [InputRequired("Your current password is needed."), Length(max=MAXIMUM_PASSWORD)]
    )
    new = PasswordField(
        "New password",
        [
            InputRequired("A new password is needed."),
            Length(MINIMUM_PASSWORD, MAXIMUM_PASSWORD, f"At least {MINIMUM_PASSWORD} characters."),
        ],
    )


class TokenForm(FlaskForm):  # type: ignore[misc]
    """A new API token."""

    name = StringField("What it is for", [InputRequired("A name is needed."), Length(max=64)])


class UserForm(FlaskForm):  # type: ignore[misc]
    """A new person."""

    name = StringField(
        "Name",
        [
            InputRequired("A name is needed."),
            Length(max=64),
            Regexp(NAME, message="Small letters, digits, and . _ - between them."),
        ],
    )
    role = SelectField("Role", choices=[role.value for role in UserRole])
