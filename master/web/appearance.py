"""Light or dark: as the system says, or as the person chose in this browser."""

from __future__ import annotations

from flask import Blueprint, Flask, redirect, request
from flask_babel import lazy_gettext as _l
from werkzeug.wrappers import Response

from common.errors import BadInput
from master.accounts.guard import public
from master.audit.trail import changes_nothing
from master.web.choices import keep_choice, page_before

views = Blueprint("appearance", __name__)

COOKIE = "openraas_appearance"
SYSTEM = "system"
APPEARANCES = {SYSTEM: _l("As the system"), "light": _l("Light"), "dark": _l("Dark")}


def register(app: Flask) -> None:
    """Tell the layout which one it is."""
    app.context_processor(lambda: {"appearance": chosen(), "appearances": APPEARANCES})
    app.register_blueprint(views)


def chosen() -> str:
    """This request's."""
    wish = request.cookies.get(COOKIE, SYSTEM)
    return wish if wish in APPEARANCES else SYSTEM


@views.post("/appearance")
@public
@changes_nothing
def change() -> Response:
    """Keep the choice in this browser, and go back to the page where it was made."""
    wish = request.form.get("appearance", "")
    if wish not in APPEARANCES:
        raise BadInput(f"There is no appearance {wish!r}.", field="appearance")
    answer = redirect(page_before(), 303)
    keep_choice(answer, COOKIE, wish)
    return answer
