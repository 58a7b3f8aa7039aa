"""The portal for tests that call its REST interface as one or several people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from master.accounts.models import User
from master.accounts.services import issue_api_token
from master.context import MasterContext
from master.web.app import create_app
from tests.support.master import add_user


@dataclass
class Person:
    """Somebody who calls with an API token."""

    user: User
    token: str
    client: FlaskClient

    def call(self, method: str, path: str, **options: Any) -> TestResponse:
        """One call."""
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        return self.client.open(path, method=method, headers=headers, **options)


class Portal:
    """The web application over a context."""

    def __init__(self, context: MasterContext) -> None:
        self.context = context
        self.app = create_app(context)
        self.client = self.app.test_client()

    def person(self, name: str, role: str = "user") -> Person:
        """A new person."""
        user = add_user(self.context, name, role)
        with self.context.database.write() as session:
            token = issue_api_token(session, user, "test", None)
        return Person(user, token, self.client)
