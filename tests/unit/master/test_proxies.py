"""Whose word about a visitor's address counts."""

from __future__ import annotations

import pytest
from werkzeug.test import create_environ, run_wsgi_app
from werkzeug.wrappers import Request, Response

from master.web.proxies import trust

PROXY, VISITOR, LIE = "192.0.2.10", "198.51.100.7", "203.0.113.9"


@Request.application
def tell(request: Request) -> Response:
    """Answers with the address that the portal would take for the visitor's."""
    return Response(request.remote_addr or "")


@pytest.mark.parametrize(
    ("peer", "proxy_address", "seen"),
    [
        (PROXY, PROXY, LIE),
        (VISITOR, PROXY, VISITOR),
        (VISITOR, "", LIE),
    ],
)
def test_only_the_named_proxy_says_who_a_visitor_is(peer: str, proxy_address: str, seen: str) -> None:
    environ = create_environ(headers={"X-Forwarded-For": LIE})
    environ["REMOTE_ADDR"] = peer
    body, _, _ = run_wsgi_app(trust(tell, 1, proxy_address), environ)

    assert b"".join(body).decode() == seen
