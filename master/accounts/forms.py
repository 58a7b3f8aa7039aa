"""Forms of signing in and up, and of one's account."""

from __future__ import annotations

from flask_babel import lazy_gettext as _
from flask_wtf import FlaskForm
from wtforms import PasswordField, SelectField, SelectMultipleField, StringField
from wtforms.fields import SelectChoice
from wtforms.validators import AnyOf, InputRequired, Length, Optional, Regexp
from wtforms.widgets import CheckboxInput, ListWidget

from common.words import NAME
from master.accounts.api import TIME_ZONES
from master.accounts.models import Scope
from master.accounts.services import MAXIMUM_PASSWORD, MINIMUM_PASSWORD

NAME_RULES = (
    InputRequired(_("A name is needed.")),
    Length(max=64),
    Regexp(NAME, message=_("Small letters, digits, and . _ - between them.")),
)
NEW_PASSWORD_RULES = (
    InputRequired(_("A new password is needed.")),
    Length(
        MINIMUM_PASSWORD,
        MAXIMUM_PASSWORD,
        _("At least %(count)s characters.", count=MINIMUM_PASSWORD),
    ),
)
TOKEN_DAYS = (
    SelectChoice("30", _("30 days")),
    SelectChoice("90", _("90 days")),
    SelectChoice("365", _("A year")),
    SelectChoice("", _("Until it is revoked")),
)
SCOPES = {
    Scope.ALL: _("Everything that you may"),
    Scope.READ: _("Look at everything that you see"),
    Scope.DEPLOY: _("Start, open and stop applications"),
    Scope.FILES: _("Files: your home and filesets"),
    Scope.IMAGES: _("Push and pull images"),
    Scope.FLEET: _("Boxes, layers, mirrors and the catalogue"),
    Scope.ACCOUNT: _("Your account: profile, sign-ins, tokens"),
    Scope.PEOPLE: _("People, groups, limits and the audit log"),
}


class SignInForm(FlaskForm):  # type: ignore[misc]
    """Name and password."""

    name = StringField(_("Name"), [InputRequired(_("Your name is needed.")), Length(max=64)])
    password = PasswordField(
        _("Password"), [InputRequired(_("Your password is needed.")), Length(max=MAXIMUM_PASSWORD)]
    )


class SignUpForm(FlaskForm):  # type: ignore[misc]
    """An account for oneself."""

    name = StringField(_("Name to sign in with"), list(NAME_RULES))
    full_name = StringField(_("Full name"), [Optional(), Length(max=120)])
    email = StringField(_("E-mail address"), [Optional(), Length(max=254)])
    password = PasswordField(_("Password"), list(NEW_PASSWORD_RULES))
    reason = StringField(_("What you need it for"), [Optional(), Length(max=500)])


class ResetForm(FlaskForm):  # type: ignore[misc]
    """A password chosen by a link."""

    new = PasswordField(_("New password"), list(NEW_PASSWORD_RULES))


class ProfileForm(FlaskForm):  # type: ignore[misc]
    """Oneself."""

    full_name = StringField(_("Full name"), [Optional(), Length(max=120)])
    email = StringField(_("E-mail address"), [Optional(), Length(max=254)])
    language = SelectField(_("Language"))
    time_zone = StringField(
        _("Time zone"),
        [Optional(), AnyOf(TIME_ZONES, _("There is no such time zone; write one as in Europe/Berlin."))],
    )


class PasswordForm(FlaskForm):  # type: ignore[misc]
    """Changing one's own password."""

    current = PasswordField(
        _("Current password"),
        [InputRequired(_("Your current password is needed.")), Length(max=MAXIMUM_PASSWORD)],
    )
    new = PasswordField(_("New password"), list(NEW_PASSWORD_RULES))


class TokenForm(FlaskForm):  # type: ignore[misc]
    """A new API token."""

    name = StringField(_("What it is for"), [InputRequired(_("A name is needed.")), Length(max=64)])
    days = SelectField(_("Holds for"), choices=TOKEN_DAYS, default="90")
    scopes = SelectMultipleField(
        _("What it may do"),
        [InputRequired(_("Choose at least one."))],
        choices=[SelectChoice(scope.value, text) for scope, text in SCOPES.items()],
        default=[Scope.ALL.value],
        widget=ListWidget(prefix_label=False),
        option_widget=CheckboxInput(),
    )
