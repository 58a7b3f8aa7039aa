"""What an instance uses now: the same from every engine, sums since it began."""

from __future__ import annotations

from pydantic import Field

from common.words import Frozen


class InstanceUse(Frozen):
    """Rates are the difference of two of these, by the time between them."""

    at: float = Field(description="Unix time on the box.")
    cpu_s: float = Field(ge=0, description="Processor time since it began.")
    memory_bytes: int = Field(ge=0, description="Without what the kernel may drop at once.")
    memory_limit_bytes: int | None = Field(description="None: no limit.")
    received_bytes: int = Field(ge=0, description="Over its network since it began.")
    sent_bytes: int = Field(ge=0, description="Over its network since it began.")
