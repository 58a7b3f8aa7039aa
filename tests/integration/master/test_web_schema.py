"""Every call answers as the description says, whatever is sent to it: schemathesis makes the requests up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from master.boxes.models import Box
from master.trust.authorities import Authorities
from tests.support.master import FakeBox, add_application, add_image, image_digests, make_master
from tests.support.portal import Person, Portal
from tests.support.redis import RedisServer

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)
# No box of this master answers anything; what needs one has to say so.
_UNAVAILABLE = 503


@pytest.fixture
def portal(tmp_path: Path, redis_server: RedisServer) -> Portal:
    context = make_master(tmp_path, redis_server.url)
    FakeBox(context, "alpha").hold(image_digests(add_image(context, "site:1")))
    add_application(context, "site", "site:1")
    with context.database.write() as session:
        session.get_one(Box, "alpha").certificate = Authorities.load(context.paths).in_office.pem
    return Portal(context)


def check_all(portal: Portal, person: Person, examples: int) -> None:
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", portal.app)
    headers = {"Authorization": f"Bearer {person.token}"}
    problems: dict[str, str] = {}
    for result in schema.get_all_operations():
        operation = result.ok()
        try:
            check_call(operation, headers, examples)
        except AssertionError as error:
            problems[operation.label] = str(error)[:1500]
        except BaseExceptionGroup as group:
            problems[operation.label] = "\n".join(str(error)[:1500] for error in group.exceptions)
    assert not problems, "\n\n".join(f"{label}: {text}" for label, text in problems.items())


def check_call(operation: Any, headers: dict[str, str], examples: int) -> None:
    @seed(1)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def run(case: Any) -> None:
        answer = case.call(headers=headers)
        if answer.status_code == _UNAVAILABLE:  # it is described, and says what is away
            return
        case.validate_response(answer, checks=CHECKS, headers=headers)

    run()


def test_no_call_breaks_or_answers_what_is_not_described(portal: Portal) -> None:
    check_all(portal, portal.person("boss", "administrator"), 1)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("role", ["user", "operator", "administrator"])
def test_no_call_breaks_whatever_is_sent_to_it(portal: Portal, role: str) -> None:
    check_all(portal, portal.person("boss", role), 100)
