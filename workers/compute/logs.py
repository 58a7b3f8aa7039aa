"""What containers print, as the worker reads it: kept in a file before they are gone, told when they fail.

People read it by way of the front process (`workers.compute.log_route`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from common.output import MOST_LINES
from workers.compute.engine import Engine
from workers.compute.log_files import keep, log_path

# How much of the output stands in the report of a failure.
SHOWN_LINES = 5
SHOWN_CHARACTERS = 600


class LogKeeper:
    """Keeps output under `logs/instances`."""

    def __init__(self, directory: Path, engine: Engine) -> None:
        self._directory = directory
        self._engine = engine

    def save(self, instance: str, generation: int, container: str) -> None:
        """Keep the last of the output; a container that is not there leaves what was kept before."""
        output = self._engine.logs(container, lines=MOST_LINES)
        path = log_path(self._directory, instance, generation)
        # An empty file says that it ran and printed nothing.
        if output or not path.exists():
            keep(path, output)

    def last_words(self, container: str, *, hide: Iterable[str]) -> str:
        """The last lines for a report of failure, without the secrets that the container was given."""
        text = self._engine.logs(container, lines=SHOWN_LINES).decode(errors="replace")
        for secret in hide:
            if secret:
                text = text.replace(secret, "…")
        text = text.strip()[-SHOWN_CHARACTERS:]
        return f" Its last output: {text}" if text else " It printed nothing."
