"""A master with a portal and two boxes that store things, and an operator at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import structlog

from common.words import Endpoint
from master.accounts.models import UserRole
from master.accounts.services import create_user, issue_api_token
from master.web.app import create_app
from tests.support.cli import Shell, World
from tests.support.master import make_master
from tests.support.redis import RedisServer
from tests.support.store_box import store_boxes
from tests.support.web import serve


@pytest.fixture
def quiet() -> Iterator[None]:
    """Portal and boxes run in this process too: their logs keep out of what the verbs print."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.__stderr__))
    yield
    structlog.reset_defaults()


@pytest.fixture
def world(tmp_path: Path, redis_server: RedisServer, quiet: None) -> Iterator[World]:
    context = make_master(tmp_path / "master", redis_server.url)
    with context.database.write() as session:
        user, password = create_user(session, "olga", UserRole.ADMINISTRATOR)
        token = issue_api_token(session, user, "test", None)
    with serve(create_app(context)) as url:
        portal = Endpoint(host="127.0.0.1", port=urlsplit(url).port or 0)
        with store_boxes(tmp_path / "boxes", context, portal, "attic", "cellar") as boxes:
            made = World(context, url, boxes, Shell(tmp_path, url), password, tmp_path)
            made.operator = made.shell(token)
            yield made
