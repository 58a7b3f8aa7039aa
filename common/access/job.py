"""`job`: nothing to open; output and exit code are kept."""

from __future__ import annotations

from typing import ClassVar, Literal

from common.access.way import Way


class Job(Way):
    """Runs to its end."""

    way: Literal["job"] = "job"
    title: ClassVar[str] = "Job"
    ends_by_itself: ClassVar[bool] = True
