"""REST: oneself: profile, password, sign-ins and API tokens; and signing up."""

from __future__ import annotations

from zoneinfo import available_timezones

from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, ConfigDict, Field, field_validator

from common.words import Name
from master.accounts import services, signing_up
from master.accounts.guard import allows, current_caller, current_user, public
from master.accounts.models import ApiToken, GroupRole, Scope, User, UserRole, UserState, WebSession
from master.audit.services import record
from master.people.services import memberships_of
from master.web.current import context, nothing, reply
from master.web.description import raises
from master.web.paging import Page, reply_page
from master.web.versions import IfMatch, check_unchanged

_ME = Tag(name="me", description="Oneself: profile, password, sign-ins, API tokens.")
api = APIBlueprint("accounts_api", __name__, url_prefix="/api/v1", abp_tags=[_ME])

MAXIMUM_TOKEN_S = 366 * 86400.0
TIME_ZONES = frozenset(available_timezones())


class Strict(BaseModel):
    """A body in which nothing stands that is not known: what is not meant to be changed is refused aloud."""

    model_config = ConfigDict(extra="forbid")


class MembershipView(BaseModel):
    """A group, and what one is in it."""

    group: str
    role: GroupRole


class UserView(BaseModel):
    """A person."""

    id: str
    name: str
    full_name: str
    email: str
    role: UserRole
    state: UserState
    active: bool = Field(description="Whether they may sign in: the same as the state active.")
    has_password: bool = Field(description="False: they sign in with another provider only.")
    reason: str = Field(description="What they said when signing up.")
    groups: list[MembershipView]
    created_at: float


class Profile(UserView):
    """Oneself."""

    language: str = Field(description="Of the pages; empty: as the browser wishes.")
    time_zone: str = Field(description="As in Europe/Berlin; empty: UTC.")
    scopes: list[Scope] | None = Field(description="Of the token that asks; none: a sign-in in a browser.")


class ProfileChange(Strict):
    """What changes of oneself; what is left out stays."""

    full_name: str | None = Field(None, max_length=120)
    email: str | None = Field(None, max_length=254)
    language: str | None = Field(None, max_length=16, pattern="^[A-Za-z_-]*$")
    time_zone: str | None = Field(None, max_length=64)

    @field_validator("time_zone")
    @classmethod
    def _is_known(cls, value: str | None) -> str | None:
        if value and value not in TIME_ZONES:
            raise ValueError("there is no such time zone; write one as in Europe/Berlin")
        return value


class PasswordChange(Strict):
    """Changing one's own password."""

    current: str = Field(max_length=services.MAXIMUM_PASSWORD)
    new: str = Field(max_length=services.MAXIMUM_PASSWORD)


class SessionView(BaseModel):
    """A sign-in in a browser."""

    id: str
    address: str
    browser: str
    created_at: float
    seen_at: float = Field(description="When it was last used, to within some minutes.")
    expires_at: float
    current: bool = Field(description="Whether it is the one that asks.")


class SessionList(BaseModel):
    """One's sign-ins, the one used last first."""

    sessions: list[SessionView]


class SessionPath(BaseModel):
    """A sign-in by id."""

    session: str = Field(max_length=64)


class TokenView(BaseModel):
    """An API token without its secret."""

    id: str
    name: str
    scopes: list[Scope]
    created_at: float
    expires_at: float | None
    used_at: float | None = Field(description="When it was last used, to within some minutes; none: never.")


class TokenList(BaseModel):
    """One's tokens, the newest first."""

    tokens: list[TokenView]


class NewToken(Strict):
    """A token to be made."""

    name: str = Field(min_length=1, max_length=64)
    ttl_s: float | None = Field(None, gt=0, le=MAXIMUM_TOKEN_S, description="None: until it is revoked.")
    scopes: list[Scope] = Field(
        default_factory=lambda: [Scope.ALL],
        min_length=1,
        max_length=len(Scope),
        description="What it may do.",
    )


class SignIn(NewToken):
    """Name and password in exchange for a token: how a command line elsewhere signs in."""

    user: str = Field(max_length=64)
    password: str = Field(max_length=services.MAXIMUM_PASSWORD)


class IssuedToken(BaseModel):
    """A token, shown this once."""

    token: str


class TokenPath(BaseModel):
    """A token by id."""

    token: str = Field(max_length=64)


class SignUp(Strict):
    """An account for oneself."""

    name: Name
    password: str = Field(max_length=services.MAXIMUM_PASSWORD)
    full_name: str = Field("", max_length=120)
    email: str = Field("", max_length=254)
    reason: str = Field("", max_length=500, description="What for; whoever approves it reads this.")


def user_view(user: User) -> UserView:
    """A person as REST shows them; reads the memberships."""
    return UserView(
        id=user.id,
        name=user.name,
        full_name=user.full_name,
        email=user.email,
        role=UserRole(user.role),
        state=UserState(user.state),
        active=user.active,
        has_password=bool(user.password_hash),
        reason=user.reason,
        groups=[
            MembershipView(group=item.group.name, role=GroupRole(item.role)) for item in user.memberships
        ],
        created_at=user.created_at,
    )


def token_view(token: ApiToken) -> TokenView:
    """A token as REST shows it."""
    return TokenView(
        id=services.public_id(token.token_hash),
        name=token.name,
        scopes=[Scope(scope) for scope in token.scopes],
        created_at=token.created_at,
        expires_at=token.expires_at,
        used_at=token.used_at,
    )


def session_view(item: WebSession, current: str | None) -> SessionView:
    """A sign-in as REST shows it; `current` is the hash of the one that asks."""
    return SessionView(
        id=services.public_id(item.token_hash),
        address=item.address,
        browser=item.browser,
        created_at=item.created_at,
        seen_at=item.seen_at,
        expires_at=item.expires_at,
        current=item.token_hash == current,
    )


def _profile() -> Profile:
    with context().database.read() as session:
        user = session.get_one(User, current_user().id)
        memberships_of(user)
        scopes = current_caller().scopes
        return Profile(
            **user_view(user).model_dump(),
            language=user.language,
            time_zone=user.time_zone,
            scopes=None if scopes is None else sorted(scopes),
        )


@api.get("/me", summary="Who am I", responses={200: Profile})
@allows(*Scope)
def who_am_i() -> Response:
    """The person who asks, and what the token that asks may do."""
    return reply(_profile())


@api.patch("/me", summary="Change one's profile", responses={200: Profile})
@allows(Scope.ACCOUNT)
@raises(412)
def change_profile(header: IfMatch, body: ProfileChange) -> Response:
    """Name, address, language, time zone; nothing else of oneself."""
    del header
    check_unchanged(_profile())
    values = body.model_dump(exclude_unset=True, exclude_none=True)
    with context().database.write() as session:
        user = session.get_one(User, current_user().id)
        before = {name: getattr(user, name) for name in values}
        for name, value in values.items():
            setattr(user, name, value)
        record(session, "user.change-profile", services.subject_of(user), before=before, after=values)
    return reply(_profile())


@api.post("/me/password", summary="Change one's password", responses={204: None})
@allows(Scope.ACCOUNT)
@raises(429)
def change_password(body: PasswordChange) -> Response:
    """All sign-ins in browsers end; API tokens stay. Throttled like signing in."""
    address = request.remote_addr or ""
    services.change_password(context(), current_user().name, body.current, body.new, address)
    return nothing()


@api.get("/me/sessions", summary="List one's sign-ins", responses={200: SessionList})
@allows(Scope.ACCOUNT)
def list_sessions(query: Page) -> Response:
    """In which browsers one is signed in."""
    current = current_caller().session
    with context().database.read() as session:
        found = query.cut(services.list_sessions(session, current_user()))
    views = [session_view(item, current) for item in found[: query.limit]]
    return reply_page(SessionList(sessions=views), query, more=len(found) > query.limit)


@api.delete("/me/sessions", summary="Sign out everywhere", responses={204: None})
@allows(Scope.ACCOUNT)
def end_sessions() -> Response:
    """Every browser is signed out, this one too."""
    with context().database.write() as session:
        services.end_sessions(session, current_user())
        record(session, "user.end-sessions", services.subject_of(current_user()))
    return nothing()


@api.delete("/me/sessions/<session>", summary="End a sign-in", responses={204: None})
@allows(Scope.ACCOUNT)
def end_session(path: SessionPath) -> Response:
    """That browser is signed out."""
    with context().database.write() as session:
        services.revoke_session(session, current_user(), path.session)
    return nothing()


@api.get("/me/tokens", summary="List one's API tokens", responses={200: TokenList})
@allows(Scope.ACCOUNT)
def list_tokens(query: Page) -> Response:
    """Without their secrets."""
    with context().database.read() as session:
        found = query.cut(services.list_tokens(session, current_user()))
    views = [token_view(item) for item in found[: query.limit]]
    return reply_page(TokenList(tokens=views), query, more=len(found) > query.limit)


@api.post("/me/tokens", summary="Make an API token", responses={201: IssuedToken})
@allows(Scope.ACCOUNT)
def make_token(body: NewToken) -> Response:
    """It may do what its owner may, within its scopes. A token makes none that may do more, or holds longer."""
    caller = current_caller()
    scopes = services.narrowed(body.scopes, caller.scopes)
    ttl_s = services.shortened(body.ttl_s, caller.expires_at)
    with context().database.write() as session:
        token = services.issue_api_token(session, current_user(), body.name, ttl_s, scopes)
    return reply(IssuedToken(token=token), 201)


@api.delete("/me/tokens/<token>", summary="Revoke an API token", responses={204: None})
@allows(Scope.ACCOUNT)
def revoke_token(path: TokenPath) -> Response:
    """From now on it opens nothing."""
    with context().database.write() as session:
        services.revoke_token(session, current_user(), path.token)
    return nothing()


@api.post("/tokens", summary="Sign in for an API token", responses={201: IssuedToken})
@public
@raises(401, 403, 429)
def sign_in_for_token(body: SignIn) -> Response:
    """Throttled like signing in on the page. A token does not stand in for the password here."""
    user = services.authenticate(context(), body.user, body.password, request.remote_addr or "")
    with context().database.write() as session:
        token = services.issue_api_token(session, user, body.name, body.ttl_s, body.scopes)
    return reply(IssuedToken(token=token), 201)


@api.post("/sign-up", summary="Sign up", responses={201: UserView})
@public
@raises(403, 429)
def sign_up(body: SignUp) -> Response:
    """Make an account for oneself; it may have to be approved first. 403 where nobody may."""
    user = signing_up.sign_up(context(), address=request.remote_addr or "", **body.model_dump())
    with context().database.read() as session:
        return reply(user_view(session.get_one(User, user.id)), 201)
