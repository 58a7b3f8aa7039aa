"""The timeline of a deployment in the terminal, as it grows."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from common.units import show_size

# What is only expected stands in the timeline too.
PREDICTED = "predicted"


def describe(row: dict[str, Any], began: float) -> str:
    """One row of a timeline as rich markup: when, where, what, how long, how much, from whom."""
    text = f"[dim]{row['at'] - began:8.2f} s[/dim]  {escape(row['box'] or '-'):<12}  "
    text += f"[bold]{escape(row['step'])}[/bold]"
    if row["took_s"] is not None:
        text += f"  {'to take' if row['step'] == PREDICTED else 'took'} {row['took_s']:.2f} s"
    if row["size_bytes"]:
        sources = ", ".join(f"{name} {show_size(size)}" for name, size in sorted(row["sources"].items()))
        text += f"  {show_size(row['size_bytes'])}" + (f" ({escape(sources)})" if sources else "")
    return text + (f"  {escape(row['detail'])}" if row["detail"] else "")


class Follower:
    """Prints rows as they come, and below them what is going on now. Use as a context manager."""

    def __init__(self, *, quiet: bool = False, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        self._status: Status | None = None
        self._shown: set[int] = set()

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._console.quiet:
            self._status = self._console.status("…")
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def show(self, deployment: dict[str, Any]) -> None:
        """Print what is new in a deployment as REST describes it."""
        rows = [row for instance in deployment["instances"] for row in instance["timeline"]]
        for row in sorted(rows, key=lambda item: (item["at"], item["id"])):
            if row["id"] not in self._shown:
                self._shown.add(row["id"])
                self._console.print(describe(row, deployment["created_at"]))
        if self._status is not None:
            reasons = [item["reason"] for item in deployment["instances"] if item["reason"]]
            queues = [item["queue"] for item in deployment["instances"] if item["queue"]]
            places = [
                f", number {queue['place']} of {queue['waiting']}" for queue in queues if queue["place"]
            ]
            told = f"{deployment['state']}{''.join(places[:1])}  {reasons[0] if reasons else ''}"
            self._status.update(escape(told))
