"""Whom the master has shut out, as the worker wrote it down; the front, which is to stay small, reads it here."""

from __future__ import annotations

from pathlib import Path

from common.logs import get_logger
from common.trust import Trust
from workers.box.config import BoxPaths

log = get_logger(__name__)


def kept_trust(paths: BoxPaths) -> Trust | None:
    """What the master said last, as the worker wrote it down."""
    try:
        return Trust.model_validate_json(paths.trust.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        log.warning("record of trust is read anew", error=str(error))
        return None


class ShutOut:
    """Whose tickets open nothing here any more; for the front, which reads what the worker wrote."""

    def __init__(self, paths: BoxPaths) -> None:
        self._paths = paths
        self._written_ns = -1
        self._boxes: frozenset[str] = frozenset()

    def __contains__(self, box: object) -> bool:
        """Whether the box was shut out; one look at the file's time for each question."""
        written_ns = _written_ns(self._paths.trust)
        if written_ns != self._written_ns:
            # What cannot be read shuts nobody in again.
            if (trust := kept_trust(self._paths)) is not None:
                self._boxes = trust.shut_out
            self._written_ns = written_ns
        return box in self._boxes


def _written_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
