"""What can go wrong with an experiment."""

from __future__ import annotations

from common.errors import OpenRaaSError


class ExperimentError(OpenRaaSError):
    """The lab did not do what the experiment needs."""
