"""Pages: signing in, up and out, and one's account."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask import session as form_session
from flask_babel import gettext as _
from werkzeug.wrappers import Response
from wtforms.fields import SelectChoice

from common.errors import BadInput, NotFound, OpenRaaSError, TooMany
from master.accounts import services, signing_up
from master.accounts.api import session_view, token_view
from master.accounts.forms import (
    SCOPES,
    PasswordForm,
    ProfileForm,
    ResetForm,
    SignInForm,
    SignUpForm,
    TokenForm,
)
from master.accounts.guard import caller, cookie_name, current_caller, current_user, public, visitor
from master.accounts.identities import find_identity, provider_name
from master.accounts.models import Scope, User, UserState
from master.audit.actors import Actor, act_as
from master.audit.services import record
from master.limits.services import bounds_of
from master.people.services import memberships_of
from master.web.current import context
from master.web.languages import languages

views = Blueprint("accounts", __name__)

Page = str | Response | tuple[str, int]
DAY_S = 86400.0


def next_page(wanted: str) -> str:
    """Where to go after signing in: an address of this portal, never elsewhere."""
    parts = urlsplit(wanted)
    local = wanted.startswith("/") and not wanted.startswith("//") and "\\" not in wanted
    local = local and wanted.isprintable()  # a line's end would be one in the answer's headers
    return wanted if local and not parts.netloc and not parts.scheme else url_for("catalogue.catalogue")


@views.route("/sign-in", methods=["GET", "POST"])
@public
def sign_in() -> Page:
    """Ask for name and password."""
    go_on = next_page(request.values.get("next", ""))
    if request.method == "GET" and visitor() is not None:
        return redirect(go_on)
    form = SignInForm()
    problem, status = "", 200
    if form.validate_on_submit():
        try:
            name, password = form.name.data or "", form.password.data or ""
            user = services.authenticate(context(), name, password, request.remote_addr or "")
            return signed_in(user, go_on)
        except OpenRaaSError as error:
            problem, status = str(error), error.http_status
    elif request.method == "POST":
        status = 422
    return sign_in_page(form, problem, go_on), status


def sign_in_page(form: SignInForm, problem: str, go_on: str) -> str:
    """The page on which people sign in."""
    settings = context().settings
    return render_template(
        "sign_in.html",
        form=form,
        problem=problem,
        next=go_on,
        may_sign_up=settings.sign_up != "closed",
        provider=provider_name(settings),
    )


def signed_in(user: User, go_on: str) -> Response:
    """Sign this person in, in this browser: with a cookie that nobody knew before, and no older one left."""
    ttl_s = context().settings.session_s
    address, browser = request.remote_addr or "", request.user_agent.string
    act_as(Actor(user.id, user.name, "sign-in", address))
    with context().database.write() as session:
        if before := request.cookies.get(cookie_name()):
            services.end_session(session, before)
        token = services.start_session(session, user, ttl_s, address=address, browser=browser)
    g.pop("caller", None)
    form_session.clear()  # a CSRF token from before is worth nothing now
    response = redirect(go_on, 303)
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
        known = caller()
        with context().database.write() as session:
            services.end_session(session, token)
            if known is not None:
                record(session, "user.sign-out", services.subject_of(known.user))
    form_session.clear()
    response = redirect(url_for("accounts.sign_in"), 303)
    response.delete_cookie(cookie_name(), path="/", secure=request.is_secure, httponly=True, samesite="Lax")
    return response


@views.route("/sign-up", methods=["GET", "POST"])
@public
def sign_up() -> Page:
    """Make an account for oneself."""
    if context().settings.sign_up == "closed":
        raise NotFound("Nobody may sign up here.", remedy="Ask an administrator for an account.")
    if visitor() is not None:
        return redirect(url_for("catalogue.catalogue"))
    form = SignUpForm()
    problem, status = "", 200
    if form.validate_on_submit():
        values = {name: str(value or "") for name, value in form.data.items() if name != "csrf_token"}
        try:
            user = signing_up.sign_up(context(), address=request.remote_addr or "", **values)
        except OpenRaaSError as error:
            status = error.http_status
            if error.field and error.field in form:
                form[error.field].errors = [str(error)]
            else:
                problem = str(error)
        else:
            if user.state == UserState.ACTIVE.value:
                return signed_in(user, url_for("catalogue.catalogue"))
            flash(_("Your account waits for approval. Sign in once an administrator has approved it."))
            return redirect(url_for("accounts.sign_in"), 303)
    elif request.method == "POST":
        status = 422
    return render_template("sign_up.html", form=form, problem=problem), status


@views.route("/reset", methods=["GET", "POST"])
@public
def reset() -> Page:
    """Choose a password by a link."""
    # The code stands in the query, never in the path: paths are logged.
    code = request.values.get("code", "")
    form, status = ResetForm(), 200
    with context().database.read() as session:
        name = signing_up.find_reset_link(session, code).user.name
    if form.validate_on_submit():
        signing_up.use_reset_link(context(), code, form.new.data or "")
        flash(_("Your password is set. Sign in with it."))
        return redirect(url_for("accounts.sign_in"), 303)
    if request.method == "POST":
        status = 422
    return render_template("reset.html", form=form, name=name, code=code), status


class _Forms:
    """The forms of the account page: the one that was sent as it was sent, the others fresh."""

    def __init__(self, user: User, sent: str = "") -> None:
        def formdata(name: str) -> dict[str, object]:
            return {} if name == sent else {"formdata": None}

        self.profile = ProfileForm(prefix="profile", obj=user, **formdata("profile"))
        self.profile.language.choices = [
            SelectChoice("", _("As the browser wishes")),
            *(SelectChoice(code, name) for code, name in languages().items()),
        ]
        self.password = PasswordForm(prefix="password", **formdata("password"))
        self.token = TokenForm(prefix="token", **formdata("token"))


def _account(forms: _Forms, issued: str = "", status: int = 200) -> Page:
    known = current_caller()
    with context().database.read() as session:
        user = session.get_one(User, known.user.id)
        tokens = [token_view(item) for item in services.list_tokens(session, user)]
        sessions = [session_view(item, known.session) for item in services.list_sessions(session, user)]
        page = render_template(
            "account.html",
            forms=forms,
            person=user,
            groups=memberships_of(user),
            bounds=bounds_of(session, user),
            tokens=tokens,
            sessions=sessions,
            scopes=SCOPES,
            issued=issued,
            provider=provider_name(context().settings),
            is_linked=find_identity(session, user, context().settings.openid_issuer) is not None,
        )
    return page, status


@views.get("/account")
def account() -> Page:
    """One's profile, password, sign-ins and API tokens."""
    return _account(_Forms(current_user()))


@views.post("/account/profile")
def change_profile() -> Page:
    """Name, address, language, time zone; nothing else of oneself."""
    forms = _Forms(current_user(), "profile")
    form = forms.profile
    if not form.validate():
        return _account(forms, status=422)
    values = {name: form[name].data or "" for name in ("full_name", "email", "language", "time_zone")}
    with context().database.write() as session:
        user = session.get_one(User, current_user().id)
        before = {name: getattr(user, name) for name in values}
        for name, value in values.items():
            setattr(user, name, value)
        record(session, "user.change-profile", services.subject_of(user), before=before, after=values)
    flash(_("Your profile is changed."))
    return redirect(url_for("accounts.account"), 303)


@views.post("/account/password")
def change_password() -> Page:
    """Change it; then sign in again."""
    user = current_user()
    forms = _Forms(user, "password")
    form = forms.password
    if form.validate():
        try:
            services.change_password(
                context(), user.name, form.current.data or "", form.new.data or "", request.remote_addr or ""
            )
        except (BadInput, TooMany) as error:
            form[error.field or "current"].errors = [str(error)]
        else:
            flash(_("Your password is changed. Sign in with the new one."))
            return redirect(url_for("accounts.sign_in"), 303)
    return _account(forms, status=422)


@views.post("/account/tokens")
def make_token() -> Page:
    """A new API token, shown this once."""
    user = current_user()
    forms = _Forms(user, "token")
    form = forms.token
    if not form.validate():
        return _account(forms, status=422)
    ttl_s = int(form.days.data) * DAY_S if form.days.data else None
    scopes = services.narrowed([Scope(scope) for scope in form.scopes.data], current_caller().scopes)
    with context().database.write() as session:
        issued = services.issue_api_token(session, user, form.name.data or "", ttl_s, scopes)
    return _account(_Forms(user), issued)


@views.post("/account/tokens/<token>/revoke")
def revoke_token(token: str) -> Response:
    """From now on it opens nothing."""
    with context().database.write() as session:
        services.revoke_token(session, current_user(), token)
    flash(_("The token is revoked."))
    return redirect(url_for("accounts.account"), 303)


@views.post("/account/sessions/<session_id>/end")
def end_session(session_id: str) -> Response:
    """That browser is signed out."""
    with context().database.write() as session:
        services.revoke_session(session, current_user(), session_id)
    flash(_("That browser is signed out."))
    return redirect(url_for("accounts.account"), 303)


@views.post("/account/sessions/end")
def end_sessions() -> Response:
    """Every browser is signed out, this one too."""
    with context().database.write() as session:
        services.end_sessions(session, current_user())
        record(session, "user.end-sessions", services.subject_of(current_user()))
    return redirect(url_for("accounts.sign_in"), 303)
