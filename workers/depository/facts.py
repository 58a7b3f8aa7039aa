"""What is known of a transfer: the answer to compute, and a row of the box's table."""

from __future__ import annotations

from pydantic import Field

from common.words import Frozen


class TransferFacts(Frozen):
    """How the transfer of one image stands, or ended."""

    state: str = Field(description="running, done, failed, cancelled, or unknown: nothing was asked for.")
    size_bytes: int = Field(0, ge=0, description="Verified bytes that came over the network.")
    sources: dict[str, int] = Field(default_factory=dict, description="The same by depository.")
    banned: list[str] = Field(default_factory=list, description="Depositories that sent bad bytes.")
    took_s: float = Field(0.0, ge=0)
    error: str = ""
