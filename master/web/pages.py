"""What all pages share: filters, the person and the links at the top, and the pages of no subject."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any
from zlib import crc32

from flask import Blueprint, Flask, current_app, redirect, render_template, url_for
from werkzeug.wrappers import Response

from common import __version__
from master.accounts.guard import may, public, visitor
from master.accounts.models import UserRole
from master.web import navigation, words
from master.web.current import context
from master.web.health import look

views = Blueprint("pages", __name__)

HUES = 8
# What a manifest may name as its icon besides an emoji or a letter: the symbols of static/icons.svg.
ICONS = frozenset(
    {"chart", "chat", "code", "desktop", "files", "game", "globe", "notebook", "pencil", "render", "terminal"}
)


def register(app: Flask) -> None:
    """Give templates their filters and common values."""
    app.jinja_env.filters.update(
        size=words.size,
        cores=words.cores,
        rate=words.rate,
        took=words.took,
        about=words.about,
        ready_in=words.ready_in,
        ago=words.ago,
        moment=words.moment,
        day_and_time=_day_and_time,
        hue=_hue,
        step=words.step_title,
        state_word=words.state_word,
        role_word=words.role_word,
        role_of_person=words.role_of_person,
        state_of_person=words.state_of_person,
        kind_word=words.kind_word,
        milliseconds=words.milliseconds,
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
            "main_entries": navigation.main_entries,
            "menu_groups": navigation.menu_groups,
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


def _day_and_time(at: float) -> str:
    """In the time zone of whoever looks."""
    user = visitor()
    return words.day_and_time(at, user.time_zone or "UTC") if user else words.day_and_time(at)


def _hue(text: str) -> int:
    """A colour of the tile that stays with a name."""
    return crc32(text.encode()) % HUES
