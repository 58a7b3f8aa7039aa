"""What a box and the master say to each other when the box joins (`POST /api/v1/boxes/join`)."""

from __future__ import annotations

from pydantic import Field

from common.words import BoxId, BoxKind, Endpoint, Frozen, Name, Role


class JoinRequest(Frozen):
    """A box presents its one-time token and the public halves of its keys."""

    secret: str = Field(min_length=16, max_length=200, description="The one-time token's secret part.")
    box: BoxId
    kind: BoxKind
    roles: frozenset[Role] = Field(min_length=1)
    open: bool
    fixed: bool
    address: str = Field(description="Where other boxes and browsers reach it.")
    owner: Name | None = Field(None, description="Whose box it is; none: who made the token.")
    certificate_request: str = Field(max_length=10_000, description="PKCS #10, PEM.")
    seal_key: str = Field(max_length=100, description="Public half of its SealKey.")


class JoinAnswer(Frozen):
    """What the box keeps as its identity."""

    box: BoxId
    certificate: str
    authority: str = Field(description="The internal CA's certificate, PEM.")
    master_key: str = Field(description="Public half of the master's Signer.")
    master: Endpoint
    redis_url: str = Field(description="With the box's own Redis user; kept 0600, never logged.")
    applications_domain: str


class JoinToken(Frozen):
    """`<sha256 of the CA certificate, hex>.<secret>`: the box checks the CA before it sends the secret."""

    fingerprint: str = Field(pattern=r"^[0-9a-f]{64}$")
    secret: str = Field(min_length=16)

    def __str__(self) -> str:
        return f"{self.fingerprint}.{self.secret}"

    @classmethod
    def parse(cls, text: str) -> JoinToken:
        """Raises ValueError for anything that is not a token."""
        fingerprint, _, secret = text.strip().partition(".")
        return cls(fingerprint=fingerprint, secret=secret)
