"""Errors of the compute role."""

from __future__ import annotations

from common.errors import OpenRaaSError, Unavailable
from common.reports import Reason


class ComputeError(OpenRaaSError):
    """Something of a container's life did not work; `reason` is what the master is told."""

    reason: Reason = "engine"


class EngineError(ComputeError):
    """The container engine refused or failed."""


class EngineUnavailable(Unavailable):
    """No container engine answers."""


class ImageMissing(EngineError):
    """The engine does not have the image."""

    reason: Reason = "bad-image"


class BadImage(EngineError):
    """The image is there, but no container can be made of it."""

    reason: Reason = "bad-image"


class PullFailed(EngineError):
    """The engine could not get an image."""

    reason: Reason = "no-source"


class PullCancelled(EngineError):
    """Nobody wants the image any more."""


class NetworkTaken(EngineError):
    """Another network of the engine uses these addresses already."""


class NoNetwork(EngineError):
    """No addresses are left for another network or another container."""


class FirewallError(ComputeError):
    """The kernel's packet filter cannot be set."""
