"""Copies that the master wants here: versions of filesets, and homes that are written elsewhere.

The copy of a home is an image of its own, `copy.img`: made beside the last one and put in its place by one rename,
so that there is always a whole one. It becomes the home by another rename when the master says that it no longer
follows; before that nobody can be let into it.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from common.errors import OpenRaaSError, Unavailable
from common.logs import get_logger
from common.reports import Failed, FilesetHeld
from common.wishes import FilesetWish
from common.words import MOST, Role
from workers.box.jobs import Lane
from workers.box.lent_space import FILESETS, LentSpace
from workers.box.role import BoxContext
from workers.box.room import NoRoom, Room
from workers.filestore import archive, fetching, programs
from workers.filestore.errors import TooLarge
from workers.filestore.fetching import Unwanted
from workers.filestore.volumes import Volumes

log = get_logger(__name__)

# A copy that failed is not tried again at once; a fact that was reported may have been lost.
RETRY_S = 15.0
REPEAT_S = 60.0
# So that launches on this box always find a thread for their own fetches.
MOST_COPIES = 1
# A home that changed while it was read is read again at once, so often in all and up to this size; then its writer
# goes on writing, and the copy is right again with a later round.
MOST_READS = 3
MOST_READ_AGAIN_BYTES = 256 * 2**20
_SCHEMA = """CREATE TABLE IF NOT EXISTS followed_homes (
    fileset TEXT PRIMARY KEY, as_of REAL NOT NULL, mark TEXT NOT NULL,
    size_bytes INTEGER NOT NULL, files INTEGER NOT NULL, settled INTEGER NOT NULL)"""


@dataclass(frozen=True)
class Followed:
    """The copy of a home: as of when it is, what the writer's content was marked with, how large it is.

    `settled`: the home was the same after it was read as before, so that the copy is the home of one moment.
    """

    fileset: str
    as_of: float
    mark: str
    size_bytes: int
    files: int
    settled: bool


class Copies:
    """Fetches in the long lane, one job per fileset."""

    def __init__(self, context: BoxContext, volumes: Volumes) -> None:
        self._context = context
        self._volumes = volumes
        self._points = context.paths.exports / "copies"
        self._space = LentSpace(context.config, context.table)
        self._room = Room(context.config, context.paths, context.table)
        self._retry_at: dict[str, float] = {}
        self._told_at: dict[str, float] = {}
        self._busy: set[str] = set()
        context.table.create(_SCHEMA)

    def recover(self) -> None:
        """Remove what a copy left that was under way when this box went down."""
        for point in self._points.glob("*"):
            if point.is_mount():
                programs.run(["umount", "--no-canonicalize", str(point)])
            point.rmdir()
        self._volumes.sweep_copies()

    def converge(self, wish: FilesetWish) -> None:
        """Make what the wish says and this box has not; returns at once."""
        if not wish.follows:
            if self._volumes.promote_copy(wish.fileset):
                log.info("home opens from its copy", fileset=wish.fileset)
                self.forget(wish.fileset)
            if wish.source is not None and not self._volumes.has(wish.fileset, wish.fileset_version):
                self._submit(wish, self._fetch)
            return
        known = self.followed(wish.fileset)
        if known is not None:
            self._repeat(wish, known)
        if wish.source is not None and (known is None or time.time() - known.as_of >= wish.every_s):
            self._submit(wish, self._follow)

    def followed(self, fileset: str) -> Followed | None:
        """The copy of a home that lies here."""
        row = self._context.table.one("SELECT * FROM followed_homes WHERE fileset = ?", (fileset,))
        return Followed(**{**dict(row), "settled": bool(row["settled"])}) if row else None

    def forget(self, fileset: str) -> None:
        """The fileset was removed here."""
        self._context.table.write("DELETE FROM followed_homes WHERE fileset = ?", (fileset,))

    def _is_unwanted(self, wish: FilesetWish) -> bool:
        """Whether the master wants something else; a copy that is asked for again is still wanted."""
        now = self._context.wishes.current(Role.FILESTORE, wish.subject)
        return (
            not isinstance(now, FilesetWish)
            or (now.wanted, now.follows) != (wish.wanted, wish.follows)
            or now.fileset_version != wish.fileset_version
        )

    def _submit(self, wish: FilesetWish, work: Callable[[FilesetWish], None]) -> None:
        waits = self._retry_at.get(wish.fileset, 0.0) > time.monotonic()
        if waits or wish.fileset in self._busy or len(self._busy) >= MOST_COPIES:
            return
        self._busy.add(wish.fileset)
        if not self._context.jobs.submit(Lane.LONG, ("copy", wish.fileset), lambda: self._run(wish, work)):
            self._busy.discard(wish.fileset)

    def _run(self, wish: FilesetWish, work: Callable[[FilesetWish], None]) -> None:
        try:
            if not self._is_unwanted(wish):
                self._try(wish, work)
        finally:
            self._busy.discard(wish.fileset)

    def _try(self, wish: FilesetWish, work: Callable[[FilesetWish], None]) -> None:
        """A copy that does not come is no disaster: it is said, and tried again."""
        self._retry_at[wish.fileset] = time.monotonic() + RETRY_S
        try:
            work(wish)
        except Unwanted:
            log.info("copy given up", fileset=wish.fileset)
        except OpenRaaSError as error:
            log.warning("fileset not copied", fileset=wish.fileset, error=str(error))
            reason = "no-room" if isinstance(error, NoRoom | TooLarge) else "no-source"
            self._context.reporter.send(
                Failed(
                    subject=wish.subject, generation=wish.generation, reason=reason, message=str(error)[:1000]
                )
            )

    @contextmanager
    def _reading(self, wish: FilesetWish, mark: str = "") -> Iterator[fetching.Content]:
        if wish.source is None:
            raise Unavailable(
                f"No box that is up can give the fileset {wish.fileset}.", remedy=fetching.AGAIN
            )
        config = self._context.config
        with fetching.reading(
            wish.source,
            wish.fileset,
            wish.fileset_version,
            mark=mark,
            authority=self._context.paths.authority,
            rate_bps=config.replicate_bps,
            timeout_s=config.source_timeout_s,
            unwanted=lambda: self._is_unwanted(wish),
        ) as content:
            yield content

    @contextmanager
    def _growing(self) -> Iterator[Callable[[int], None]]:
        """Room for a copy; once it is here it counts among the filesets."""
        with self._room.growing(f"copy-{secrets.token_hex(6)}") as room:
            yield room.reach
            self._space.measure(FILESETS, self._volumes.used_bytes)

    def _fetch(self, wish: FilesetWish) -> None:
        """A version of a fileset, beside the others; it appears whole or not at all."""
        began = time.monotonic()
        with (
            self._reading(wish) as content,
            self._growing() as reach,
            self._volumes.preparing(wish.fileset) as (path, handle),
        ):
            if content.pieces is None:
                raise Unavailable("The source said that nothing has changed, and nothing is here.")
            uid = self._volumes.uid(wish.fileset)
            unpacked = archive.unpack(content.pieces, handle, uid=uid, limit_bytes=MOST, reach=reach)
            if self._is_unwanted(wish):
                raise Unwanted("This copy is not wanted any more.")
            self._volumes.add(
                wish.fileset,
                wish.fileset_version,
                path,
                size_bytes=unpacked.size_bytes,
                files=unpacked.files,
            )
        log.info(
            "fileset copied",
            fileset=wish.fileset,
            version=wish.fileset_version,
            source=wish.source.box if wish.source else None,
            size=unpacked.size_bytes,
            took_s=round(time.monotonic() - began, 3),
        )

    def _follow(self, wish: FilesetWish) -> None:
        """A home as it is now at its writer; nothing is sent if it is as it was.

        The writer is never stopped for it. What it marked before it read the files tells afterwards whether
        anything changed meanwhile; then it is read again.
        """
        now = self._read_home(wish, self.followed(wish.fileset))
        reads = 1
        while not now.settled and now.size_bytes <= MOST_READ_AGAIN_BYTES and reads <= MOST_READS:
            now = self._read_home(wish, now, last=reads == MOST_READS)
            reads += 1
        self._retry_at.pop(wish.fileset, None)
        self._tell(wish, now)

    def _read_home(self, wish: FilesetWish, known: Followed | None, *, last: bool = False) -> Followed:
        """Read it if it changed; with `last` only see whether it did."""
        as_of = time.time()
        with self._reading(wish, known.mark if known else "") as content:
            if content.pieces is None and known is not None:
                now = replace(known, as_of=as_of, settled=True)
            elif content.pieces is None:
                raise Unavailable("The source said that nothing has changed, and nothing is here.")
            elif last and known is not None:
                now = known
            else:
                size_bytes, files = self._unpack_home(wish, content.pieces)
                now = Followed(wish.fileset, as_of, content.mark, size_bytes, files, settled=False)
        self._context.table.write(
            "INSERT OR REPLACE INTO followed_homes VALUES (?, ?, ?, ?, ?, ?)",
            (now.fileset, now.as_of, now.mark, now.size_bytes, now.files, now.settled),
        )
        return now

    def _unpack_home(self, wish: FilesetWish, pieces: Iterator[bytes]) -> tuple[int, int]:
        limit = wish.size_limit_bytes or 0
        point = self._points / f"{wish.fileset}-{secrets.token_hex(4)}"
        with self._growing() as reach, self._volumes.new_copy(wish.fileset, limit, point) as data:
            handle = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
            try:
                uid = self._volumes.uid(wish.fileset)
                unpacked = archive.unpack(pieces, handle, uid=uid, limit_bytes=limit, reach=reach)
            finally:
                os.close(handle)
            if self._is_unwanted(wish):
                raise Unwanted("This copy is not wanted any more.")
        return unpacked.size_bytes, unpacked.files

    def _repeat(self, wish: FilesetWish, known: Followed) -> None:
        if time.monotonic() - self._told_at.get(wish.fileset, float("-inf")) >= REPEAT_S:
            self._tell(wish, known)

    def _tell(self, wish: FilesetWish, known: Followed) -> None:
        self._told_at[wish.fileset] = time.monotonic()
        self._context.reporter.send(
            FilesetHeld(
                subject=wish.subject,
                generation=wish.generation,
                fileset=wish.fileset,
                fileset_version=wish.fileset_version,
                size_bytes=known.size_bytes,
                files=known.files,
                as_of=known.as_of,
                settled=known.settled,
            )
        )
