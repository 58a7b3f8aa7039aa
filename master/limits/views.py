"""Page: limits."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import FloatField, IntegerField, StringField
from wtforms.validators import InputRequired, Length, NumberRange, Optional, ValidationError

from common.errors import BadInput, NotFound
from common.units import parse_duration, parse_size
from master.accounts.guard import requires
from master.accounts.models import UserRole
from master.limits import services
from master.limits.api import MOST
from master.limits.models import LimitKind
from master.limits.rules import LEASE, Rule, amount
from master.web.current import context
from master.web.words import took

views = Blueprint("limits", __name__)

Page = str | Response | tuple[str, int]
_COUNT = (Optional(), NumberRange(0, MOST))


def _size(_form: FlaskForm, field: StringField) -> None:
    _parsed(parse_size, field)


def _duration(_form: FlaskForm, field: StringField) -> None:
    _parsed(parse_duration, field)


def _parsed(parse: Any, field: StringField) -> None:
    try:
        parse(field.data)
    except ValueError as error:
        raise ValidationError(str(error)) from error


@views.app_template_filter("amount")
def show_amount(value: float, name: str) -> str:
    """What a limit says of an amount, for people."""
    return took(value) if name == LEASE else amount(name, value)


@views.app_template_filter("amount_name")
def show_name(name: str) -> str:
    """What an amount is called."""
    names: dict[str, str] = {
        "deployments": _("Deployments"),
        "cpu": _("Cores"),
        "memory_bytes": _("Memory"),
        "disk_bytes": _("Disk"),
        "gpu": _("GPUs"),
        LEASE: _("Longest run"),
    }
    return names[name]


@views.app_template_filter("rule_words")
def show_rule(rule: Rule) -> str:
    """Whose limit it is."""
    words: dict[LimitKind, str] = {
        LimitKind.PERSON: _("your own limit"),
        LimitKind.MEMBERS: _("the limit for each member of %(group)s", group=rule.subject),
        LimitKind.EVERYBODY: _("the limit for everybody"),
        LimitKind.GROUP: _("the limit of the whole group %(group)s", group=rule.subject),
    }
    return words[rule.kind]


class LimitForm(FlaskForm):  # type: ignore[misc]
    """A limit; what is left empty is not spoken of."""

    subject = StringField(_l("Of whom"), [InputRequired(_l("Say of whom it is.")), Length(max=80)])
    deployments = IntegerField(_l("Deployments at once"), list(_COUNT))
    cpu = FloatField(_l("Cores at once"), list(_COUNT))
    memory_bytes = StringField(_l("Memory at once"), [Optional(), Length(max=20), _size])
    disk_bytes = StringField(_l("Disk at once"), [Optional(), Length(max=20), _size])
    gpu = IntegerField(_l("GPUs at once"), list(_COUNT))
    lease_s = StringField(_l("Longest run"), [Optional(), Length(max=20), _duration])

    def values(self) -> dict[str, float | None]:
        """What the row is to say: all of it, for the form shows all of it."""
        found: dict[str, float | None] = {}
        for name in services.FIELDS:
            text = self[name].data
            if text in (None, ""):
                found[name] = None
            elif name.endswith("_bytes"):
                found[name] = parse_size(text)
            else:
                found[name] = parse_duration(text) if name == LEASE else text
        return found


def _limits(form: LimitForm, status: int = 200) -> Page:
    with context().database.read() as session:
        found = services.list_limits(session)
    rows = [(subject, services.values_of(row)) for subject, row in found]
    return render_template("limits.html", rows=rows, form=form), status


@views.get("/limits")
@requires(UserRole.ADMINISTRATOR)
def limits() -> Page:
    """All limits, and a form that adds or changes one."""
    wanted = request.args.get("subject", "")[:80]
    values: dict[str, object] = {"subject": wanted}
    if wanted:
        with context().database.read() as session:
            subject = services.find_subject(session, wanted)
            row = next((row for other, row in services.list_limits(session) if other == subject), None)
        if row is not None:
            said = services.values_of(row)
            values |= {
                name: f"{value:.0f}" if name.endswith("_bytes") else f"{value:g}s" if name == LEASE else value
                for name, value in said.items()
            }
    return _limits(LimitForm(formdata=None, data=values))


@views.post("/limits")
@requires(UserRole.ADMINISTRATOR)
def set_limit() -> Page:
    """Add or replace one."""
    form = LimitForm()
    if not form.validate_on_submit():
        return _limits(form, 422)
    try:
        with context().database.write() as session:
            subject = services.find_subject(session, form.subject.data or "")
            services.set_limit(session, subject, form.values())
    except (BadInput, NotFound) as error:
        form[error.field if error.field in form else "subject"].errors = [str(error)]
        return _limits(form, error.http_status)
    flash(_("The limit is set. What runs goes on."))
    return redirect(url_for("limits.limits"), 303)


@views.post("/limits/remove")
@requires(UserRole.ADMINISTRATOR)
def remove_limit() -> Response:
    """From now on nothing is said of them."""
    with context().database.write() as session:
        services.remove_limit(session, services.find_subject(session, request.form.get("subject", "")))
    return redirect(url_for("limits.limits"), 303)
