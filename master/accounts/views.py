"""Pages: signing in and out, one's account, people."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask import session as form_session
from flask_babel import gettext
from werkzeug.wrappers import Response

from common.errors import BadInput, Conflict, OpenRaaSError, TooMany
from master.accounts import services
from master.accounts.forms import PasswordForm, SignInForm, TokenForm, UserForm
from master.accounts.guard import cookie_name, current_user, public, requires, visitor
from master.accounts.models import UserRole
from master.web.current import context

views = Blueprint("accounts", __name__)

Page = str | Response | tuple[str, int]


def _next_page() -> str:
    """Where to go after signing in: an address of this portal, never elsewhere."""
    wanted = request.values.get("next", "")
    parts = urlsplit(wanted)
    local = wanted.startswith("/") and not wanted.startswith("//") and "\\" not in wanted
    local = local and wanted.isprintable()  # a line's end would be one in the answer's headers
    return wanted if local and not parts.netloc and not parts.scheme else url_for("catalogue.catalogue")


@views.route("/sign-in", methods=["GET", "POST"])
@public
def sign_in() -> Page:
    """Ask for name and password."""
    if request.method == "GET" and visitor() is not None:
        return redirect(_next_page())
    form = SignInForm()
    problem, status = "", 200
    if form.validate_on_submit():
        try:
            return _signed_in(form.name.data or "", form.password.data or "")
        except OpenRaaSError as error:
            problem, status = str(error), error.http_status
    elif request.method == "POST":
        status = 422
    return render_template("sign_in.html", form=form, problem=problem, next=_next_page()), status


def _signed_in(name: str, password: str) -> Response:
    user = services.authenticate(context(), name, password, request.remote_addr or "")
    ttl_s = context().settings.session_s
    with context().database.write() as session:
        token = services.start_session(session, user, ttl_s)
    g.visitor = user
    form_session.clear()  # a CSRF token from before is worth nothing now
    response = redirect(_next_page(), 303)
    response.set_cookie(
        cookie_name(),
        token,
        max_age=int(ttl_s),
        path="/",
        secure=request.is_secure,
        httponly=True,
        samesite="Lax",
    )
    return response


@views.post("/sign-out")
@public
def sign_out() -> Response:
    """End this sign-in."""
    token = request.cookies.get(cookie_name())
    if token:
        with context().database.write() as session:
            services.end_session(session, token)
    form_session.clear()
    response = redirect(url_for("accounts.sign_in"), 303)
    response.delete_cookie(cookie_name(), path="/", secure=request.is_secure, httponly=True, samesite="Lax")
    return response


def _account(password: PasswordForm, token: TokenForm, issued: str = "", status: int = 200) -> Page:
    with context().database.read() as session:
        tokens = [
            (services.token_id_of(item), item) for item in services.list_tokens(session, current_user())
        ]
    page = render_template(
        "account.html", password_form=password, token_form=token, tokens=tokens, issued=issued
    )
    return page, status


@views.get("/account")
def account() -> Page:
    """One's password and API tokens."""
    return _account(PasswordForm(prefix="password"), TokenForm(prefix="token"))


@views.post("/account/password")
def change_password() -> Page:
    """Change it; then sign in again."""
    form = PasswordForm(prefix="password")
    if form.validate_on_submit():
        try:
            services.change_password(
                context(),
                current_user().name,
                form.current.data or "",
                form.new.data or "",
                request.remote_addr or "",
            )
        except (BadInput, TooMany) as error:
            form[error.field or "current"].errors = [str(error)]
        else:
            flash(gettext("Your password is changed. Sign in with the new one."))
            return redirect(url_for("accounts.sign_in"), 303)
    return _account(form, TokenForm(prefix="token"), status=422)


@views.post("/account/tokens")
def make_token() -> Page:
    """A new API token, shown this once."""
    form = TokenForm(prefix="token")
    if not form.validate_on_submit():
        return _account(PasswordForm(prefix="password"), form, status=422)
    with context().database.write() as session:
        issued = services.issue_api_token(session, current_user(), form.name.data or "", None)
    return _account(PasswordForm(prefix="password"), TokenForm(None, prefix="token"), issued)


@views.post("/account/tokens/<token>/revoke")
def revoke_token(token: str) -> Response:
    """From now on it opens nothing."""
    with context().database.write() as session:
        services.revoke_token(session, current_user(), token)
    flash(gettext("The token is revoked."))
    return redirect(url_for("accounts.account"), 303)


def _people(form: UserForm, name: str = "", password: str = "", status: int = 200) -> Page:
    with context().database.read() as session:
        everybody = services.list_users(session)
    page = render_template("users.html", people=everybody, form=form, new_name=name, password=password)
    return page, status


@views.get("/users")
@requires(UserRole.ADMINISTRATOR)
def people() -> Page:
    """Everybody, and a form for one more."""
    return _people(UserForm())


@views.post("/users")
@requires(UserRole.ADMINISTRATOR)
def add_person() -> Page:
    """A new person; the generated password is shown this once."""
    form = UserForm()
    if not form.validate_on_submit():
        return _people(form, status=422)
    try:
        with context().database.write() as session:
            user, password = services.create_user(session, form.name.data or "", UserRole(form.role.data))
    except Conflict as error:
        form.name.errors = [error.message]
        return _people(form, status=409)
    return _people(UserForm(None), user.name, password)


@views.post("/users/<name>/<action>")
@requires(UserRole.ADMINISTRATOR)
def change_person(name: str, action: str) -> Page:
    """Reset the password, disable or enable."""
    if action not in ("reset", "disable", "enable"):
        raise BadInput(f"There is no such change as {action}.", field="action")
    password = ""
    with context().database.write() as session:
        user = services.find_user(session, name)
        if action == "reset":
            password = services.reset_password(session, user)
        else:
            services.change_user(session, user, active=action == "enable")
    if password:
        return _people(UserForm(None), name, password)
    return redirect(url_for("accounts.people"), 303)
