"""Signing in with an OpenID provider: OpenID Connect's code flow with PKCE, state and nonce, by Authlib."""

from __future__ import annotations

from typing import Any, NoReturn

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.flask_client import OAuth
from flask import Blueprint, Flask, current_app, flash, redirect, render_template, request, url_for
from flask import session as form_session
from flask_babel import gettext as _
from joserfc.errors import JoseError
from werkzeug.wrappers import Response

from common.errors import Forbidden, NotFound, OpenRaaSError, Unauthorized, Unavailable
from common.logs import get_logger
from master.accounts.forms import SignInForm
from master.accounts.guard import current_caller, current_user, public, visitor
from master.accounts.identities import link as link_identity
from master.accounts.identities import person_of, provider_name
from master.accounts.identities import unlink as unlink_identity
from master.accounts.models import User, UserState
from master.accounts.views import next_page, sign_in_page, signed_in
from master.audit.actors import Actor, act_as
from master.context import MasterContext
from master.web.current import context

log = get_logger(__name__)
views = Blueprint("openid", __name__)

_EXTENSION = "openraas-openid"
_NEXT, _LINK = "openid_next", "openid_link"
PROVIDER_S = 10.0
_METADATA = "/.well-known/openid-configuration"
# A signature that anybody could make, or whoever knows the client's secret, proves nothing.
_WEAK = ("none", "HS")


def register(app: Flask, master: MasterContext) -> None:
    """Add the pages, and the provider if the settings name one."""
    app.register_blueprint(views)
    settings = master.settings
    if not settings.openid_issuer:
        return
    app.extensions[_EXTENSION] = OAuth(app).register(
        "provider",
        client_id=settings.openid_client_id,
        client_secret=settings.openid_client_secret.get_secret_value() or None,
        server_metadata_url=settings.openid_issuer.rstrip("/") + _METADATA,
        client_kwargs={
            "scope": settings.openid_scopes,
            "code_challenge_method": "S256",
            "default_timeout": PROVIDER_S,
        },
    )


def _provider() -> Any:
    found = current_app.extensions.get(_EXTENSION)
    if found is None:
        raise NotFound("There is no other provider to sign in with.", remedy="Sign in with your password.")
    return found


def _metadata(provider: Any) -> None:
    """Learn the provider's addresses; raises Unauthorized if it is another one than the settings name."""
    found = provider.load_server_metadata()
    if str(found.get("issuer", "")).rstrip("/") != context().settings.openid_issuer.rstrip("/"):
        raise Unauthorized(
            f"The provider calls itself {found.get('issuer')}.", remedy="Set openid_issuer to that."
        )
    named = found.get("id_token_signing_alg_values_supported") or ["RS256"]
    found["id_token_signing_alg_values_supported"] = [item for item in named if not item.startswith(_WEAK)]


@views.get("/sign-in/openid")
@public
def begin() -> Response:
    """Send the browser to the provider."""
    provider = _provider()
    try:
        _metadata(provider)
        form_session[_NEXT] = next_page(request.args.get("next", ""))
        answer: Response = provider.authorize_redirect(url_for("openid.callback", _external=True))
    except requests.RequestException as error:
        _is_away(error)
    return answer


def _is_away(error: Exception) -> NoReturn:
    log.warning("provider does not answer", error=str(error))
    raise Unavailable(
        f"{provider_name(context().settings)} does not answer.", remedy="Try again in a moment."
    ) from error


@views.get("/sign-in/openid/callback")
@public
def callback() -> Response | tuple[str, int]:
    """Take in who the provider says it is."""
    go_on = next_page(form_session.pop(_NEXT, ""))
    linking = form_session.pop(_LINK, None)
    try:
        claims = _claims()
        if linking is not None:
            return _linked(linking, claims)
        with context().database.write() as session:
            act_as(Actor(means="OpenID provider", address=request.remote_addr or ""))
            user = person_of(session, context().settings, claims)
        _check_may_sign_in(user)
        return signed_in(user, go_on)
    except OpenRaaSError as error:
        return sign_in_page(SignInForm(formdata=None), str(error), go_on), error.http_status


def _claims() -> dict[str, Any]:
    """What the provider says, once state, nonce, PKCE and signature were checked. Raises Unauthorized."""
    provider = _provider()
    try:
        _metadata(provider)
        token = provider.authorize_access_token()
        claims = dict(token.get("userinfo") or {})
        if claims and "userinfo_endpoint" in provider.server_metadata:
            more = dict(provider.userinfo(token=token))
            if more.get("sub") == claims["sub"]:  # OpenID Connect Core 1.0, section 5.3.2
                claims = {**more, **claims}
    except (AuthlibBaseError, JoseError, ValueError) as error:
        log.warning("sign-in with the provider failed", error=str(error))
        raise Unauthorized("The provider did not sign you in.", remedy="Try again from the start.") from error
    except requests.RequestException as error:
        _is_away(error)
    if not claims.get("sub") or len(str(claims["sub"])) > 255:
        raise Unauthorized("The provider does not say who you are.", remedy="Ask an administrator.")
    return claims


def _check_may_sign_in(user: User) -> None:
    if user.state == UserState.PENDING.value:
        raise Forbidden(
            _("Your account waits for approval."), remedy=_("Ask an administrator, or try again later.")
        )
    if not user.active:
        raise Forbidden(_("Your account is disabled."), remedy=_("Ask an administrator."))


def _linked(linking: str, claims: dict[str, Any]) -> Response:
    """Only for who asked for it in this browser, and still is signed in here."""
    known = visitor()
    if known is None or known.id != linking:
        raise Unauthorized("You are not signed in any more.", remedy="Sign in, then try again.")
    act_as(Actor(known.id, known.name, current_caller().means, request.remote_addr or ""))
    with context().database.write() as session:
        link_identity(session, known, context().settings.openid_issuer, str(claims["sub"]))
    flash(_("From now on you may sign in with it, too."))
    return redirect(url_for("accounts.account"), 303)


@views.post("/account/openid")
def link() -> str:
    """Ask whether to go on: what comes back signs in as this person from then on."""
    _provider()
    form_session[_LINK] = current_user().id
    return render_template("openid_link.html", provider=provider_name(context().settings))


@views.post("/account/openid/unlink")
def unlink() -> Response:
    """The provider no more signs in this person."""
    with context().database.write() as session:
        user = session.get_one(User, current_user().id)
        unlink_identity(session, user, context().settings.openid_issuer)
    return redirect(url_for("accounts.account"), 303)
