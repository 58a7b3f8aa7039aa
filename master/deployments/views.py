"""Pages: my deployments, and one deployment as it comes to life."""

from __future__ import annotations

import time

from flask import Blueprint, flash, make_response, redirect, render_template, request, url_for
from pydantic import ValidationError
from werkzeug.wrappers import Response

from common.access import TERMINAL
from common.errors import BadInput, Conflict
from common.names import events_channel
from master.accounts.guard import allows, current_user, may
from master.accounts.models import Scope, UserRole
from master.deployments import lease_services, services
from master.deployments.charts import shares, waterfall
from master.deployments.opening import open_url
from master.deployments.output_answer import OutputQuery, answer_output
from master.deployments.presentation import DeploymentView, remaining_s, summarise
from master.deployments.reading import queue_of, view_of
from master.deployments.use import read_use
from master.screens.services import list_screens, origins
from master.web.current import context, reply
from master.web.security import CONTENT_POLICY, content_policy
from master.web.streams import View, event_stream

views = Blueprint("deployments", __name__, url_prefix="/deployments")

PER_PAGE = 30
MAXIMUM_PAGE = 10**6


@views.get("")
def mine() -> str:
    """My deployments, the newest first; operators may see everybody's."""
    user = current_user()
    everybody = request.args.get("all") == "1" and may(user, UserRole.OPERATOR)
    page = min(max(1, request.args.get("page", 1, type=int)), MAXIMUM_PAGE)
    with context().database.read() as session:
        found = services.list_deployments(
            session, user, everybody=everybody, limit=PER_PAGE + 1, offset=(page - 1) * PER_PAGE
        )
        queue = queue_of(context().redis, found)
        deployments = [
            (summarise(item, queue), item.manifest.get("icon") or item.title[:1]) for item in found[:PER_PAGE]
        ]
    return render_template(
        "deployments.html",
        deployments=deployments,
        everybody=everybody,
        page=page,
        has_more=len(found) > PER_PAGE,
    )


def _read(deployment: str) -> DeploymentView:
    with context().database.read() as session:
        return view_of(
            session, context().redis, services.find_deployment(session, current_user(), deployment)
        )


def _values(view: DeploymentView) -> dict[str, object]:
    return {
        "deployment": view,
        "falls": {instance.id: waterfall(instance, view.created_at) for instance in view.instances},
        "fetched": {instance.id: shares(instance) for instance in view.instances},
        "remaining_s": remaining_s(view),
        "now": time.time(),
    }


@views.get("/<deployment>")
def show(deployment: str) -> Response:
    """One deployment: how far it is, where, why there, and what its screens show."""
    view = _read(deployment)
    # A page that only asks what changed gets what changes.
    if request.headers.get("X-Fragment") == "1":
        return make_response(render_template("_deployment.html", **_values(view)))
    user = current_user()
    screens = list_screens(context(), user, everybody=may(user, UserRole.OPERATOR), deployment=deployment)
    answer = make_response(render_template("deployment.html", screens=screens, **_values(view)))
    answer.headers[CONTENT_POLICY] = content_policy(images=origins(screens))
    return answer


@views.get("/<deployment>/events")
def events(deployment: str) -> Response:
    """The changing part of the page, whenever it changes."""
    _read(deployment)  # a wrong address is told before the stream begins

    def look() -> View:
        view = _read(deployment)
        return View(
            view.fingerprint, lambda: render_template("_deployment.html", **_values(view)), view.is_over
        )

    return event_stream(context(), events_channel(deployment), look)


@views.get("/<deployment>/logs")
def logs(deployment: str) -> Response:
    """What an instance prints, as plain text."""
    try:
        query = OutputQuery.model_validate(request.args.to_dict())
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        raise BadInput(f"{field}: {error.errors()[0]['msg']}.", field=field) from error
    return answer_output(deployment, query)


@views.get("/<deployment>/use")
def use(deployment: str) -> Response:
    """What an instance uses now, for the page's charts."""
    return reply(read_use(context(), current_user(), deployment, request.args.get("instance")))


@views.get("/<deployment>/open")
@allows(Scope.DEPLOY)
def open_(deployment: str) -> Response:
    """Send the browser to the application, with a ticket for this once."""
    with context().database.read() as session:
        found = services.find_deployment(session, current_user(), deployment)
        return redirect(open_url(context(), found, current_user()), 303)


@views.post("/<deployment>/extend")
def extend(deployment: str) -> Response:
    """Let the lease end later."""
    try:
        lease_services.extend_lease(context(), current_user(), deployment)
    except Conflict as error:
        flash(str(error))
    return redirect(url_for("deployments.show", deployment=deployment), 303)


@views.get("/<deployment>/instances/<instance>/terminal")
def terminal(deployment: str, instance: str) -> Response:
    """Send the browser to a terminal in an instance, whatever its way of access is."""
    with context().database.read() as session:
        found = services.find_deployment(session, current_user(), deployment)
        url = open_url(context(), found, current_user(), instance_id=instance, way=TERMINAL.way)
    return redirect(url, 303)


@views.post("/<deployment>/stop")
def stop(deployment: str) -> Response:
    """Let it end."""
    services.stop_deployment(context(), current_user(), deployment)
    return redirect(url_for("deployments.show", deployment=deployment), 303)
