"""Pages: the catalogue, and the form that starts an application."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from flask import Blueprint, current_app, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from common.errors import OpenRaaSError
from master.accounts.guard import current_user
from master.catalogue import services
from master.catalogue.expectations import Expectations
from master.catalogue.manifest import Manifest
from master.catalogue.options import BadOptions, Option, OptionType
from master.deployments.services import request_deployment
from master.nearness.people import Seen, candidates, locate_person, read_round_trips
from master.web.current import context
from master.web.security import CONTENT_POLICY, content_policy

views = Blueprint("catalogue", __name__)

PREFIX = "option."
EXPECTATIONS = "openraas-expectations"


@views.get("/applications")
def catalogue() -> str:
    """Applications as cards, by category; those that the search and the category leave."""
    with context().database.read() as session:
        manifests = [services.manifest_of(item) for item in services.list_applications(session)]
    words, category = request.args.get("q", "").strip()[:100], request.args.get("category", "")
    shown = [item for item in manifests if category in ("", item.category) and _matches(item, words)]
    return render_template(
        "catalogue.html",
        manifests=shown,
        count=len(manifests),
        words=words,
        category=category,
        categories=sorted({item.category for item in manifests if item.category}, key=str.lower),
        expected=_expectations().of(manifests),
    )


def _matches(manifest: Manifest, words: str) -> bool:
    """Whether every word stands in its name, title, description or category."""
    text = f"{manifest.name} {manifest.title} {manifest.description} {manifest.category}".casefold()
    return all(word in text for word in words.casefold().split())


def _expectations() -> Expectations:
    found: Expectations = current_app.extensions[EXPECTATIONS]
    return found


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


def _grouped(options: Sequence[Option]) -> dict[str, list[Option]]:
    """By group, those of none first; each in the manifest's order."""
    groups: dict[str, list[Option]] = {"": []}
    for option in options:
        groups.setdefault(option.group, []).append(option)
    return {name: found for name, found in groups.items() if found}


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
    near = locate_person(context(), current_user(), Seen(request.remote_addr or ""))
    page = render_template(
        "launch.html",
        manifest=manifest,
        groups=_grouped(manifest.options),
        values=values,
        problems=problems,
        problem=problem,
        key=key,
        fronts=fronts,
        previews=_expectations().preview(manifest, current_user(), near),
        near=sorted(near.round_trips_ms.items(), key=lambda item: item[1]),
    )
    answer = make_response(page, status)
    answer.headers[CONTENT_POLICY] = content_policy(*sorted(set(fronts.values())))
    return answer
