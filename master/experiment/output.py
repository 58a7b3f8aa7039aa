"""What an experiment shows: tables for people, CSV and Parquet for programs, a page with plots."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from master.experiment.comparing import FIELDS, Comparison
from master.simulation.output import csv_file, parquet_file
from master.simulation.record import STEPS
from master.simulation.scenario import Scenario


def shown(found: Comparison) -> tuple[list[str], list[list[str]]]:
    """The table of a comparison: a row per step, and the whole start."""
    rows = [
        [
            step.name,
            f"{step.predicted_s:.3f}",
            f"{step.measured_s:.3f}",
            _off(step.predicted_s, step.measured_s),
        ]
        for step in found.steps
    ]
    return ["STEP", "PREDICTED s", "MEASURED s", "OFF"], rows


def requests_shown(found: Comparison) -> tuple[list[str], list[list[str]]]:
    """A row per request: predicted and measured, step by step."""
    rows = []
    for number, (said, was) in enumerate(zip(found.predicted, found.measured, strict=True)):
        cells = [
            f"{said.steps_s[at]:.2f} / {was.steps_s[at]:.2f}" if said else f"- / {was.steps_s[at]:.2f}"
            for at in range(len(STEPS))
        ]
        whole = f"{said.start_s:.2f} / {was.start_s:.2f}" if said else f"- / {was.start_s:.2f}"
        box = was.box if said is None or said.box == was.box else f"{said.box} / {was.box}"
        rows.append([str(number), was.task, f"{was.asked_s:.2f}", box, *cells, whole])
    return ["REQUEST", "TASK", "ASKED s", "BOX", *(name.upper() for name in STEPS), "START"], rows


def _off(predicted_s: float, measured_s: float) -> str:
    if measured_s < 0.0005:
        return "-"
    return f"{(predicted_s - measured_s) / measured_s:+.0%}"


def write_csv(found: Sequence[Comparison], path: Path) -> None:
    """Every step of every request, one a line; raises BadInput if the file cannot be written."""
    csv_file(FIELDS, (row for item in found for row in item.rows()), path)


def write_parquet(found: Sequence[Comparison], path: Path) -> None:
    """The same as Parquet; needs pyarrow."""
    parquet_file(FIELDS, (row for item in found for row in item.rows()), path)


def write_html(found: Sequence[tuple[Scenario, Comparison]], path: Path) -> None:
    """One page with tables and plots; needs matplotlib. Raises BadInput if the file cannot be written."""
    from master.simulation.report import page, write_page

    title = " and ".join(item.title or item.scenario for _, item in found)
    body = "\n".join(_part(scenario, item) for scenario, item in found)
    write_page(page(f"Experiment: {title}", body), path)


def _part(scenario: Scenario, found: Comparison) -> str:
    from master.simulation.report import html_table, shape

    start = found.start
    return f"""<h1>{html.escape(found.title or found.scenario)}</h1>
<p>{len(found.measured)} requests, simulated and on real boxes. Mean start: {start.predicted_s:.2f} s predicted,
{start.measured_s:.2f} s measured ({_off(start.predicted_s, start.measured_s)}).</p>
<figure>{_stacks(found)}</figure>
<figure>{_points(found)}</figure>
<div class="wide">{html_table(*shown(found))}</div>
<details><summary>Every request (predicted / measured seconds)</summary>
<div class="wide">{html_table(*requests_shown(found))}</div></details>
{shape(scenario)}"""


def _stacks(found: Comparison) -> str:
    """Both worlds as a bar made of steps."""
    from master.simulation.report import COLOURS, drawn_svg, plot

    figure, axes = plot(["predicted", "measured"], f"Mean start by step: {found.scenario}", "seconds")
    below = [0.0, 0.0]
    for at, step in enumerate(found.steps[:-1]):
        heights = [step.predicted_s, step.measured_s]
        axes.bar(range(2), heights, 0.5, bottom=below, label=step.name, color=COLOURS[at % len(COLOURS)])
        below = [one + other for one, other in zip(below, heights, strict=True)]
    return drawn_svg(figure, axes, legend=True)


def _points(found: Comparison) -> str:
    """Every request's start in both worlds, in the order in which they were asked for."""
    from master.simulation.report import COLOURS, drawn_svg, plot

    pairs = found.pairs
    labels = [was.task for _, was in pairs]
    figure, axes = plot(labels, f"Every start: {found.scenario}", "seconds")
    for label, values, colour in (
        ("predicted", [said.start_s for said, _ in pairs], COLOURS[0]),
        ("measured", [was.start_s for _, was in pairs], COLOURS[1]),
    ):
        axes.plot(range(len(values)), values, "o", label=label, color=colour)
    axes.set_ylim(bottom=0)
    return drawn_svg(figure, axes, legend=True)
