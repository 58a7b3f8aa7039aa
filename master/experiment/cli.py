"""`openraas experiment`: one scenario in the simulator and on the real boxes of a lab."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from common.cli import json_option, print_json
from common.errors import BadInput
from master.cli.output import table
from master.experiment.comparing import Comparison
from master.experiment.learning import as_yaml, learn
from master.experiment.output import requests_shown, shown, write_csv, write_html, write_parquet
from master.experiment.predicting import predict
from master.experiment.running import Measured, check, measure
from master.simulation.cli import can_be_written
from master.simulation.loading import load_scenario, place_of
from master.simulation.scenario import Scenario

SCENARIOS = files("master.experiment") / "scenarios"
BASE = "base"
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("scenarios", nargs=-1, metavar="SCENARIO…")
@click.option("--costs", type=click.Path(exists=True, dir_okay=False),
              help="What steps cost on this machine, as --learn has written it.")  # fmt: skip
@click.option("--learn", "learn_to", type=_FILE, help="Learn from these runs what steps cost, and write it.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE",
              help="Change a figure of the scenarios, such as lab.policy=nearest; may be repeated.")  # fmt: skip
@click.option("--trace", type=click.Path(path_type=Path, file_okay=False),
              help="Wait for all ends, and export what happened into this folder, by scenario.")  # fmt: skip
@click.option("--requests", is_flag=True, help="Show every request.")
@click.option("--csv", type=_FILE, help="Write every step of every request.")
@click.option("--parquet", type=_FILE, help="The same as Parquet.")
@click.option("--html", type=_FILE, help="Write a report with plots.")
@click.option("--list", "list_them", is_flag=True, help="Name the scenarios that come along.")
@json_option
def experiment(
    scenarios: tuple[str, ...],
    costs: str | None,
    learn_to: Path | None,
    seed: int,
    settings: tuple[str, ...],
    trace: Path | None,
    requests: bool,
    csv: Path | None,
    parquet: Path | None,
    html: Path | None,
    list_them: bool,
    as_json: bool,
) -> None:
    """Run each SCENARIO (a file, or one that comes along) twice, simulated and on real boxes, and compare.

    The boxes are those of a lab, made for each scenario and taken down afterwards. Needs root.
    """
    if list_them:
        click.echo("\n".join(come_along()))
        return
    if not scenarios:
        raise BadInput(
            "No scenario was named.", field="scenario", remedy=f"Take one of: {', '.join(come_along())}."
        )
    can_be_written({"csv": csv, "parquet": parquet, "html": html, "learn": learn_to})
    worlds = [checked(name, settings, costs, seed) for name in scenarios]
    # Asked to end in the middle, it takes its lab down, as for Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(stderr=True, highlight=False)
    runs = [_measured(world, seed, trace, console) for world in worlds]
    found = [compare(run) for run in runs]
    if learn_to is not None:
        _learn(runs, learn_to, console)
    if csv is not None:
        write_csv(found, csv)
    if parquet is not None:
        write_parquet(found, parquet)
    if html is not None:
        write_html([(run.scenario, item) for run, item in zip(runs, found, strict=True)], html)
    if as_json:
        print_json([_as_json(item) for item in found])
        return
    _show(found, requests=requests)
    for path in (csv, parquet, html, learn_to):
        if path is not None:
            click.echo(f"Written: {path}")


def come_along() -> list[str]:
    """The names of the experiments that come with OpenRaaS."""
    names = (item.name.removesuffix(".yaml") for item in SCENARIOS.iterdir() if item.name.endswith(".yaml"))
    return sorted(name for name in names if name != BASE)


def checked(name: str, settings: Sequence[str], costs: str | None, seed: int) -> Scenario:
    """The scenario of a name or file, fit for a lab; raises BadInput with file, line and key."""
    path = str(SCENARIOS / f"{name}.yaml") if name in come_along() else name
    scenario = load_scenario(path, settings, over=costs)
    try:
        check(scenario, seed)
    except BadInput as error:
        raise BadInput(
            f"{place_of(path, error.field or '')}: {error.message}", field=error.field, remedy=error.remedy
        ) from error
    return scenario


def compare(run: Measured) -> Comparison:
    """What the simulator says of a run, beside what was measured."""
    scenario = run.scenario
    return Comparison(scenario.name, scenario.title, predict(scenario, run.seed), run.starts)


def _measured(world: Scenario, seed: int, trace: Path | None, console: Console) -> Measured:
    with console.status(world.name) as status:

        def say(text: str) -> None:
            if console.is_terminal:
                status.update(f"{world.name}: {text}")
            else:
                console.print(f"{world.name}: {text}")

        return measure(world, seed, say, None if trace is None else trace / world.name)


def _learn(runs: Sequence[Measured], path: Path, console: Console) -> None:
    with console.status("Learning"):
        figures = learn(runs)
    try:
        path.write_text(as_yaml(runs[0].scenario, figures), encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}.", field="learn") from error


def _show(found: Sequence[Comparison], *, requests: bool) -> None:
    for item in found:
        click.echo(f"{item.scenario}: {len(item.measured)} requests; means of one run.\n")
        table(*shown(item))
        click.echo()
        if requests:
            click.echo("Seconds, predicted / measured:\n")
            table(*requests_shown(item))
            click.echo()
        if len(item.pairs) < len(item.measured):
            click.echo(f"{len(item.measured) - len(item.pairs)} never start in the simulator.\n")


def _as_json(found: Comparison) -> dict[str, Any]:
    return {
        "scenario": found.scenario,
        "requests": len(found.measured),
        "compared": len(found.pairs),
        "steps": {
            step.name: {"predicted_s": step.predicted_s, "measured_s": step.measured_s, "off": step.off}
            for step in found.steps
        },
    }
