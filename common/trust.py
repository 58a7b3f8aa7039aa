"""Whom boxes trust, as the master signs it: the authorities whose certificates hold, and who is shut out.

Boxes read the record every few seconds and keep it on the disk, so that it holds while the master is away.
"""

from __future__ import annotations

from pydantic import Field, ValidationError

from common.errors import Unauthorized
from common.signing import Signer, Verifier
from common.words import BoxId, Frozen

PURPOSE = "trust"
CERTIFICATE = "certificate"
# Tickets outlive the shutting out of a box by at most so long; after that it need not be named any more.
REMEMBERED_S = 7 * 86400.0
MOST_SHUT_OUT = 10_000
MOST_PEM = 20_000


class Trust(Frozen):
    """What holds from `at` (Unix time of the master) on."""

    at: float
    authorities: str = Field(
        max_length=MOST_PEM, description="PEM; any of them may have signed a certificate."
    )
    issuing: str = Field(max_length=MOST_PEM, description="PEM; the one that signs new certificates.")
    renew_from: float = Field(
        0.0, description="Unix time from which certificates of another one are renewed: all know it by then."
    )
    shut_out: frozenset[BoxId] = Field(
        frozenset(), max_length=MOST_SHUT_OUT, description="Boxes whose tickets open nothing any more."
    )


class Issued(Frozen):
    """A new certificate of one box."""

    certificate: str = Field(max_length=MOST_PEM)


def sign_trust(signer: Signer, trust: Trust) -> str:
    """The record as a token."""
    return signer.sign(PURPOSE, trust.model_dump_json().encode())


def read_trust(verifier: Verifier, token: str) -> Trust:
    """The record in a token; raises Unauthorized if the master did not sign it."""
    try:
        return Trust.model_validate_json(verifier.verify(PURPOSE, token))
    except ValidationError as error:
        raise Unauthorized(f"A signed record of trust has an unknown form ({error}).") from error


def sign_certificate(signer: Signer, box: str, certificate: str) -> str:
    """A new certificate as a token that only `box` takes."""
    return signer.sign(f"{CERTIFICATE}:{box}", Issued(certificate=certificate).model_dump_json().encode())


def read_certificate(verifier: Verifier, box: str, token: str) -> str:
    """The certificate in a token; raises Unauthorized if the master did not sign it for this box."""
    try:
        return Issued.model_validate_json(verifier.verify(f"{CERTIFICATE}:{box}", token)).certificate
    except ValidationError as error:
        raise Unauthorized(f"A signed certificate has an unknown form ({error}).") from error
