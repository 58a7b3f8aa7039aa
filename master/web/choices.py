"""What a browser is told to remember of how somebody likes pages; no secret, and kept for nobody else."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import request, url_for
from werkzeug.wrappers import Response

KEPT_S = 365 * 86400


def keep_choice(answer: Response, name: str, value: str) -> None:
    """Set the cookie of a choice."""
    answer.set_cookie(name, value, max_age=KEPT_S, samesite="Lax", httponly=True, secure=request.is_secure)


def page_before() -> str:
    """Where the form stood that was sent, if that is a page of this portal."""
    page = urlsplit(request.referrer or "")
    inside = page.netloc == request.host and not page.path.startswith(("//", "/\\"))
    return page._replace(scheme="", netloc="", fragment="").geturl() if inside else url_for("pages.home")
