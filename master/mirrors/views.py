"""The page of mirrors: what comes from registries elsewhere, how far it is, and why it failed."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, url_for
from werkzeug.wrappers import Response

from common.errors import OpenRaaSError
from master.accounts.guard import requires
from master.accounts.models import UserRole
from master.mirrors import services
from master.mirrors.ending import end_or_forget
from master.web.current import context

views = Blueprint("mirrors", __name__)


@views.get("/mirrors")
@requires(UserRole.OPERATOR)
def mirrors() -> str:
    """The newest first."""
    with context().database.read() as session:
        found = services.list_mirrors(session)
    return render_template("mirrors.html", mirrors=found)


@views.post("/mirrors/<mirror>/end")
@requires(UserRole.OPERATOR)
def end(mirror: str) -> Response:
    """Stop one that runs, or forget one that is over."""
    try:
        flash(end_or_forget(context(), mirror))
    except OpenRaaSError as error:
        flash(str(error))
    return redirect(url_for("mirrors.mirrors"), 303)
