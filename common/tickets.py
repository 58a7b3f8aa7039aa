"""Tickets: short-lived capabilities that the master signs and a box checks without asking anybody.

A ticket is a signed token (`common.signing`) for the purpose `ticket` whose payload is one of the models
below as JSON. Checking one that was seen before costs a dictionary look-up.
"""

from __future__ import annotations

import time
from collections.abc import Container
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from common.errors import Unauthorized
from common.signing import Signer, Verifier
from common.words import BoxId, Digest, FilesetId, Frozen, InstanceId, RepositoryName, SessionMode

PURPOSE = "ticket"
T = TypeVar("T", bound="_Ticket")


class BadTicket(Unauthorized):
    """A ticket that does not open this."""


class _Ticket(Frozen):
    # What a person does when it has expired.
    renewal: ClassVar[str] = "Do again what it was made for; that makes a new one."

    expires_at: float = Field(description="Unix time after which it opens nothing.")

    @property
    def held_by(self) -> str | None:
        """The box that it was given to; none: a person."""
        return None


class OpenTicket(_Ticket):
    """Opens one instance in the browser, once."""

    renewal: ClassVar[str] = "Open the application from the portal again."

    kind: Literal["open"] = "open"
    instance: InstanceId
    generation: int
    user: str
    once: str = Field(description="A random word by which the gateway knows that it was used.")
    session_until: float = Field(description="When the browser's session on the instance ends.")
    mode: SessionMode = SessionMode.CONTROL
    also: frozenset[str] = Field(
        frozenset(), description="Ways of access that it opens beside the instance's own."
    )
    begin: str | None = Field(
        None, description="The way at which the browser begins; none: the instance's own."
    )
    name: str = Field("", description="Whom the others in the session see.")
    share: str | None = Field(None, description="The invitation by which a guest came; none: the owner.")


class LayerTicket(_Ticket):
    """Lets one box read these blobs from any depository."""

    kind: Literal["layers"] = "layers"
    box: BoxId
    blobs: frozenset[Digest]

    @property
    def held_by(self) -> str:
        return self.box


class RepositoryTicket(_Ticket):
    """The token of the distribution token protocol: what a client may do with which repositories."""

    kind: Literal["repository"] = "repository"
    user: str
    box: BoxId | None = Field(None, description="The depository it is for; none: any.")
    actions: dict[RepositoryName, frozenset[Literal["pull", "push", "delete"]]]
    catalogue: bool = Field(False, description="Whether it may list the repositories.")


class FilesetTicket(_Ticket):
    """Lets a person put or get the content of one fileset on one box."""

    kind: Literal["fileset"] = "fileset"
    user: str = Field(description="Who it was given to; `box.<id>` is a box.")
    box: BoxId = Field(description="The filestore that it opens.")
    fileset: FilesetId
    version: int
    action: Literal["put", "get"]
    size_limit_bytes: int

    @property
    def held_by(self) -> str | None:
        kind, _, box = self.user.partition(".")
        return box if kind == "box" and box else None


class FilesTicket(_Ticket):
    """Lets its holder use the files of one home, or of a part of it, on the one box that writes it."""

    renewal: ClassVar[str] = "Open your files on the portal again."

    kind: Literal["files"] = "files"
    user: str
    box: BoxId
    fileset: FilesetId
    size_limit_bytes: int
    root: str = Field(
        "", max_length=12_300, description="Below which path, percent-encoded; empty: all of it."
    )
    may: frozenset[Literal["read", "write", "add"]] = Field(
        description="write: change and remove; add: put new files and replace none."
    )
    portal: str = Field("", max_length=400, description="The page on which a plain form of files ends.")
    where: str = Field(
        "", max_length=400, description="The home's address, for clients that asked another box."
    )


class LogsTicket(_Ticket):
    """Lets its holder read what one instance prints and uses, until it expires."""

    kind: Literal["logs"] = "logs"
    instance: InstanceId
    generation: int
    user: str


class PeopleTicket(_Ticket):
    """Lets its holder read who is in the sessions of one instance."""

    kind: Literal["people"] = "people"
    instance: InstanceId
    generation: int
    user: str


class PictureTicket(_Ticket):
    """Lets its holder see small pictures of what one instance's screen shows, until it expires."""

    renewal: ClassVar[str] = "Load the page with the pictures again."

    kind: Literal["picture"] = "picture"
    instance: InstanceId
    generation: int
    user: str


AnyTicket = (
    OpenTicket
    | LayerTicket
    | RepositoryTicket
    | FilesetTicket
    | FilesTicket
    | LogsTicket
    | PeopleTicket
    | PictureTicket
)
Ticket = Annotated[AnyTicket, Field(discriminator="kind")]
_ADAPTER: TypeAdapter[AnyTicket] = TypeAdapter(Ticket)


def issue(signer: Signer, ticket: AnyTicket) -> str:
    """The ticket as a token that may travel in a URL or a header."""
    return signer.sign(PURPOSE, ticket.model_dump_json().encode())


class TicketChecker:
    """Checks tickets against the master's public key, remembering up to `remember` good ones.

    Boxes in `shut_out` get nothing for theirs.
    """

    def __init__(
        self, verifier: Verifier, shut_out: Container[str] = frozenset(), *, remember: int = 4096
    ) -> None:
        self._verifier = verifier
        self._shut_out = shut_out
        self._remember = remember
        self._good: dict[str, AnyTicket] = {}

    def check(self, token: str, kind: type[T]) -> T:
        """The ticket in `token`; raises BadTicket if it is forged, expired or of another kind."""
        ticket = self._good.get(token)
        if ticket is None:
            try:
                ticket = _ADAPTER.validate_json(self._verifier.verify(PURPOSE, token))
            except (Unauthorized, ValidationError) as error:
                raise BadTicket("This ticket was not issued by the master.", remedy=kind.renewal) from error
            if len(self._good) >= self._remember:
                self._good.pop(next(iter(self._good)), None)
            self._good[token] = ticket
        if ticket.expires_at < time.time():
            raise BadTicket("This ticket has expired.", remedy=ticket.renewal)
        if ticket.held_by is not None and ticket.held_by in self._shut_out:
            raise BadTicket("The box that this ticket was given to is shut out.", remedy="Join it anew.")
        if not isinstance(ticket, kind):
            raise BadTicket(f"A ticket for {ticket.kind} does not open this.", remedy=kind.renewal)
        return ticket
