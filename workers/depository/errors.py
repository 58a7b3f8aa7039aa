"""Errors of this part, and the error codes of the OCI distribution specification ("Error Codes")."""

from __future__ import annotations

from collections.abc import Iterable

from common.errors import OpenRaaSError, Unavailable


class RegistryError(OpenRaaSError):
    """An answer in the form of the distribution specification: a status, a code and a message."""

    def __init__(
        self, status: int, code: str, message: str, *, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.http_status = status
        self.code = code
        self.headers = headers or {}

    def as_json(self) -> dict[str, object]:
        """The body of the answer."""
        return {"errors": [{"code": self.code, "message": str(self), "detail": None}]}


class TransferError(OpenRaaSError):
    """An image could not be fetched."""

    usual_remedy = "See that the boxes with its layers are up (openraas box list), or push the image again."


class NoSource(TransferError, Unavailable):
    """Every depository of the image was tried and none is left."""

    def __init__(self, image: str, tried: Iterable[tuple[str, str]]) -> None:
        said = "; ".join(f"{box}: {why}" for box, why in sorted(tried)) or "it has none"
        super().__init__(
            f"no-source: image {image} could not be fetched from its depositories ({said}).",
            remedy="See that one of these boxes is up and reachable, or push the image again.",
        )


class Cancelled(TransferError):
    """Nobody wants this transfer any more."""

    http_status = 409


class SourceError(OpenRaaSError):
    """A depository did not give what it was asked for."""


class SourceLacks(SourceError):
    """It does not hold this blob."""


class SourceSilent(SourceError):
    """It sent nothing for longer than the limit."""


class SourceRefused(SourceError):
    """It does not accept the ticket, or answers something that no depository answers."""


class Abandoned(SourceError):
    """The range is not wanted any more: it came from elsewhere, or the transfer ended."""
