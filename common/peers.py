"""To which boxes a box measures round trips: a short list that the master signs for it.

Boxes do not choose their peers. The master pairs them, some near and some anywhere, so that each of a pair measures
the other and neither can pick its own witnesses.
"""

from __future__ import annotations

from pydantic import Field, ValidationError

from common.errors import Unauthorized
from common.signing import Signer, Verifier
from common.vivaldi import MOST_ERROR
from common.words import BoxId, Coordinate, Endpoint, Frozen

PURPOSE = "peers"
MOST_PEERS = 8


class Peer(Frozen):
    """Another box: where its front answers, and where the master believes it to be."""

    box: BoxId
    front: Endpoint
    coordinate: Coordinate
    error: float = Field(ge=0, le=MOST_ERROR)


class PeerList(Frozen):
    """The peers of one box."""

    peers: list[Peer] = Field(max_length=MOST_PEERS)


def sign_peers(signer: Signer, box: str, peers: list[Peer]) -> str:
    """The list as a token that only `box` takes."""
    return signer.sign(f"{PURPOSE}:{box}", PeerList(peers=peers).model_dump_json().encode())


def read_peers(verifier: Verifier, box: str, token: str) -> list[Peer]:
    """The peers in a token; raises Unauthorized if the master did not sign it for this box."""
    try:
        return PeerList.model_validate_json(verifier.verify(f"{PURPOSE}:{box}", token)).peers
    except ValidationError as error:
        raise Unauthorized(f"A signed list of peers has an unknown form ({error}).") from error
