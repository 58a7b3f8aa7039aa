"""REST: deployments."""

from __future__ import annotations

from typing import Literal

from flask import Response, request, url_for
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field, JsonValue

from common.errors import BadInput
from common.use import InstanceUse
from common.words import BoxId, DeploymentId, InstanceId, RoundTripMs
from master.accounts.guard import allows, current_user, requires
from master.accounts.models import Scope, UserRole
from master.deployments import lease_services, services
from master.deployments.opening import open_url
from master.deployments.output_answer import OutputQuery, answer_output
from master.deployments.presentation import DeploymentSummary, DeploymentView, summarise
from master.deployments.reading import queue_of, view_of
from master.deployments.use import UseQuery, read_use
from master.nearness.people import MOST_CANDIDATES, Seen
from master.scheduling.order import Priority
from master.web.current import context, reply
from master.web.description import raises

api = APIBlueprint(
    "deployments_api",
    __name__,
    url_prefix="/api/v1/deployments",
    abp_tags=[Tag(name="deployments", description="Running copies of applications.")],
)

MAXIMUM_PAGE = 200
MAXIMUM_OFFSET = 10**9


class NewDeployment(BaseModel):
    """What to start."""

    application: str = Field(min_length=1, max_length=64)
    options: dict[str, JsonValue] = Field(default_factory=dict)
    priority: Priority = Field(
        Priority.NORMAL, description="Its class while it waits for room; high is for operators."
    )
    keep: bool = Field(False, description="No lease and no idle stop; for operators.")
    round_trips_ms: dict[BoxId, RoundTripMs] = Field(
        default_factory=dict,
        max_length=MOST_CANDIDATES,
        description="What was measured of `/nearness/candidates`, by box.",
    )


class ExtendBody(BaseModel):
    """By how much."""

    by_s: float | None = Field(
        None, gt=0, le=366 * 86400, description="Seconds; none: by as much as its lease was at first."
    )


class KeepBody(BaseModel):
    """Whether an operator keeps it."""

    kept: bool


class Idempotency(BaseModel):
    """Sending the same request again with the same key gives the first one's deployment."""

    idempotency_key: str | None = Field(None, alias="Idempotency-Key", min_length=1, max_length=64)


class DeploymentPath(BaseModel):
    """A deployment by id."""

    id: DeploymentId


class Page(BaseModel):
    """Which part of the list."""

    limit: int = Field(50, ge=1, le=MAXIMUM_PAGE)
    offset: int = Field(0, ge=0, le=MAXIMUM_OFFSET)
    running: bool = Field(False, description="Only those that have not ended.")
    everybody: bool = Field(False, description="Other people's too; for operators.")


class DeploymentList(BaseModel):
    """A page of deployments, the newest first."""

    deployments: list[DeploymentSummary]
    limit: int
    offset: int


class Opening(BaseModel):
    """What to open."""

    instance: InstanceId | None = Field(None, description="None: the first that has a page.")
    way: Literal["terminal"] | None = Field(
        None, description="A way of access beside the instance's own; none: its own."
    )


class TicketAnswer(BaseModel):
    """An address that opens the application once, for this person, within a minute."""

    url: str


_PLAIN_TEXT: dict[str, object] = {"content": {"text/plain": {"schema": {"type": "string"}}}}


def _show(deployment_id: str, status: int = 200) -> Response:
    with context().database.read() as session:
        view = view_of(
            session, context().redis, services.find_deployment(session, current_user(), deployment_id)
        )
    answer = reply(view, status)
    if status != 200:
        answer.headers["Location"] = url_for("deployments_api.show", id=deployment_id)
    return answer


@api.post("", summary="Start an application", responses={202: DeploymentView})
@allows(Scope.DEPLOY)
@raises(404)
def start(header: Idempotency, body: NewDeployment) -> Response:
    """The answer comes at once; follow the deployment until it runs."""
    key = f"rest:{header.idempotency_key}" if header.idempotency_key else None
    options: dict[str, str | int | float | bool] = {}
    for name, value in body.options.items():
        if not isinstance(value, str | int | float | bool):
            raise BadInput(
                f"Option {name}: expected a text, a number or true or false.", field=f"options.{name}"
            )
        options[name] = value
    seen = Seen(request.remote_addr or "", body.round_trips_ms)
    deployment = services.request_deployment(
        context(),
        current_user(),
        body.application,
        options,
        key,
        priority=body.priority,
        seen=seen,
        keep=body.keep,
    )
    return _show(deployment.id, 202)


@api.get("", summary="List deployments", responses={200: DeploymentList})
@allows(Scope.READ, Scope.DEPLOY)
def list_deployments(query: Page) -> Response:
    """One's own, the newest first."""
    with context().database.read() as session:
        found = services.list_deployments(
            session,
            current_user(),
            everybody=query.everybody,
            running=query.running,
            limit=query.limit,
            offset=query.offset,
        )
        queue = queue_of(context().redis, found)
        answer = DeploymentList(
            deployments=[summarise(item, queue) for item in found], limit=query.limit, offset=query.offset
        )
    return reply(answer)


@api.get("/<id>", summary="Show a deployment", responses={200: DeploymentView})
@allows(Scope.READ, Scope.DEPLOY)
def show(path: DeploymentPath) -> Response:
    """With instances, placement and timeline."""
    return _show(path.id)


@api.post("/<id>/extend", summary="Extend the lease", responses={200: DeploymentView})
@allows(Scope.DEPLOY)
def extend(path: DeploymentPath, body: ExtendBody) -> Response:
    """As far as its application, the operator and the person's limit allow; 409 when it is at that already."""
    lease_services.extend_lease(context(), current_user(), path.id, body.by_s)
    return _show(path.id)


@api.put("/<id>/keep", summary="Keep a deployment", responses={200: DeploymentView})
@requires(UserRole.OPERATOR)
@allows(Scope.DEPLOY)
def keep(path: DeploymentPath, body: KeepBody) -> Response:
    """No lease and no idle stop, or both again from now on."""
    lease_services.keep(context(), current_user(), path.id, is_kept=body.kept)
    return _show(path.id)


@api.post("/<id>/stop", summary="Stop a deployment", responses={202: DeploymentView})
@allows(Scope.DEPLOY)
def stop(path: DeploymentPath) -> Response:
    """Repeating it does no harm."""
    services.stop_deployment(context(), current_user(), path.id)
    return _show(path.id, 202)


@api.delete("/<id>", summary="Stop a deployment", responses={202: DeploymentView})
@allows(Scope.DEPLOY)
def remove(path: DeploymentPath) -> Response:
    """The same as stop: what has ended stays for history."""
    services.stop_deployment(context(), current_user(), path.id)
    return _show(path.id, 202)


@api.get("/<id>/logs", summary="What it prints", responses={200: _PLAIN_TEXT})
@allows(Scope.READ, Scope.DEPLOY)
@raises(409)
def logs(path: DeploymentPath, query: OutputQuery) -> Response:
    """Both outputs of an instance's container as a stream of plain text; when it has ended, what was kept.

    409 while there is no container yet, 503 if the box is away. A stream that is cut was not whole.
    """
    return answer_output(path.id, query)


@api.get("/<id>/use", summary="What it uses now", responses={200: InstanceUse})
@allows(Scope.READ, Scope.DEPLOY)
def use(path: DeploymentPath, query: UseQuery) -> Response:
    """Of one instance: processor, memory, network. 404 once it has ended, 409 before it has a box."""
    return reply(read_use(context(), current_user(), path.id, query.instance))


@api.post("/<id>/ticket", summary="Get an address that opens it", responses={200: TicketAnswer})
@allows(Scope.DEPLOY)
def ticket(path: DeploymentPath, query: Opening) -> Response:
    """For programs; browsers follow `/deployments/<id>/open`."""
    with context().database.read() as session:
        deployment = services.find_deployment(session, current_user(), path.id)
        url = open_url(context(), deployment, current_user(), instance_id=query.instance, way=query.way)
        return reply(TicketAnswer(url=url))
