"""REST: the authority of this installation and its successor."""

from __future__ import annotations

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from common.words import Frozen
from master.accounts.guard import allows, requires
from master.accounts.models import Scope, UserRole
from master.boxes.authority import Authority
from master.trust import services
from master.trust.authorities import Authorities
from master.web.current import context, reply

api = APIBlueprint(
    "trust_api",
    __name__,
    url_prefix="/api/v1",
    abp_tags=[Tag(name="authority", description="Who signs the certificates of the master and of boxes.")],
)


class AuthorityFacts(BaseModel):
    """One authority."""

    fingerprint: str = Field(description="sha256 of its certificate, as in join tokens.")
    made_at: float


class CertificateFacts(BaseModel):
    """The certificate of one box."""

    box: str
    of_successor: bool
    expires_at: float


class AuthorityAnswer(BaseModel):
    """What is trusted, and how far its replacement is."""

    in_office: AuthorityFacts
    successor: AuthorityFacts | None = Field(description="None: it is not being replaced.")
    restart_needed: bool = Field(description="The master's own certificate is still of the one before.")
    certificates: list[CertificateFacts]


class RetireBody(Frozen):
    """How far to go."""

    force: bool = Field(False, description="Even if boxes have no certificate of the successor yet.")


@api.get("/authority", summary="Look at the authority", responses={200: AuthorityAnswer})
@requires(UserRole.OPERATOR)
@allows(Scope.READ, Scope.FLEET)
def show() -> Response:
    """Who signs, and what certificates boxes have."""
    with context().database.read() as session:
        return reply(_answer(session, Authorities.load(context().paths)))


@api.post("/authority/rotate", summary="Make a successor", responses={201: AuthorityAnswer})
@requires(UserRole.ADMINISTRATOR)
@allows(Scope.FLEET)
def rotate() -> Response:
    """Let a new authority sign boxes from now on, beside the one in office."""
    with context().database.write() as session:
        return reply(_answer(session, services.rotate(session, context().paths)), 201)


@api.post("/authority/retire", summary="Retire the authority in office", responses={200: AuthorityAnswer})
@requires(UserRole.ADMINISTRATOR)
@allows(Scope.FLEET)
def retire(body: RetireBody) -> Response:
    """Give its successor the office, once every box has a certificate of it; restart the master afterwards."""
    with context().database.write() as session:
        return reply(_answer(session, services.retire(session, context().paths, force=body.force)))


def _answer(session: Session, now_in_force: Authorities) -> AuthorityAnswer:
    return AuthorityAnswer(
        in_office=_facts(now_in_force.in_office),
        successor=None if now_in_force.successor is None else _facts(now_in_force.successor),
        restart_needed=context().paths.last_authority.exists(),
        certificates=[
            CertificateFacts(box=item.box, of_successor=item.is_of_successor, expires_at=item.expires_at)
            for item in services.holders(session, now_in_force)
        ],
    )


def _facts(authority: Authority) -> AuthorityFacts:
    return AuthorityFacts(fingerprint=authority.fingerprint, made_at=authority.made_at)
