"""Proxies before the portal, and whose word about a visitor's address counts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from werkzeug.middleware.proxy_fix import ProxyFix

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def trust(app: WSGIApplication, count: int, address: str) -> WSGIApplication:
    """`app` behind `count` proxies. With an `address`, only what comes from there may forward anything.

    Boxes and the command line reach the portal's port directly. A visitor there who may name any address as
    his own is never stopped from guessing passwords.
    """
    fixed = ProxyFix(app, count, count, count)

    def checked(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if address and environ.get("REMOTE_ADDR") != address:
            return app(environ, start_response)
        return fixed(environ, start_response)

    return checked
