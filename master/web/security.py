"""What keeps other people's pages out: origin checks, CSRF tokens, headers, limits.

Sources: Fetch Metadata (W3C), OWASP's "Cross-Site Request Forgery Prevention" and "HTTP Headers" sheets.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from flask import Flask, request
from flask.sessions import SecureCookieSessionInterface
from flask_wtf.csrf import CSRFProtect
from werkzeug.wrappers import Response

from common.addresses import is_loopback
from common.errors import BadInput, Forbidden
from master.accounts.guard import SAFE_METHODS, bearer_token, cookie_name

MAXIMUM_BODY_BYTES = 1024 * 1024
STATIC_MAX_AGE_S = 7 * 86400

CONTENT_POLICY = "Content-Security-Policy"


def content_policy(*connect: str, images: Iterable[str] = (), forms: Iterable[str] = ()) -> str:
    """Everything comes from this origin, nothing stands inline: an injected script or style does nothing.

    Scripts may also connect to the origins `connect`, pictures come from `images` and forms go to `forms`: the
    fronts of boxes, as `Endpoint.url` writes them.
    """
    pictures = " ".join(("'self'", "data:", *images))
    origins = " ".join(("'self'", *connect))
    targets = " ".join(("'self'", *forms))
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src {pictures}; "
        f"form-action {targets}; connect-src {origins}; manifest-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    )


_HEADERS = {
    CONTENT_POLICY: content_policy(),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

csrf = CSRFProtect()


class _FormSessions(SecureCookieSessionInterface):
    """Flask's signed cookie holds the CSRF token and messages only; who is signed in stands in SQL."""

    def get_cookie_name(self, app: Flask) -> str:  # noqa: ARG002
        return "__Host-openraas_form" if request.is_secure else "openraas_form"

    def get_cookie_secure(self, app: Flask) -> bool:  # noqa: ARG002
        return request.is_secure


def protect(app: Flask, secret: str) -> None:
    """Set this application up so; `secret` signs the form cookie."""
    app.config.update(
        SECRET_KEY=secret,
        MAX_CONTENT_LENGTH=MAXIMUM_BODY_BYTES,
        MAX_FORM_MEMORY_SIZE=MAXIMUM_BODY_BYTES,
        MAX_FORM_PARTS=200,
        SEND_FILE_MAX_AGE_DEFAULT=STATIC_MAX_AGE_S,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        WTF_CSRF_CHECK_DEFAULT=False,  # check_change decides
        WTF_CSRF_TIME_LIMIT=None,  # it holds as long as the form's cookie
    )
    app.session_interface = _FormSessions()
    csrf.init_app(app)
    app.after_request(_add_headers)


def check_change() -> None:
    """Refuse a change that a page of another origin asks for (`before_request`)."""
    if request.method in SAFE_METHODS or bearer_token() is not None:
        return  # a page elsewhere cannot know a token
    _check_origin()
    if _is_form():
        csrf.protect()
    elif cookie_name() in request.cookies and not _tells_its_origin():
        raise Forbidden(
            "A change by cookie has to tell its origin.", remedy="Programs send an API token as Bearer."
        )


def check_body() -> None:
    """Refuse JSON that can be read but neither kept nor answered (`before_request`).

    Half characters (`"\\ud800"`) fit into no database, and what is nested too deep ends whoever walks it.
    """
    if not request.is_json:
        return
    try:
        json.dumps(request.get_json(silent=True), ensure_ascii=False).encode()
    except RecursionError as error:
        raise BadInput("The body is nested too deep.", field="body") from error
    except UnicodeEncodeError as error:
        raise BadInput(
            "The body has half a character (a lone surrogate) in it.",
            field="body",
            remedy="Send whole Unicode characters.",
        ) from error


def _is_form() -> bool:
    # Registry clients ask for tokens at /v2/ with name and password; no cookie counts there.
    return not request.path.startswith(("/api/", "/flower/", "/v2/", "/webdav/"))


def _tells_its_origin() -> bool:
    return "Sec-Fetch-Site" in request.headers or "Origin" in request.headers


def _check_origin() -> None:
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    origin = request.headers.get("Origin")
    own = request.host_url.rstrip("/")
    if site not in ("same-origin", "none") or (origin is not None and origin != own):
        raise Forbidden(
            "This change was asked for by a page of another origin.", remedy="Do it on the portal itself."
        )


def _add_headers(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    # A browser keeps it for the whole host name: on localhost it would shut out whatever else listens there.
    if request.is_secure and not is_loopback(request.host.rpartition(":")[0] or request.host):
        response.headers["Strict-Transport-Security"] = "max-age=31536000"
    if request.endpoint is None or not request.endpoint.endswith("static"):
        response.headers.setdefault("Cache-Control", "no-store")
    return response
