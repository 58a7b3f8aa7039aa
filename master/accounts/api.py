"""REST: oneself, API tokens and people."""

from __future__ import annotations

from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from common.words import Name
from master.accounts import services
from master.accounts.guard import current_user, public, requires
from master.accounts.models import ApiToken, User, UserRole
from master.web.current import context, nothing, reply

_ME = Tag(name="me", description="Oneself and one's API tokens.")
_USERS = Tag(name="users", description="People; for administrators.")
api = APIBlueprint("accounts_api", __name__, url_prefix="/api/v1")

MAXIMUM_TOKEN_S = 366 * 86400.0


class UserView(BaseModel):
    """A person."""

    id: str
    name: str
    role: UserRole
    active: bool
    created_at: float


class UserList(BaseModel):
    """Everybody, by name."""

    users: list[UserView]


class UserWithPassword(UserView):
    """A person with a generated password, which is shown this once."""

    password: str


class NewUser(BaseModel):
    """A person to be added."""

    name: Name
    role: UserRole = UserRole.USER


class UserChange(BaseModel):
    """What changes; what is left out stays."""

    role: UserRole | None = None
    active: bool | None = Field(None, description="False: may not sign in any more.")


class UserPath(BaseModel):
    """A person by name."""

    name: str


class PasswordChange(BaseModel):
    """Changing one's own password."""

    current: str = Field(max_length=services.MAXIMUM_PASSWORD)
    new: str = Field(max_length=services.MAXIMUM_PASSWORD)


class TokenView(BaseModel):
    """An API token without its secret."""

    id: str
    name: str
    created_at: float
    expires_at: float | None


class TokenList(BaseModel):
    """One's tokens, the newest first."""

    tokens: list[TokenView]


class NewToken(BaseModel):
    """A token to be made."""

    name: str = Field(min_length=1, max_length=64)
    ttl_s: float | None = Field(None, gt=0, le=MAXIMUM_TOKEN_S, description="None: until it is revoked.")


class SignIn(NewToken):
    """Name and password in exchange for a token: how a command line elsewhere signs in."""

    user: str = Field(max_length=64)
    password: str = Field(max_length=services.MAXIMUM_PASSWORD)


class IssuedToken(BaseModel):
    """A token, shown this once."""

    token: str


class TokenPath(BaseModel):
    """A token by id."""

    token: str


def _view(user: User) -> UserView:
    return UserView(
        id=user.id, name=user.name, role=UserRole(user.role), active=user.active, created_at=user.created_at
    )


def _token(token: ApiToken) -> TokenView:
    return TokenView(
        id=services.token_id_of(token),
        name=token.name,
        created_at=token.created_at,
        expires_at=token.expires_at,
    )


@api.get("/me", summary="Who am I", tags=[_ME], responses={200: UserView})
def who_am_i() -> Response:
    """The person who asks."""
    return reply(_view(current_user()))


@api.post("/me/password", summary="Change one's password", tags=[_ME], responses={204: None})
def change_password(body: PasswordChange) -> Response:
    """All sign-ins in browsers end; API tokens stay. Throttled like signing in."""
    address = request.remote_addr or ""
    services.change_password(context(), current_user().name, body.current, body.new, address)
    return nothing()


@api.get("/me/tokens", summary="List one's API tokens", tags=[_ME], responses={200: TokenList})
def list_tokens() -> Response:
    """Without their secrets."""
    with context().database.read() as session:
        return reply(TokenList(tokens=[_token(t) for t in services.list_tokens(session, current_user())]))


@api.post("/me/tokens", summary="Make an API token", tags=[_ME], responses={201: IssuedToken})
def make_token(body: NewToken) -> Response:
    """It may do what its owner may."""
    with context().database.write() as session:
        token = services.issue_api_token(session, current_user(), body.name, body.ttl_s)
    return reply(IssuedToken(token=token), 201)


@api.delete("/me/tokens/<token>", summary="Revoke an API token", tags=[_ME], responses={204: None})
def revoke_token(path: TokenPath) -> Response:
    """From now on it opens nothing."""
    with context().database.write() as session:
        services.revoke_token(session, current_user(), path.token)
    return nothing()


@api.post("/tokens", summary="Sign in for an API token", tags=[_ME], responses={201: IssuedToken})
@public
def sign_in_for_token(body: SignIn) -> Response:
    """Throttled like signing in on the page."""
    user = services.authenticate(context(), body.user, body.password, request.remote_addr or "")
    with context().database.write() as session:
        token = services.issue_api_token(session, user, body.name, body.ttl_s)
    return reply(IssuedToken(token=token), 201)


@api.get("/users", summary="List people", tags=[_USERS], responses={200: UserList})
@requires(UserRole.ADMINISTRATOR)
def list_users() -> Response:
    """Everybody, by name."""
    with context().database.read() as session:
        return reply(UserList(users=[_view(user) for user in services.list_users(session)]))


@api.post("/users", summary="Add a person", tags=[_USERS], responses={201: UserWithPassword})
@requires(UserRole.ADMINISTRATOR)
def add_user(body: NewUser) -> Response:
    """The generated password is shown this once."""
    with context().database.write() as session:
        user, password = services.create_user(session, body.name, body.role)
        answer = UserWithPassword(**_view(user).model_dump(), password=password)
    return reply(answer, 201)


@api.patch("/users/<name>", summary="Change a person", tags=[_USERS], responses={200: UserView})
@requires(UserRole.ADMINISTRATOR)
def change_user(path: UserPath, body: UserChange) -> Response:
    """Another role, or disabled: then every sign-in of this person ends."""
    with context().database.write() as session:
        user = services.find_user(session, path.name)
        services.change_user(session, user, role=body.role, active=body.active)
        return reply(_view(user))


@api.post("/users/<name>/reset", summary="Reset a password", tags=[_USERS], responses={200: UserWithPassword})
@requires(UserRole.ADMINISTRATOR)
def reset_password(path: UserPath) -> Response:
    """A new generated password, shown this once; all sign-ins and tokens of this person end."""
    with context().database.write() as session:
        user = services.find_user(session, path.name)
        password = services.reset_password(session, user)
        return reply(UserWithPassword(**_view(user).model_dump(), password=password))
