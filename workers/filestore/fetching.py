"""Reads the content of a fileset from another filestore's front, at the rate that the owner of this box lends."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from common.errors import Unavailable
from common.tls import connect_box
from common.wishes import FilesetSource

PIECE_BYTES = 128 * 1024
NOT_MODIFIED = 304
AGAIN = "It is tried again by itself; see which boxes are up: openraas box list."


class Pace:
    """Lets bytes through at a rate; what was not used for up to a second may be caught up."""

    def __init__(
        self,
        rate_bps: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._seconds_per_byte = 8 / rate_bps
        self._clock, self._sleep = clock, sleep
        self._due_at = clock()

    def took(self, size_bytes: int) -> None:
        """So many bytes came: wait until more may come."""
        now = self._clock()
        self._due_at = max(self._due_at, now - 1.0) + size_bytes * self._seconds_per_byte
        if self._due_at > now:
            self._sleep(self._due_at - now)


@dataclass(frozen=True)
class Content:
    """What a source sends. `pieces` is none if it is still what `mark` named before."""

    mark: str
    pieces: Iterator[bytes] | None


@contextmanager
def reading(
    source: FilesetSource,
    fileset: str,
    version: int,
    *,
    mark: str,
    authority: Path,
    rate_bps: int,
    timeout_s: float,
    unwanted: Callable[[], bool],
) -> Iterator[Content]:
    """The content of a version as a tar stream, unless it is what an earlier reading marked as `mark`.

    Raises Unavailable if the source does not give it, or sends nothing for `timeout_s`; while the pieces are
    read also ConnectionError, http.client.HTTPException and Unwanted.
    """
    line = connect_box(source.endpoint, source.box, authorities=authority, timeout_s=timeout_s)
    headers = {"Authorization": f"Bearer {source.ticket}"} | ({"If-None-Match": mark} if mark else {})
    try:
        line.request("GET", f"/filesets/{fileset}/{version}", headers=headers)
        answer = line.getresponse()
        if answer.status not in (200, NOT_MODIFIED):
            raise Unavailable(
                f"Box {source.box} answered {answer.status} when asked for the fileset {fileset}.",
                remedy=AGAIN,
            )
        unchanged = answer.status == NOT_MODIFIED
        pieces = None if unchanged else _pieces(answer, Pace(rate_bps), unwanted)
        yield Content(answer.getheader("ETag", mark if unchanged else ""), pieces)
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(
            f"The fileset {fileset} could not be read from box {source.box}: {error}.", remedy=AGAIN
        ) from error
    finally:
        line.close()


class Unwanted(Unavailable):
    """The master does not want this copy any more."""


def _pieces(answer: http.client.HTTPResponse, pace: Pace, unwanted: Callable[[], bool]) -> Iterator[bytes]:
    asked_at = time.monotonic()
    while piece := answer.read(PIECE_BYTES):
        yield piece
        pace.took(len(piece))
        if time.monotonic() - asked_at > 1.0:
            asked_at = time.monotonic()
            if unwanted():
                raise Unwanted("This copy is not wanted any more.")
