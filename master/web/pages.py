"""What all pages share: filters, the person and the links at the top, and the pages of no subject."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any
from zlib import crc32

from flask import Blueprint, Flask, current_app, redirect, render_template, url_for
from werkzeug.wrappers import Response

from common import __version__
from common.units import show_rate, show_size
from master.accounts.guard import may, public, visitor
from master.accounts.models import UserRole
from master.web.current import context
from master.web.health import look

views = Blueprint("pages", __name__)

HUES = 8
# What a manifest may name as its icon besides an emoji or a letter: the symbols of static/icons.svg.
ICONS = frozenset({"chart", "chat", "code", "desktop", "files", "globe", "notebook", "terminal"})
_STEPS = {
    "requested": "Asked for",
    "queued": "Waiting for room",
    "predicted": "Start predicted",
    "placed": "Place found",
    "preparing": "Box begins",
    "offer": "Layers offered",
    "fetch": "Layers fetched",
    "unpack": "Layers unpacked",
    "export": "Files shared",
    "network": "Network made",
    "mount": "Files mounted",
    "create": "Container made",
    "launch": "Container started",
    "ready": "First answer",
    "running": "Running",
    "stopping": "Stopping",
    "stop": "Container ended",
    "unmount": "Files unmounted",
    "end": "Files closed",
    "stopped": "Stopped",
    "failed": "Failed",
    "lost": "Box lost",
}


def register(app: Flask) -> None:
    """Give templates their filters and common values."""
    app.jinja_env.filters.update(
        size=_size,
        cores=_cores,
        rate=show_rate,
        took=took,
        ago=ago,
        moment=_moment,
        hue=_hue,
        step=step_title,
        milliseconds=_milliseconds,
    )
    version = _static_version(Path(app.static_folder or ""))

    def common() -> dict[str, Any]:
        user = visitor()
        return {
            "user": user,
            "is_operator": user is not None and may(user, UserRole.OPERATOR),
            "is_administrator": user is not None and may(user, UserRole.ADMINISTRATOR),
            "version": __version__,
            "static": lambda name: url_for("static", filename=name, v=version),
            "icons": ICONS,
        }

    app.context_processor(common)
    app.register_blueprint(views)


def _static_version(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:10]


@views.get("/")
@public
def home() -> Response:
    """The catalogue is where people begin."""
    return redirect(url_for("catalogue.catalogue"))


@views.get("/favicon.ico")
@public
def favicon() -> Response:
    """For what asks by this name: pages that are not ours, such as Flower's, and answers that are no pages."""
    return current_app.send_static_file("icon.svg")


@views.get("/about")
def about() -> str:
    """What this is, and whether it is well."""
    return render_template("about.html", health=look(context()))


def step_title(name: str) -> str:
    """A step of the timeline in words for people."""
    return _STEPS.get(name, name.replace("-", " ").capitalize())


def took(seconds: float | None) -> str:
    """A duration for people: `35 ms`, `2.4 s`, `3 min`, `5 h`."""
    if seconds is None:
        return ""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    for limit, unit_s, unit in ((3600, 60, "min"), (86400 * 2, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"


def ago(at: float | None) -> str:
    """How long ago a Unix time was."""
    if at is None:
        return "never"
    passed = time.time() - at
    if passed < 5:
        return "just now"
    return f"{passed:.0f} s ago" if passed < 60 else f"{took(passed)} ago"


def _size(size_bytes: float) -> str:
    return show_size(size_bytes).replace(".0 ", " ")


def _cores(cores: float) -> str:
    return f"{cores:g} core" if cores == 1 else f"{cores:g} cores"


def _milliseconds(value_ms: float) -> str:
    return f"{value_ms:.1f} ms" if value_ms < 10 else f"{value_ms:.0f} ms"


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def _hue(text: str) -> int:
    """A colour of the tile that stays with a name."""
    return crc32(text.encode()) % HUES
