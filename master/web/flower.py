"""Flower behind the sign-in: a small reverse proxy to the child process on its Unix socket."""

from __future__ import annotations

from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse

from flask import Blueprint, Response, request

from common.errors import Unavailable
from common.unix_http import UnixConnection
from master.accounts.guard import requires
from master.accounts.models import UserRole
from master.web.current import context

views = Blueprint("flower", __name__)

TIMEOUT_S = 10.0
PIECE_BYTES = 64 * 1024
METHODS = ["GET", "HEAD", "POST"]
# RFC 9110, section 7.6.1; and what is nobody's business but the portal's.
_NOT_FORWARDED = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
    "transfer-encoding", "upgrade", "host", "cookie", "authorization", "content-length", "accept-encoding",
})  # fmt: skip
_NOT_RETURNED = _NOT_FORWARDED - {"content-length"} | {"set-cookie", "server", "date"}
# Flower's pages have inline scripts and styles.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)


@views.route("/flower/", defaults={"path": ""}, methods=METHODS)
@views.route("/flower/<path:path>", methods=METHODS)
@requires(UserRole.OPERATOR)
def flower(path: str) -> Response:
    """Hand the request to Flower and its answer back."""
    del path  # taken as it was written, from the query's full path
    headers = {name: value for name, value in request.headers.items() if name.lower() not in _NOT_FORWARDED}
    connection = UnixConnection(context().paths.flower_socket, timeout_s=TIMEOUT_S)
    try:
        target = request.full_path.rstrip("?") if request.query_string else request.path
        connection.request(request.method, target, body=request.get_data() or None, headers=headers)
        upstream = connection.getresponse()
    except (OSError, HTTPException) as error:
        connection.close()
        raise Unavailable("Flower does not answer.", remedy="Its log is in the state directory.") from error
    response = Response(_pieces(upstream), upstream.status, direct_passthrough=True)
    response.headers.clear()
    for name, value in upstream.getheaders():
        if name.lower() not in _NOT_RETURNED:
            response.headers.add(name, value)
    response.headers["Content-Security-Policy"] = _POLICY
    response.call_on_close(connection.close)
    return response


def _pieces(upstream: HTTPResponse) -> Iterator[bytes]:
    while piece := upstream.read(PIECE_BYTES):
        yield piece
