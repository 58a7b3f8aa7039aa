"""What a box tells of the transfers that run on it now: `transfers:<box>` in Redis, with a time to live.

It is for people to look at and decides nothing. It is bounded, whatever runs: what is left out is counted.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from common.words import MOST, BoxId, Digest, Frozen

# A record lives so long; boxes write it anew every second while something runs.
TRANSFERS_TTL_S = 10
MOST_TRANSFERS = 20
MOST_SOURCES = 16
# What a box says is printed on terminals: no character that would steer one.
_PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*$"


class SourceShare(Frozen):
    """One source of a transfer."""

    box: BoxId
    state: Literal["giving", "left", "banned"] = Field(
        description="left: it went away and is asked again later; banned: it sent bad bytes."
    )
    fetching: bool = Field(False, description="It is fetching the image too.")
    size_bytes: int = Field(ge=0, le=MOST, description="Verified bytes that came from it.")
    rate_bps: int = Field(ge=0, le=MOST, description="Over the last few seconds.")
    detail: str = Field("", max_length=200, pattern=_PRINTABLE, description="Why it was left.")


class Transfer(Frozen):
    """One image on its way to a box."""

    image: str = Field(max_length=400, pattern=_PRINTABLE)
    manifest: Digest
    began_at: float
    size_bytes: int = Field(ge=0, le=MOST, description="All of the image.")
    done_bytes: int = Field(ge=0, le=MOST, description="What of it is there, fetched now or before.")
    rate_bps: int = Field(ge=0, le=MOST, description="From all sources together.")
    sources: list[SourceShare] = Field(max_length=MOST_SOURCES)


class BoxTransfers(Frozen):
    """The transfers of one box, those that began first first."""

    box: BoxId
    at: float
    transfers: list[Transfer] = Field(max_length=MOST_TRANSFERS)
    more: int = Field(0, ge=0, le=MOST, description="How many were left out.")
