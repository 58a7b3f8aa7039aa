"""The portal for tests: people with passwords, a browser-like client, and a server in a thread."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask.testing import FlaskClient
from flask_openapi3 import OpenAPI
from sqlalchemy import select
from werkzeug.serving import make_server

from common.words import InstanceState
from master.accounts import services as accounts
from master.accounts.models import Group, GroupRole, Membership, User, UserRole
from master.context import MasterContext
from master.deployments.events import set_state
from master.deployments.models import Deployment
from master.people.groups import create_group
from tests.support.master import FakeBox, add_image, image_digests

MANIFEST: dict[str, Any] = {
    "openraas": 1,
    "name": "notebook",
    "title": "Notebook",
    "description": "Notebooks with one's own home.",
    "icon": "notebook",
    "services": {
        "lab": {
            "image": "demo/notebook:1",
            "port": 8888,
            "environment": {"CORES": "${cores}", "PASSWORD": "${password}"},
            "resources": {"cpu": 1, "memory": "256MiB", "disk": "1MiB"},
        }
    },
    "options": [
        {"name": "cores", "type": "integer", "title": "Kernels", "minimum": 1, "maximum": 4, "default": 2},
        {"name": "project", "title": "Project", "required": True, "pattern": "[a-z-]+"},
        {"name": "examples", "type": "boolean", "default": True},
        {"name": "password", "type": "secret"},
    ],
}


def add_person(context: MasterContext, name: str, role: UserRole = UserRole.USER) -> tuple[User, str, str]:
    """A person with password and API token."""
    with context.database.write() as session:
        user, password = accounts.create_user(session, name, role)
        return user, password, accounts.issue_api_token(session, user, "test", 600)


def add_to_group(context: MasterContext, group: str, name: str, role: GroupRole) -> None:
    """Somebody in a group, which is made if it is not there."""
    with context.database.write() as session:
        found = session.scalar(select(Group).where(Group.name == group))
        found = found or create_group(session, group, "")
        user = accounts.find_user(session, name)
        session.add(Membership(group_id=found.id, user_id=user.id, role=role.value))


def bearer(token: str) -> dict[str, str]:
    """The header of a program."""
    return {"Authorization": f"Bearer {token}"}


def box_with_image(
    context: MasterContext, name: str = "alpha", reference: str = "demo/notebook:1"
) -> FakeBox:
    """A box that is up and holds an image."""
    box = FakeBox(context, name)
    box.hold(image_digests(add_image(context, reference)))
    return box


def csrf_token(page: str) -> str:
    """The token in the first form of a page."""
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
    assert found, page
    return found[1]


def sign_in(client: FlaskClient, name: str, password: str) -> Any:
    """Sign in on the page."""
    token = csrf_token(client.get("/sign-in").text)
    return client.post("/sign-in", data={"csrf_token": token, "name": name, "password": password})


def launch(client: FlaskClient, **fields: str) -> str:
    """Send the form of the notebook; gives where it leads."""
    page = client.get("/applications/notebook").text
    data = {"csrf_token": csrf_token(page), "key": "k", "option.project": "thesis", **fields}
    answer = client.post("/applications/notebook", data=data)
    assert answer.status_code == 303, answer.text
    return str(answer.location)


def step(context: MasterContext, where: str, state: InstanceState) -> None:
    """The deployment's one instance takes this step, as lifecycle would write it."""
    with context.database.write() as session:
        instance = session.get_one(Deployment, where.split("/")[-1]).instances[0]
        set_state(session, context.redis, instance, state, state.value, detail=f"It is {state.value} now.")


@contextmanager
def serve(app: OpenAPI) -> Iterator[str]:
    """The application at a free port of loopback; gives its address."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
