"""Which layers a box may drop: a list that the master signs for one box, read before anything is evicted.

A box does not know who else holds a blob, so it never decides by itself that a copy is one too many. What is not
on its list stays: the last copies, and what the master has not heard of yet.
"""

from __future__ import annotations

from pydantic import ValidationError

from common.errors import Unauthorized
from common.signing import Signer, Verifier
from common.words import Digest, Frozen

PURPOSE = "spare"


class SpareList(Frozen):
    """Blobs that enough other boxes keep, or that no image needs."""

    blobs: frozenset[Digest]


def sign_spares(signer: Signer, box: str, blobs: frozenset[str]) -> str:
    """The list as a token that only `box` takes."""
    return signer.sign(f"{PURPOSE}:{box}", SpareList(blobs=blobs).model_dump_json().encode())


def read_spares(verifier: Verifier, box: str, token: str) -> frozenset[str]:
    """The blobs in a token; raises Unauthorized if the master did not sign it for this box."""
    try:
        return SpareList.model_validate_json(verifier.verify(f"{PURPOSE}:{box}", token)).blobs
    except ValidationError as error:
        raise Unauthorized(f"A signed list of spare layers has an unknown form ({error}).") from error
