"""Pages: the catalogue, and the form that starts an application."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from flask import Blueprint, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from common.errors import OpenRaaSError
from master.accounts.guard import current_user
from master.catalogue import services
from master.catalogue.manifest import Manifest
from master.catalogue.options import BadOptions, OptionType
from master.deployments.services import request_deployment
from master.nearness.people import Seen, candidates, read_round_trips
from master.web.current import context
from master.web.security import CONTENT_POLICY, content_policy

views = Blueprint("catalogue", __name__)

PREFIX = "option."


@views.get("/applications")
def catalogue() -> str:
    """All applications as cards, by category."""
    with context().database.read() as session:
        applications = services.list_applications(session)
    return render_template("catalogue.html", applications=applications)


@views.get("/applications/<name>")
def launch_form(name: str) -> Response:
    """The form that the manifest's options make."""
    with context().database.read() as session:
        manifest = services.manifest_of(services.find_application(session, name))
    values = {option.name: option.default for option in manifest.options}
    return _form(manifest, values, {}, "", secrets.token_urlsafe(16))


@views.post("/applications/<name>")
def launch(name: str) -> Response:
    """Ask for a deployment; what is wrong is said at its field."""
    with context().database.read() as session:
        manifest = services.manifest_of(services.find_application(session, name))
    values = _values(manifest)
    # One form starts one deployment, however often it is sent.
    key = request.form.get("key", "")[:64] or secrets.token_urlsafe(16)
    try:
        seen = Seen(request.remote_addr or "", read_round_trips(request.form.get("round_trips", "")))
        deployment = request_deployment(context(), current_user(), name, values, f"form:{key}", seen=seen)
    except BadOptions as error:
        return _form(manifest, values, error.problems, "", key, error.http_status)
    except OpenRaaSError as error:
        return _form(manifest, values, {}, str(error), key, error.http_status)
    # The page goes on to the application as soon as it runs (static/opening.js).
    anchor = "open" if request.args.get("open") else None
    return redirect(url_for("deployments.show", deployment=deployment.id, _anchor=anchor), 303)


def _values(manifest: Manifest) -> dict[str, str]:
    """The form's fields by option. A box that is not ticked is not sent, and means no."""
    given = {
        name.removeprefix(PREFIX): value for name, value in request.form.items() if name.startswith(PREFIX)
    }
    for option in manifest.options:
        if option.type is OptionType.BOOLEAN:
            given.setdefault(option.name, "false")
    return given


def _form(
    manifest: Manifest,
    values: Mapping[str, object],
    problems: Mapping[str, str],
    problem: str,
    key: str,
    status: int = 200,
) -> Response:
    """The form. While it is open the browser measures the candidates, and may connect to these alone."""
    fronts = {
        item.box: item.front.url
        for item in candidates(context(), current_user(), request.remote_addr or "")
        if ":"
        not in item.front.host  # a content policy cannot name an IPv6 address (CSP level 3, host-source)
    }
    page = render_template(
        "launch.html",
        manifest=manifest,
        values=values,
        problems=problems,
        problem=problem,
        key=key,
        fronts=fronts,
    )
    answer = make_response(page, status)
    answer.headers[CONTENT_POLICY] = content_policy(*sorted(set(fronts.values())))
    return answer
