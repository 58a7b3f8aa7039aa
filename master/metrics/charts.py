"""Charts of samples as SVG paths, made on the server: they need no script, and a table tells the same figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from master.metrics.samples import Sample, thin
from master.metrics.services import Series

WIDTH, HEIGHT = 600, 120
MOST_POINTS, MOST_ROWS = 300, 24
# Where so many steps have no sample the box was silent, and the line is broken.
GAP_STEPS = 3
Value = Callable[[Sample], float | None]


@dataclass(frozen=True)
class Line:
    """One line of a chart. `path` is SVG's `d`; `area` the same, closed along the bottom."""

    name: str
    path: str
    area: str
    latest: float | None


@dataclass(frozen=True)
class Chart:
    """A chart and its figures. `unit` names the template's filter for them: share, size, rate or warmth."""

    title: str
    unit: str
    top: float
    lines: list[Line]
    rows: list[tuple[int, list[float | None]]]


def chart(
    title: str, unit: str, series: Series, values: dict[str, Value], *, top: float | None = None
) -> Chart:
    """A chart of one or more values over the time of a series, from zero to `top` (none: the highest of them)."""
    samples = thin(series.samples, MOST_POINTS)
    step_s = series.step_s * max(1.0, len(series.samples) / max(1, len(samples)))
    highest = max(
        (value or 0.0 for item in samples for value in (read(item) for read in values.values())), default=0.0
    )
    ceiling = max(top or 0.0, highest) or 1.0
    lines = [
        _line(name, samples, read, series.since, series.until, ceiling, step_s * GAP_STEPS)
        for name, read in values.items()
    ]
    rows = [(item.at, [read(item) for read in values.values()]) for item in thin(series.samples, MOST_ROWS)]
    return Chart(title, unit, ceiling, lines, rows)


def _line(
    name: str, samples: Sequence[Sample], read: Value, since: float, until: float, top: float, gap_s: float
) -> Line:
    parts: list[list[tuple[float, float]]] = []
    before: int | None = None
    for item in samples:
        value = read(item)
        if value is None:
            before = None
            continue
        if before is None or item.at - before > gap_s:
            parts.append([])
        x = WIDTH * min(1.0, max(0.0, (item.at - since) / (until - since)))
        parts[-1].append((x, HEIGHT * (1 - min(1.0, value / top))))
        before = item.at
    path = " ".join(_walk(part) for part in parts)
    area = " ".join(
        f"{_walk(part)} L{part[-1][0]:.1f} {HEIGHT} L{part[0][0]:.1f} {HEIGHT} Z" for part in parts
    )
    return Line(name, path, area, read(samples[-1]) if samples else None)


def _walk(points: Sequence[tuple[float, float]]) -> str:
    steps = [f"{'L' if count else 'M'}{x:.1f} {y:.1f}" for count, (x, y) in enumerate(points)]
    # A single sample is a dot, which a line without length does not show.
    return " ".join(steps) if len(points) > 1 else f"{steps[0]} h1"
