"""Sends browsers that come without TLS on to the portal: `gunicorn master.web.redirect:app`.

It reads nothing that they send but the address, and keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from werkzeug.wrappers import Request, Response

from common.settings import settings


def make(port: int) -> Callable[..., object]:
    """The application; the portal answers at `port` of the host that was asked."""

    @Request.application
    def application(request: Request) -> Response:
        host = request.host
        if not host.endswith("]"):  # else an IPv6 address without a port
            host = host.rpartition(":")[0] or host
        if not host:
            return Response("This is no address.\n", 400)
        target = request.full_path if request.query_string else request.path
        # 308: what was a POST stays one (RFC 9110, section 15.4.9).
        return Response(status=308, headers={"Location": f"https://{host}:{port}{target}"})

    return application


app = make(settings().web_port)
