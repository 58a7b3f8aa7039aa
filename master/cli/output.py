"""What verbs print: tables for people, one JSON document for programs, bars for what takes long."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from common.cli import print_json
from common.units import show_size

BAR_AFTER_S = 2.0


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Aligned columns; nothing is cut, so that a pipe gets all of it."""
    lines = [[str(cell) if cell is not None else "-" for cell in row] for row in [headers, *rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    for number, line in enumerate(lines):
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        click.secho(text, bold=number == 0)


def listing(
    items: list[dict[str, Any]],
    columns: dict[str, Callable[[dict[str, Any]], object]],
    *,
    as_json: bool,
    empty: str,
) -> None:
    """A list: `columns` gives the header and what stands below it; `empty` is said when there is nothing."""
    if as_json:
        print_json(items)
    elif items:
        table(list(columns), [[show(item) for show in columns.values()] for item in items])
    else:
        click.echo(empty)


def details(values: dict[str, object]) -> None:
    """Names and values, one a line."""
    width = max(len(name) for name in values) + 1
    for name, value in values.items():
        click.echo(f"{name + ':':<{width}} {value if value not in (None, '') else '-'}")


def done(message: str, value: object, *, as_json: bool) -> None:
    """What a verb says in the end."""
    if as_json:
        print_json(value)
    else:
        click.echo(message)


def age(moment: float) -> str:
    """How long ago, for people."""
    return duration(time.time() - moment)


def duration(length_s: float, *, up: bool = False) -> str:
    """A length of time for people, in its largest unit, rounded down or up; never negative."""
    seconds = max(0, math.ceil(length_s) if up else int(length_s))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{-(-seconds // length) if up else seconds // length} {unit}"
    return f"{seconds} s"


def size(value: int | None) -> str:
    """A size for people."""
    return "-" if value is None else show_size(value)


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Gives a function that takes in how many bytes are done; a bar appears after two seconds, on a terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    began = time.monotonic()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task(label, total=total)

    def advance(count: int) -> None:
        bar.advance(task, count)
        if not bar.live.is_started and bar.console.is_terminal and time.monotonic() - began > BAR_AFTER_S:
            bar.start()

    try:
        yield advance
    finally:
        bar.stop()
