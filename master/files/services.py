"""Where a person's home is, the tickets that open it, and what the master asks there for pages and REST."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, urlencode

from common.errors import Unavailable
from common.tickets import FilesTicket, issue
from common.tls import connect_box
from common.words import Endpoint
from master.accounts.models import User
from master.boxes.asking import ask
from master.boxes.services import statuses_of
from master.context import MasterContext
from master.filesets import services as filesets
from master.filesets.models import Fileset, FilesetCopy

Right = Literal["read", "write", "add"]
EVERYTHING: frozenset[Right] = frozenset({"read", "write", "add"})
READING: frozenset[Right] = frozenset({"read"})
ASK_S = 20.0
TICKET_S = 3600.0
# What a box may still believe after a token was revoked while the master is away.
WEBDAV_TICKET_S = 900.0


@dataclass(frozen=True)
class Place:
    """The one box that writes a home."""

    fileset: str
    limit_bytes: int
    box: str
    front: Endpoint

    @property
    def url(self) -> str:
        """Where the home answers."""
        return f"{self.front.url}/files/{self.fileset}"

    @property
    def webdav_url(self) -> str:
        """The same for file managers."""
        return f"{self.front.url}/webdav/"


def place_of(context: MasterContext, user: User) -> Place:
    """Where the person's home lies; one that lies nowhere yet gets a filestore first. Raises Unavailable."""
    found = _known_place(context, user) or _new_place(context, user)
    status = statuses_of(context.redis, [found.box]).get(found.box)
    if status is None or status.front is None:
        raise Unavailable(
            f"Your files lie on box {found.box}, which is silent.",
            remedy="Try again when it is back; an operator sees how it is.",
        )
    return Place(found.fileset, found.limit_bytes, found.box, status.front)


@dataclass(frozen=True)
class _Written:
    """A home and the one filestore that writes it."""

    fileset: str
    limit_bytes: int
    box: str


def _known_place(context: MasterContext, user: User) -> _Written | None:
    """Where the home lies, if it does: nobody has to wait for a transaction that writes."""
    with context.database.read() as session:
        home = filesets.known_home(session, user)
        return _written(context, home) if home is not None else None


def _new_place(context: MasterContext, user: User) -> _Written:
    with context.database.write() as session:
        home = filesets.home_of(session, user, context.settings.home_limit_bytes)
        home = session.get_one(Fileset, home.id, with_for_update=True)
        if (found := _written(context, home)) is not None:
            return found  # another request was quicker
        box = filesets.roomiest(session, context.redis)
        home.copies.append(FilesetCopy(box_id=box, version=home.version))
        session.flush()
        return _Written(home.id, home.size_limit_bytes or context.settings.home_limit_bytes, box)


def _written(context: MasterContext, home: Fileset) -> _Written | None:
    """Never by a copy that follows."""
    boxes = [copy.box_id for copy in home.copies if not copy.follows and copy.wanted == filesets.HELD]
    limit = home.size_limit_bytes or context.settings.home_limit_bytes
    return _Written(home.id, limit, boxes[0]) if boxes else None


def ticket_for(
    context: MasterContext,
    place: Place,
    user: User,
    may: Collection[Right] = EVERYTHING,
    *,
    root: str = "",
    portal: str = "",
    expires_at: float | None = None,
    webdav: bool = False,
) -> str:
    """A ticket for a home, or for what lies below `root` (percent-encoded)."""
    life_s = WEBDAV_TICKET_S if webdav else TICKET_S
    end = time.time() + life_s
    return issue(
        context.signer,
        FilesTicket(
            expires_at=min(end, expires_at) if expires_at is not None else end,
            user=user.id,
            box=place.box,
            fileset=place.fileset,
            size_limit_bytes=place.limit_bytes,
            root=root,
            may=frozenset(may),
            portal=portal,
            where=place.webdav_url if webdav else "",
        ),
    )


@dataclass(frozen=True)
class Desk:
    """A home, or a part of it, as the master asks about it: names and sizes, never the content of large files."""

    context: MasterContext
    place: Place
    ticket: str

    def list(self, path: str, offset: int, limit: int) -> dict[str, Any]:
        """A part of a folder: `entries`, `total`, `cut`, and `file` where a single file was shared."""
        return self._json("GET", "list", path=path, offset=offset, limit=limit)

    def usage(self) -> dict[str, Any]:
        """`free_bytes`, `size_bytes`, and the `largest` files."""
        return self._json("GET", "usage")

    def head(self, path: str, limit_bytes: int) -> bytes:
        """The beginning of a file."""
        return self._ask("GET", "content", {"path": path}, limit_bytes=limit_bytes)

    def make_folder(self, path: str) -> None:
        """Make a folder."""
        self._ask("POST", "folder", {"path": path})

    def move(self, path: str, to: str) -> None:
        """Move or rename."""
        self._ask("POST", "move", {"path": path, "to": to})

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with all in it."""
        self._ask("POST", "remove", {"path": path})

    def link(self, verb: str, **query: str) -> str:
        """An address for the person's own browser, with the ticket in it."""
        return f"{self.place.url}/{verb}?{urlencode({**query, 'ticket': self.ticket})}"

    def _json(self, method: str, verb: str, **query: object) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._ask(method, verb, query))
        return found

    def _ask(
        self, method: str, verb: str, query: Mapping[str, object], *, limit_bytes: int | None = None
    ) -> bytes:
        connection = connect_box(
            self.place.front, self.place.box, authorities=self.context.paths.trusted, timeout_s=ASK_S
        )
        target = f"/files/{quote(self.place.fileset)}/{verb}?{urlencode(query)}"
        return ask(connection, method, target, self.ticket, limit_bytes=limit_bytes)


def desk_of(context: MasterContext, user: User, *, portal: str = "") -> Desk:
    """The person's own home, all of it."""
    place = place_of(context, user)
    return Desk(context, place, ticket_for(context, place, user, portal=portal))
