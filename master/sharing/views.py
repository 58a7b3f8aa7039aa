"""Pages: sharing a session, and following an invitation."""

from __future__ import annotations

import time

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response

from common.errors import BadInput, Unavailable
from common.words import SessionMode
from master.accounts.guard import current_user, public, visitor
from master.deployments.services import find_deployment
from master.sharing import services
from master.sharing.people import people_in
from master.sharing.presentation import PersonView, describe
from master.web.current import context

views = Blueprint("sharing", __name__)

DURATIONS_S = (3600, 4 * 3600, 86400, 7 * 86400)

Page = str | Response | tuple[str, int]


@views.get("/deployments/<deployment>/share")
def shares(deployment: str) -> str:
    """Who is there, who is invited, and a form to invite."""
    return _page(deployment)


def _page(deployment: str, *, url: str = "", problem: str = "") -> str:
    now = time.time()
    with context().database.read() as session:
        found = find_deployment(session, current_user(), deployment)
        title, watchable = found.title, services.can_be_watched(found)
        is_running = found.wanted == "running" and found.ended_at is None
        listed = [describe(share, now) for share in services.list_shares(session, current_user(), deployment)]
    there, silent = _people(deployment)
    return render_template(
        "sharing.html",
        deployment=deployment,
        title=title,
        watchable=watchable,
        is_running=is_running,
        shares=[share for share in listed if share.open],
        people=there,
        silent=silent,
        durations=DURATIONS_S,
        url=url,
        problem=problem,
    )


def _people(deployment: str) -> tuple[list[PersonView], str]:
    try:
        return people_in(context(), current_user(), deployment), ""
    except Unavailable as error:
        return [], str(error)


@views.post("/deployments/<deployment>/share")
def invite(deployment: str) -> Page:
    """Make an invitation; the answer shows its link, once."""
    form = request.form
    try:
        mode = SessionMode(form.get("mode", ""))
        lasts_s = int(form.get("lasts_s", ""))
    except ValueError as error:
        raise BadInput("Choose how and for how long from the form.", field="mode") from error
    try:
        _, token = services.create_share(
            context(),
            current_user(),
            deployment,
            mode=mode,
            lasts_s=lasts_s,
            needs_account=form.get("needs_account") == "1",
            label=form.get("label", "")[:120],
        )
    except BadInput as error:
        return _page(deployment, problem=str(error)), error.http_status
    return _page(deployment, url=url_for("sharing.invitation", secret=token, _external=True))


@views.post("/deployments/<deployment>/share/<share>/end")
def end(deployment: str, share: str) -> Response:
    """End one."""
    services.end_share(context(), current_user(), deployment, share)
    flash(gettext("The invitation has ended; whoever came by it is cut off within seconds."))
    return redirect(url_for("sharing.shares", deployment=deployment), 303)


@views.post("/deployments/<deployment>/join")
def join_by_right(deployment: str) -> Page:
    """For those who may without an invitation."""
    mode = SessionMode.CONTROL if request.form.get("mode") == "control" else SessionMode.WATCH
    return _entering(services.join_by_right(context(), current_user(), deployment, mode))


@views.get("/join/<secret>")
@public
def invitation(secret: str) -> Page:
    """What somebody is invited to; nothing happens before they say yes."""
    return _invitation(secret)


def _invitation(secret: str, problem: str = "") -> Page:
    with context().database.read() as session:
        share = services.find_invitation(session, secret)
        if share.needs_account and visitor() is None:
            return redirect(url_for("accounts.sign_in", next=request.path))
        return render_template(
            "join.html",
            title=share.deployment.title,
            owner=share.deployment.user.name,
            mode=share.mode,
            problem=problem,
        )


@views.post("/join/<secret>")
@public
def join(secret: str) -> Page:
    """Let them in."""
    try:
        return _entering(services.join(context(), secret, visitor(), request.form.get("name", "")))
    except BadInput as error:
        page = _invitation(secret, str(error))
        return (page, error.http_status) if isinstance(page, str) else page


def _entering(url: str) -> str:
    """A page that goes on by itself: a form may not lead to another origin, a page may (CSP 3, form-action)."""
    return render_template("entering.html", url=url)
