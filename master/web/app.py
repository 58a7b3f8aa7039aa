"""The application factory: subjects, errors, security."""

from __future__ import annotations

import secrets
from importlib import import_module
from typing import Any

from flask import request
from flask_openapi3 import Info, OpenAPI
from flask_openapi3.models import SecurityScheme
from werkzeug.wrappers import Response

from common import __version__
from common.files import read_secret, write_secret
from common.logs import get_logger
from master.accounts import guard, openid
from master.audit import trail
from master.boxes.api import authority_views
from master.catalogue.expectations import Expectations
from master.catalogue.views import EXPECTATIONS
from master.context import MasterContext
from master.images.token import token_views
from master.web import (
    appearance,
    docs,
    errors,
    flower,
    health,
    idempotency,
    languages,
    metrics,
    pages,
    proxies,
    security,
    streams,
    versions,
)
from master.web.current import EXTENSION, told_path
from master.web.errors import ErrorAnswer

log = get_logger(__name__)

# Each subject has the same rooms: `api.py` with `api` (REST), `views.py` with `views` (pages).
APIS = (
    "accounts",
    "people",
    "limits",
    "audit",
    "catalogue",
    "deployments",
    "boxes",
    "images",
    "mirrors",
    "layers",
    "filesets",
    "files",
    "metrics",
    "history",
    "nearness",
    "trust",
    "queue",
    "prewarming",
    "timetable",
    "simulation",
    "sharing",
    "screens",
)
VIEWS = (
    "accounts",
    "people",
    "limits",
    "audit",
    "catalogue",
    "deployments",
    "queue",
    "boxes",
    "images",
    "layers",
    "mirrors",
    "files",
    "timetable",
    "simulation",
    "sharing",
    "screens",
)

_SECURITY: dict[str, SecurityScheme | dict[str, Any]] = {
    "token": SecurityScheme(type="http", scheme="bearer", description="An API token, `ora_…`."),
    "session": SecurityScheme.model_validate(
        {
            "type": "apiKey",
            "in": "cookie",
            "name": guard.SESSION_COOKIE,
            "description": "Signing in on the page.",
        }
    ),
}
_DESCRIPTION = (
    "Every call needs an API token as Bearer, or a signed-in browser. Errors have one shape: "
    "`error` (the kind), `message`, `field` (what part of the input), `remedy` (what to do next)."
)


def create_app(context: MasterContext) -> OpenAPI:
    """The portal over a context; each call makes an application of its own."""
    app = OpenAPI(
        "master.web",
        info=Info(title="OpenRaaS", version=__version__, description=_DESCRIPTION),
        security_schemes=_SECURITY,
        responses={"default": ErrorAnswer},
        validation_error_model=ErrorAnswer,
        validation_error_callback=errors.on_validation_error,
        doc_ui=False,
    )
    app.extensions[EXTENSION] = context
    app.extensions[EXPECTATIONS] = Expectations(context)
    app.extensions[streams.SLOTS] = streams.make_slots(context.settings.web_streams)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    metrics.register(app)
    security.protect(app, _form_key(context))
    app.before_request(security.check_change)
    app.before_request(guard.admit)
    app.before_request(security.check_body)
    app.before_request(idempotency.begin)
    # They run from the last to the first.
    app.after_request(_log_change)
    app.after_request(trail.leave_trail)
    app.after_request(idempotency.finish)
    app.after_request(versions.answer_version)
    errors.register(app)
    languages.register(app)
    appearance.register(app)
    pages.register(app)
    openid.register(app, context)
    for blueprint in (health.views, flower.views, docs.views, authority_views, token_views):
        app.register_blueprint(blueprint)
    for subject in APIS:
        app.register_api(import_module(f"master.{subject}.api").api)
    for subject in VIEWS:
        app.register_blueprint(import_module(f"master.{subject}.views").views)
    if context.settings.web_proxies:
        proxied = proxies.trust(
            app.wsgi_app, context.settings.web_proxies, context.settings.web_proxy_address
        )
        app.wsgi_app = proxied  # type: ignore[method-assign, assignment]
    return app


def _form_key(context: MasterContext) -> str:
    write_secret(context.paths.web_secret, secrets.token_urlsafe(48), keep_existing=True)
    return read_secret(context.paths.web_secret)


def _log_change(response: Response) -> Response:
    if request.method not in guard.SAFE_METHODS:
        user = guard.visitor() if response.status_code < 500 else None
        log.info(
            "change",
            method=request.method,
            path=told_path(),
            status=response.status_code,
            user=user.name if user else None,
            address=request.remote_addr,
        )
    return response
