"""Errors of the compute role."""

from __future__ import annotations

from common.errors import OpenRaaSError, Unavailable
from common.reports import Reason


class ComputeError(OpenRaaSError):
    """Something of a container's life did not work; `reason` is what the master is told."""

    reason: Reason = "engine"


class EngineError(ComputeError):
    """The container engine refused or failed."""

    usual_remedy = "The log of the container engine on that box says more."


class EngineUnavailable(Unavailable):
    """No container engine answers."""


class ImageMissing(EngineError):
    """The engine does not have the image."""

    reason: Reason = "bad-image"


class BadImage(EngineError):
    """The image is there, but no container can be made of it."""

    reason: Reason = "bad-image"
    usual_remedy = "Correct the image and push it again, or the command in the manifest."


class PullFailed(EngineError):
    """The engine could not get an image."""

    reason: Reason = "no-source"
    usual_remedy = "See that the boxes with its layers are up (openraas box list), or push the image again."


class PullCancelled(EngineError):
    """Nobody wants the image any more."""


class NetworkTaken(EngineError):
    """Another network of the engine uses these addresses already."""


class NoNetwork(EngineError):
    """No addresses are left for another network or another container."""

    usual_remedy = "Stop an instance there, or give the box a larger network_range."


class FirewallError(ComputeError):
    """The kernel's packet filter cannot be set."""
