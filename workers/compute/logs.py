"""What containers print: read from the engine while they are there, kept in a file after that."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from common.errors import NotFound
from common.files import write_atomically
from workers.compute.engine import Engine

KEPT_LINES = 10_000
KEPT_BYTES = 2**20
# How much of the output stands in the report of a failure.
SHOWN_LINES = 5
SHOWN_CHARACTERS = 600


class LogKeeper:
    """One file per instance under `logs/instances`, bounded."""

    def __init__(self, directory: Path, engine: Engine) -> None:
        self._directory = directory
        self._engine = engine

    def path(self, instance: str) -> Path:
        """Where the output of an instance is kept when its container is gone."""
        return self._directory / f"{instance}.log"

    def save(self, instance: str, container: str) -> None:
        """Keep the last of the output; a container that is not there leaves what was kept before."""
        output = self._engine.logs(container, lines=KEPT_LINES)
        if output:
            write_atomically(self.path(instance), output[-KEPT_BYTES:], mode=0o600)

    def read(self, instance: str, container: str | None, *, lines: int) -> str:
        """The last lines, wherever they are now. Raises NotFound if nothing was ever kept."""
        if container is not None:
            return self._engine.logs(container, lines=lines).decode(errors="replace")
        try:
            kept = self.path(instance).read_text(errors="replace")
        except FileNotFoundError as error:
            raise NotFound(f"Nothing of instance {instance} was kept on this box.") from error
        return "".join(kept.splitlines(keepends=True)[-lines:])

    def last_words(self, container: str, *, hide: Iterable[str]) -> str:
        """The last lines for a report of failure, without the secrets that the container was given."""
        text = self._engine.logs(container, lines=SHOWN_LINES).decode(errors="replace")
        for secret in hide:
            if secret:
                text = text.replace(secret, "…")
        text = text.strip()[-SHOWN_CHARACTERS:]
        return f" Its last output: {text}" if text else " It printed nothing."
