"""`/filesets/<fileset>/<version>`: a person puts the content of a fileset, or gets it, as a tar stream."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from common.errors import BadInput, Forbidden, NotFound, OpenRaaSError
from common.logs import get_logger
from common.signing import Verifier
from common.tickets import BadTicket, FilesetTicket, TicketChecker
from common.words import LABEL
from workers.box.config import BoxConfig, BoxPaths
from workers.box.front import Exchange
from workers.box.lent_space import FILESETS, LentSpace
from workers.box.room import Room
from workers.box.shut_out import ShutOut
from workers.box.table import Table
from workers.filestore import archive
from workers.filestore.errors import AlreadyHeld
from workers.filestore.volumes import Volumes

log = get_logger(__name__)

_PATH = re.compile(rf"/filesets/({LABEL[1:-1]})/([1-9][0-9]{{0,8}})")
TAR = "application/x-tar"
ASK = "Use openraas fileset put or get, which ask the portal for the right one."


class Content:
    """The front's route for content. What was put appears whole or not at all."""

    prefix = "/filesets/"

    def __init__(self, config: BoxConfig, paths: BoxPaths, table: Table, verifier: Verifier) -> None:
        self._config = config
        self._volumes = Volumes(paths, table)
        self._space = LentSpace(config, table)
        self._room = Room(config, paths, table)
        self._tickets = TicketChecker(verifier, ShutOut(paths))

    def handle(self, exchange: Exchange) -> None:
        """PUT or GET with a FilesetTicket as bearer token."""
        match = _PATH.fullmatch(exchange.path)
        if match is None:
            raise NotFound("A fileset's content is at /filesets/FILESET/VERSION.", field="path")
        fileset, version = match[1], int(match[3])
        actions = {"PUT": "put", "GET": "get"}
        action = actions.get(exchange.method)
        if action is None:
            raise BadInput("Content is put with PUT and got with GET.", field="method")
        ticket = self._checked(exchange, fileset, version, action)
        if action == "put":
            self._put(exchange, ticket)
        else:
            self._get(exchange, ticket)

    def _checked(self, exchange: Exchange, fileset: str, version: int, action: str) -> FilesetTicket:
        kind, _, token = exchange.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token:
            raise BadTicket("This needs a ticket for the fileset as bearer token.", remedy=ASK)
        ticket = self._tickets.check(token.strip(), FilesetTicket)
        if ticket.box != self._config.box:
            raise Forbidden(
                f"This ticket is for the box {ticket.box}, and this is {self._config.box}.", remedy=ASK
            )
        if (ticket.fileset, ticket.version) != (fileset, version):
            raise Forbidden("This ticket is for another fileset or version.", remedy=ASK)
        if ticket.action != action:
            raise Forbidden(f"This ticket allows to {ticket.action}, not to {action}.", remedy=ASK)
        return ticket

    def _put(self, exchange: Exchange, ticket: FilesetTicket) -> None:
        top = self._volumes.directory(ticket.fileset)
        if (top / str(ticket.version)).exists() or self._volumes.is_home(ticket.fileset):
            raise AlreadyHeld(
                f"Version {ticket.version} of this fileset is here already.",
                remedy="Ask for a new version with: openraas fileset put.",
            )
        volumes, limit = self._volumes, ticket.size_limit_bytes
        with (
            self._room.growing(f"put-{secrets.token_hex(6)}") as room,
            volumes.preparing(ticket.fileset) as (path, handle),
        ):
            uid = volumes.uid(ticket.fileset)
            unpacked = archive.unpack(exchange.body(), handle, uid=uid, limit_bytes=limit, reach=room.reach)
            self._appear(path, ticket, unpacked)
            # Before the promise is taken back: from here on it counts among the filesets.
            self._space.measure(FILESETS, volumes.used_bytes)
        log.info("fileset put", fileset=ticket.fileset, version=ticket.version, size=unpacked.size_bytes)
        answer = {
            "fileset": ticket.fileset,
            "version": ticket.version,
            "size_bytes": unpacked.size_bytes,
            "files": unpacked.files,
        }
        exchange.answer_json(201, answer)

    def _appear(self, path: Path, ticket: FilesetTicket, unpacked: archive.Unpacked) -> None:
        try:
            self._volumes.add(
                ticket.fileset, ticket.version, path, size_bytes=unpacked.size_bytes, files=unpacked.files
            )
        except OSError as error:
            raise AlreadyHeld(
                "Somebody else put this version at the same time.",
                remedy="Put it again: that makes a new version.",
            ) from error

    def _get(self, exchange: Exchange, ticket: FilesetTicket) -> None:
        with self._volumes.reading(ticket.fileset, ticket.version) as tree:
            # Taken before the files are read: what changes meanwhile has another mark the next time.
            mark = f'"{archive.mark(tree)}"' if self._volumes.is_home(ticket.fileset) else ""
            if mark and exchange.headers.get("If-None-Match") == mark:
                exchange.answer(304, headers={"ETag": mark})
                return
            headers = {"Content-Type": TAR} | ({"ETag": mark} if mark else {})
            handle = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
            try:
                exchange.stream(200, archive.pack(handle), headers=headers)
            except OSError as error:
                if isinstance(error, ConnectionError | TimeoutError):
                    raise
                raise OpenRaaSError(
                    f"The fileset could not be read: {error.strerror}.",
                    remedy="Try again; if it goes on, look at the disk of this box.",
                ) from error
            finally:
                os.close(handle)
