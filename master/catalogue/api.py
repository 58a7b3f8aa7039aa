"""REST: applications and the schema of manifests."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from master.accounts.guard import allows, current_user, public, requires
from master.accounts.models import Scope, UserRole
from master.catalogue import services
from master.catalogue.manifest import Manifest, json_schema, load_manifest, parse_manifest
from master.catalogue.models import Application
from master.deployments.parts import missing_parts
from master.web.current import context, nothing, reply
from master.web.description import raises

api = APIBlueprint(
    "catalogue_api",
    __name__,
    url_prefix="/api/v1",
    abp_tags=[Tag(name="applications", description="The catalogue.")],
)


_ANY_OBJECT: dict[str, object] = {"content": {"application/json": {"schema": {"type": "object"}}}}


class ApplicationPath(BaseModel):
    """An application by name."""

    name: str


class ApplicationSummary(BaseModel):
    """An application in a list."""

    name: str
    title: str
    description: str
    category: str
    icon: str
    published_by: str | None = Field(description="Who published this version, if the account still exists.")


class ApplicationView(ApplicationSummary):
    """An application with its manifest."""

    manifest: Manifest


class Published(ApplicationView):
    """An application as it was just published."""

    warnings: list[str] = Field(description="What it needs and is not there yet; empty: it can be started.")


class ApplicationList(BaseModel):
    """The catalogue."""

    applications: list[ApplicationSummary]


class Publication(BaseModel):
    """What to publish."""

    manifest: str | dict[str, Any] = Field(description="YAML or JSON as text, or the JSON object itself.")


def _summary(application: Application) -> ApplicationSummary:
    manifest = application.manifest
    return ApplicationSummary(
        name=application.name,
        title=application.title,
        description=application.description,
        category=manifest.get("category", ""),
        icon=manifest.get("icon", ""),
        published_by=application.publisher.name if application.publisher else None,
    )


def _view(application: Application) -> ApplicationView:
    manifest = services.manifest_of(application)
    return ApplicationView(**_summary(application).model_dump(), manifest=manifest)


@api.get("/applications", summary="List applications", responses={200: ApplicationList})
@allows(Scope.READ, Scope.FLEET)
def list_applications() -> Response:
    """The catalogue, by title."""
    with context().database.read() as session:
        found = [_summary(item) for item in services.list_applications(session)]
    return reply(ApplicationList(applications=found))


@api.get("/applications/<name>", summary="Show an application", responses={200: ApplicationView})
@allows(Scope.READ, Scope.FLEET)
def show_application(path: ApplicationPath) -> Response:
    """One application with its manifest."""
    with context().database.read() as session:
        return reply(_view(services.find_application(session, path.name)))


@api.post("/applications", summary="Publish an application", responses={201: Published})
@requires(UserRole.OPERATOR)
@allows(Scope.FLEET)
@raises(404, 412)
def publish_application(body: Publication) -> Response:
    """Put an application into the catalogue, or replace the one of the same name."""
    given = body.manifest
    manifest = load_manifest(given) if isinstance(given, str) else parse_manifest(given)
    with context().database.write() as session:
        answer = _view(services.publish(session, manifest, current_user()))
    with context().database.read() as session:
        warnings = missing_parts(session, context(), current_user(), manifest)
    return reply(Published(**answer.model_dump(), warnings=warnings), 201)


@api.delete("/applications/<name>", summary="Remove an application", responses={204: None})
@requires(UserRole.OPERATOR)
@allows(Scope.FLEET)
def remove_application(path: ApplicationPath) -> Response:
    """Take it out of the catalogue; what runs goes on."""
    with context().database.write() as session:
        services.remove(session, path.name)
    return nothing()


@api.get("/manifest-schema", summary="JSON Schema of manifests", responses={200: _ANY_OBJECT})
@public
def manifest_schema() -> Response:
    """For editors and other programs."""
    return jsonify(json_schema())
