"""The description of the REST interface, and a page to browse and try it: Swagger UI from its wheel."""

from __future__ import annotations

from pathlib import Path

import flask_openapi3_swagger
from flask import Blueprint, Response, current_app, jsonify, render_template
from flask_openapi3 import OpenAPI

from master.accounts.guard import public
from master.web.description import describe

_ASSETS = Path(flask_openapi3_swagger.__file__).parent / "templates" / "swagger"

views = Blueprint("docs", __name__, static_folder=str(_ASSETS), static_url_path="/api/docs/static")


@views.get("/api/v1/openapi.json")
@public
def description() -> Response:
    """OpenAPI 3.1 of every call."""
    app = current_app
    assert isinstance(app, OpenAPI)  # noqa: S101 - create_app makes no other
    return jsonify(describe(app))


@views.get("/api/docs")
@public
def browse() -> str:
    """Browse and try the calls."""
    return render_template("docs.html")
