"""What `openraas up` shows while it works: one line per step, with the time it took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

# Tells how much of a step is done.
Advance = Callable[[int], None]
# Steps that are over sooner leave no line.
QUIET_S = 0.2


class Display:
    """Steps on a terminal; on anything else, plain lines."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def progress(self) -> Progress:
        """A bar with text and time, which goes when it is done."""
        return Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )

    @contextmanager
    def step(self, text: str, total: int | None = None) -> Iterator[Advance]:
        """Show that something is under way, then that it is done and how long it took.

        With `total` the bar shows how much of it is done, as the block tells.
        """
        began = time.monotonic()
        with self.progress() as progress:
            task = progress.add_task(text, total=total)
            yield lambda done: progress.update(task, completed=done)
        took = time.monotonic() - began
        if took >= QUIET_S:
            self.console.print(f"[green]✓[/] {text} [dim]{took:.1f} s[/]", highlight=False)
