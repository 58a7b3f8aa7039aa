"""Pages: my files, one file, and what a link opens. Uploads and downloads go to the box, by form or redirect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from flask import Blueprint, Response, flash, make_response, redirect, render_template, request, url_for
from flask_babel import gettext as _
from flask_babel import ngettext
from werkzeug.wrappers import Response as BaseResponse

from common.errors import BadInput, OpenRaaSError
from common.units import parse_duration
from master.accounts import services as accounts
from master.accounts.guard import current_user, public
from master.accounts.models import Scope
from master.files import services, sharing
from master.files.models import ShareKind
from master.files.services import Desk
from master.web.current import context
from master.web.security import CONTENT_POLICY, content_policy

views = Blueprint("files", __name__)
views.add_app_template_filter(unquote, "unquoted")

PER_PAGE = 200
TEXT_BYTES = 64 * 1024
# What browsers show themselves; sent by the box, which forbids scripts in it.
PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".avif", ".bmp", ".ico", ".svg")
MOST_PICTURE_BYTES = 32 * 2**20
LIFETIMES = ("1h", "1d", "7d", "30d", "365d")


@dataclass(frozen=True)
class Crumb:
    """A folder on the way."""

    name: str
    path: str


def crumbs(path: str) -> list[Crumb]:
    """The folders from the top to this path, which is percent-encoded."""
    steps = [step for step in path.split("/") if step]
    return [Crumb(unquote(step), "/".join(steps[: count + 1])) for count, step in enumerate(steps)]


@views.get("/files")
def home() -> BaseResponse:
    """A folder of one's home."""
    path = _path()
    desk = services.desk_of(context(), current_user(), portal=url_for("files.home", _external=True))
    _say_how_it_went()
    with context().database.read() as session:
        shares = sharing.list_shares(session, current_user())
    page = render_template(
        "files.html",
        **_folder(desk, path),
        usage=desk.usage(),
        shares=shares,
        lifetimes=LIFETIMES,
        shared=None,
    )
    return _framed(page, desk)


def _folder(desk: Desk, path: str) -> dict[str, Any]:
    """What the templates of a folder show."""
    offset = max(0, request.args.get("offset", 0, type=int))
    listing = desk.list(path, offset, PER_PAGE)
    return {
        "desk": desk,
        "path": path,
        "crumbs": crumbs(path),
        "listing": listing,
        "offset": offset,
        "per_page": PER_PAGE,
    }


def _say_how_it_went() -> None:
    """A plain form of files ends here, with what came of it in the address."""
    if uploaded := request.args.get("uploaded", 0, type=int):
        flash(ngettext("%(num)d file is here.", "%(num)d files are here.", uploaded))
    if problem := request.args.get("problem", ""):
        flash(problem[:400])


def _framed(page: str, desk: Desk) -> Response:
    """The page may send to and show from the one box on which the files lie."""
    response = make_response(page)
    front = desk.place.front.url
    response.headers[CONTENT_POLICY] = content_policy(front, images=[front], forms=[front])
    return response


@views.get("/files/show")
def show() -> BaseResponse:
    """One file: its picture or the beginning of its text."""
    path = _path()
    desk = services.desk_of(context(), current_user())
    return _shown(desk, path, shared=None)


def _shown(desk: Desk, path: str, *, shared: str | None) -> BaseResponse:
    name = unquote(path.rpartition("/")[2])
    is_picture = name.lower().endswith(PICTURES)
    text = None if is_picture else _text(desk.head(path, TEXT_BYTES + 1))
    page = render_template(
        "file.html",
        desk=desk,
        path=path,
        name=name,
        crumbs=crumbs(path.rpartition("/")[0]),
        is_picture=is_picture,
        text=text,
        is_cut=text is not None and len(text) > TEXT_BYTES,
        most_text=TEXT_BYTES,
        shared=shared,
    )
    return _framed(page, desk)


def _text(head: bytes) -> str | None:
    """The beginning of a file if that is text; a character that was cut in two at the end is left away."""
    for cut in range(min(4, len(head) + 1)):
        try:
            text = head[: len(head) - cut].decode()
        except UnicodeDecodeError:
            continue
        return None if "\0" in text else text
    return None


@views.get("/files/get")
def get() -> BaseResponse:
    """Send the browser to the box for a file, or a folder as one archive."""
    desk = services.desk_of(context(), current_user())
    return redirect(desk.link("content", path=_path(), **_archive()), 303)


def _archive() -> dict[str, str]:
    return {"as": "zip"} if request.args.get("as") == "zip" else {}


@views.post("/files/folder")
def make_folder() -> BaseResponse:
    """Make a folder in the one that is shown."""
    path, name = request.form.get("path", ""), request.form.get("name", "").strip()
    if not name or "/" in name:
        raise BadInput(_("A folder's name is not empty and has no '/'."), field="name")
    return _changed(path, lambda desk: desk.make_folder(_join(path, quote(name, safe=""))))


@views.post("/files/move")
def move() -> BaseResponse:
    """Rename, or move: a name with slashes is a path from the top."""
    source, to = request.form.get("source", ""), request.form.get("to", "").strip()
    if not to:
        raise BadInput(_("Say what it is to be called."), field="to")
    folder = source.rpartition("/")[0]
    target = quote(to, safe="/") if "/" in to else _join(folder, quote(to, safe=""))
    return _changed(folder, lambda desk: desk.move(source, target))


@views.post("/files/remove")
def remove() -> BaseResponse:
    """Remove what was chosen."""
    chosen, path = request.form.getlist("source"), request.form.get("path", "")
    if not chosen:
        raise BadInput(_("Choose what is to be removed."), field="source")

    def each(desk: Desk) -> None:
        for source in chosen:
            desk.remove(source)

    return _changed(path, each)


def _changed(path: str, change: Any) -> BaseResponse:
    try:
        change(services.desk_of(context(), current_user()))
    except OpenRaaSError as error:
        flash(str(error))
    return redirect(url_for("files.home", path=path or None), 303)


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _path() -> str:
    return request.args.get("path", "").strip("/")


# Links


@views.post("/files/share")
def share() -> BaseResponse:
    """Make a link, and show it once."""
    path = request.form.get("source", "")
    try:
        kind, ttl_s = (
            ShareKind(request.form.get("kind", "read")),
            parse_duration(request.form.get("ttl", "7d")),
        )
    except ValueError as error:
        raise BadInput(_("A link is for reading or for adding, for some days."), field="kind") from error
    with context().database.write() as session:
        made, secret = sharing.make_share(session, current_user(), path, kind, ttl_s)
        expires_at = made.expires_at
    link = url_for("files.shared", secret=secret, _external=True)
    return make_response(
        render_template("file_shared.html", link=link, path=path, kind=kind, expires_at=expires_at)
    )


@views.post("/files/unshare")
def unshare() -> BaseResponse:
    """Take a link back."""
    with context().database.write() as session:
        sharing.end_share(session, current_user(), request.form.get("share", ""))
    flash(_("The link does not hold any more."))
    return redirect(url_for("files.home"), 303)


@views.get("/s/<secret>")
@public
def shared(secret: str) -> BaseResponse:
    """What a link opens: a folder, a file, or a place to put files."""
    opened = _opened(secret)
    desk, path = opened.desk, _path()
    _say_how_it_went()
    if opened.kind is ShareKind.ADD:
        folder: dict[str, Any] = {"desk": desk, "path": "", "crumbs": [], "listing": None}
    else:
        folder = _folder(desk, path)
    return _framed(render_template("share.html", **folder, shared=secret, opened=opened), desk)


@views.get("/s/<secret>/get")
@public
def get_shared(secret: str) -> BaseResponse:
    """Send the browser to the box for a file of the link."""
    return redirect(_opened(secret).desk.link("content", path=_path(), **_archive()), 303)


@views.get("/s/<secret>/ticket")
@public
def shared_ticket(secret: str) -> BaseResponse:
    """A new ticket for a page that has been open for long."""
    return make_response({"ticket": _opened(secret).desk.ticket})


def _opened(secret: str) -> sharing.Shared:
    portal = url_for("files.shared", secret=secret, _external=True)
    return sharing.open_share(context(), secret, portal=portal)


# WebDAV: the portal's own address leads to the box


_WEBDAV = [
    "GET",
    "HEAD",
    "OPTIONS",
    "PROPFIND",
    "PUT",
    "DELETE",
    "MKCOL",
    "MOVE",
    "COPY",
    "LOCK",
    "UNLOCK",
]  # RFC 4918, and HTTP's own


@views.route("/webdav/", defaults={"path": ""}, methods=_WEBDAV, provide_automatic_options=False)
@views.route("/webdav/<path:path>", methods=_WEBDAV, provide_automatic_options=False)
@public
def webdav(path: str) -> BaseResponse:
    """Send a WebDAV client to the box on which the home of its token's owner lies."""
    given = request.authorization
    secret = (given.password or "") if given and given.type == "basic" else ""
    token = accounts.use_token(context().database, secret)
    if token is None or not {Scope.ALL.value, Scope.FILES.value} & set(token.scopes):
        response = make_response(_("This needs an API token with the scope files as password."), 401)
        response.headers["WWW-Authenticate"] = (
            'Basic realm="OpenRaaS: an API token as password", charset="UTF-8"'
        )
        return response
    return redirect(services.place_of(context(), token.user).webdav_url + quote(path), 307)
