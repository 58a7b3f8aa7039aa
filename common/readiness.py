"""When an instance counts as running."""

from __future__ import annotations

from pydantic import Field

from common.units import Duration
from common.words import Frozen


class Readiness(Frozen):
    """When an instance counts as running: its port answers by HTTP (any status below 500) or by TCP."""

    http: str | None = Field(
        None, pattern=r"^/", description="Path that is asked; none: a TCP connection is enough."
    )
    interval_s: Duration = Field(
        0.01, ge=0.001, description="Pause between two attempts; grows to ten times this."
    )
    timeout_s: Duration = Field(60.0, gt=0, description="Not ready after this: the instance has failed.")
