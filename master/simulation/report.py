"""One HTML page about a comparison: table, plots as SVG inside, all figures. It needs nothing from elsewhere."""

from __future__ import annotations

import html
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from matplotlib import rc_context
from matplotlib.figure import Figure

from common.errors import BadInput
from master.simulation.output import caution, shown
from master.simulation.scenario import Scenario
from master.simulation.summary import PARTS, Runs
from master.simulation.world import KINDS

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1b1f24; }
h1, h2 { line-height: 1.2; } figure { margin: 1.5rem 0; overflow-x: auto; } svg { max-width: 100%; height: auto; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem; text-align: right; border-bottom: 1px solid #d0d7de; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } pre { background: #f6f8fa; padding: 1rem; overflow-x: auto; }
"""
COLOURS = ("#2f6fab", "#e0912f", "#4c9a57", "#b5483f", "#7b5ea7", "#7a7a7a")


@dataclass(frozen=True)
class Plot:
    """A picture that needs nothing else."""

    title: str
    svg: str


def write_html(scenario: Scenario, runs: Runs, path: Path) -> None:
    """Write the report; raises BadInput if the file cannot be written."""
    write_page(render(scenario, runs, draw(scenario, runs)), path)


def write_page(text: str, path: Path) -> None:
    """Write a page; raises BadInput if the file cannot be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}.", field="html") from error


def render(scenario: Scenario, runs: Runs, plots: Sequence[Plot]) -> str:
    """The page."""
    title = html.escape(scenario.title or scenario.name)
    made = ", ".join(f"{count} {html.escape(name)}" for name, count in runs.made.items())
    seeds = f"{len(runs.seeds)} seed{'s' * (len(runs.seeds) > 1)}"
    warning = f"<p><strong>Caution:</strong> {text}</p>\n" if (text := caution(len(runs.seeds))) else ""
    figures = "\n".join(f"<figure>{plot.svg}</figure>" for plot in plots)
    body = f"""<h1>{title}</h1>
<p>{made}. {seeds}; means with 95 % confidence intervals over the seeds (Student's t). Delays are over all requests; a
dropped one counts with its patience, the length of a slot.</p>
{warning}<div class="wide">{html_table(*shown(runs))}</div>
{figures}
<details><summary>All figures</summary><div class="wide">{_all(runs)}</div></details>
{shape(scenario)}"""
    return page(scenario.title or scenario.name, body)


def page(title: str, body: str) -> str:
    """A whole page around `body`; the title is plain text."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>
{body}
</body></html>
"""


def shape(scenario: Scenario) -> str:
    """All of a scenario, to be opened."""
    text = yaml.safe_dump(scenario.model_dump(mode="json", exclude_none=True), sort_keys=False)
    return f"<details><summary>The scenario</summary><pre>{html.escape(text)}</pre></details>"


def html_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; the first column is text, the others are figures."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in headers)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _all(runs: Runs) -> str:
    rows = [[name, *(str(runs.estimate(policy, name)) for policy in runs.by_policy)] for name in runs.names()]
    return html_table(["figure", *runs.by_policy], rows)


def draw(scenario: Scenario, runs: Runs) -> list[Plot]:
    """All plots of a comparison for which there are figures."""
    tasks = list(scenario.tasks) if len(scenario.tasks) > 1 else []
    kinds = [kind for kind in KINDS if kind != "centre"]
    found = [
        _bars(runs, "Dropped requests", "share", {"all": "drop_rate"} | {t: f"drop_rate.{t}" for t in tasks}),
        _stacks(
            runs, "Start delay by part (of what started)", "seconds", {p[:-2]: f"start.{p}" for p in PARTS}
        ),
        _bars(
            runs,
            "Start delay over all requests",
            "seconds",
            {"all": "delay_s"} | {t: f"delay_s.{t}" for t in tasks},
        ),
        _bars(runs, "Way to the box", "milliseconds", {"latency": "latency_ms", "jitter": "jitter_ms"}),
        _bars(
            runs,
            "Speed of the traffic",
            "Mbit/s",
            {t: f"speed_mbps.{t}" for t in tasks} or {"all": "speed_mbps"},
        ),
    ]
    for resource in ("compute", "disk", "link"):
        series = {kind: f"utilisation.{resource}.{kind}" for kind in kinds}
        found.append(_bars(runs, f"Used of the {resource} that workers offer", "share", series))
    whats = dict.fromkeys(name.split(".")[1] for name in runs.names() if name.startswith("bytes."))
    for what in whats:
        series = {kind: f"bytes.{what}.{kind}" for kind in KINDS}
        found.append(_stacks(runs, f"Bytes of {what} by kind of source", "gigabytes", series, 1e-9))
    found.append(
        _bars(runs, "Fairness between people (Jain's index)", "index", {"people": "fairness.people"})
    )
    return [plot for plot in found if plot is not None]


def _bars(runs: Runs, title: str, unit: str, series: dict[str, str]) -> Plot | None:
    """A group of bars per policy, with whiskers for the intervals."""
    present = {label: name for label, name in series.items() if name in runs.names()}
    if not present:
        return None
    figure, axes = plot(list(runs.by_policy), title, unit)
    width, tallest = 0.8 / len(present), 0.0
    for at, (label, name) in enumerate(present.items()):
        found = [runs.estimate(policy, name) for policy in runs.by_policy]
        places = [row + (at - (len(present) - 1) / 2) * width for row in range(len(found))]
        halves = [0.0 if math.isnan(item.half) else item.half for item in found]
        means = [0.0 if math.isnan(item.mean) else item.mean for item in found]
        colour = COLOURS[at % len(COLOURS)]
        axes.bar(places, means, width, label=label, color=colour, yerr=halves, capsize=2, ecolor="#444")
        tallest = max(tallest, *(mean + half for mean, half in zip(means, halves, strict=True)))
    axes.set_ylim(0.0, 1.05 * tallest or 1.0)  # no figure here is below 0, whatever an interval says
    return Plot(title, drawn_svg(figure, axes, legend=len(present) > 1))


def _stacks(runs: Runs, title: str, unit: str, series: dict[str, str], factor: float = 1.0) -> Plot | None:
    """A bar per policy, made of parts."""
    present = {label: name for label, name in series.items() if name in runs.names()}
    if not present:
        return None
    figure, axes = plot(list(runs.by_policy), title, unit)
    below = [0.0] * len(runs.by_policy)
    for at, (label, name) in enumerate(present.items()):
        means = [runs.estimate(policy, name).mean * factor for policy in runs.by_policy]
        heights = [0.0 if math.isnan(mean) else mean for mean in means]
        axes.bar(
            range(len(heights)), heights, 0.6, bottom=below, label=label, color=COLOURS[at % len(COLOURS)]
        )
        below = [one + other for one, other in zip(below, heights, strict=True)]
    return Plot(title, drawn_svg(figure, axes, legend=True))


def plot(labels: Sequence[str], title: str, unit: str):  # type: ignore[no-untyped-def] # matplotlib's Axes has no types
    """A figure and its axes, with a place for bars per label."""
    figure = Figure(figsize=(max(6.0, 1.1 * len(labels) + 2), 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=12)
    axes.set_ylabel(unit)
    axes.set_xticks(range(len(labels)), labels, rotation=20, ha="right")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def drawn_svg(figure: Figure, axes, *, legend: bool) -> str:  # type: ignore[no-untyped-def]
    """The figure as an element of a page."""
    if legend:
        axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    text = io.StringIO()
    # Ids that differ between the plots of a page and are the same in every report.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": axes.get_title(loc="left")}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    drawn = text.getvalue()
    return drawn[drawn.index("<svg") :]
