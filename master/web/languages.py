"""In which language a page speaks: what the person chose, else what their browser prefers.

English stands in the code; the others in `master/translations/<language>/LC_MESSAGES/messages.po`, where
`make translations` collects what is to be translated. A language is there once its file is compiled.
"""

from __future__ import annotations

from pathlib import Path

from babel import Locale, negotiate_locale
from flask import Blueprint, Flask, redirect, request
from flask_babel import Babel, get_locale
from werkzeug.wrappers import Response

from common.errors import BadInput
from master.accounts.guard import public, visitor
from master.audit.trail import changes_nothing
from master.web.choices import keep_choice, page_before
from master.web.errors import is_rest

views = Blueprint("languages", __name__)

FOLDER = Path(__file__).parents[1] / "translations"
SOURCE = "en"
COOKIE = "openraas_language"


def languages() -> dict[str, str]:
    """The languages that pages can speak, each with its own name of itself, English first."""
    codes = [SOURCE, *sorted(path.parent.parent.name for path in FOLDER.glob("*/LC_MESSAGES/messages.mo"))]
    return {code: (Locale.parse(code).get_display_name() or code).capitalize() for code in codes}


def register(app: Flask) -> None:
    """Give pages their language: `_("…")` in templates, `flask_babel.gettext` in Python."""
    known = languages()
    Babel(
        app,
        default_locale=SOURCE,
        default_translation_directories=str(FOLDER),
        locale_selector=lambda: choose(known),
    )
    app.jinja_env.policies["ext.i18n.trimmed"] = True
    app.context_processor(lambda: {"language": str(get_locale() or SOURCE), "languages": known})
    app.register_blueprint(views)


def choose(known: dict[str, str]) -> str:
    """The language of this request's answer: profile, choice in this browser, the browser's own, English.

    Programs always get English.
    """
    if is_rest():
        return SOURCE
    for wish in (getattr(visitor(), "language", None), request.cookies.get(COOKIE)):
        if wish in known:
            return str(wish)
    return negotiate_locale(list(request.accept_languages.values()), list(known), sep="-") or SOURCE


@views.post("/language")
@public
@changes_nothing
def change() -> Response:
    """Keep the choice in this browser, and go back to the page where it was made."""
    wish = request.form.get("language", "")
    if wish not in languages():
        raise BadInput(f"There is no language {wish!r} here.", field="language")
    answer = redirect(page_before(), 303)
    keep_choice(answer, COOKIE, wish)
    return answer
