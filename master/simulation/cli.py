"""`openraas simulate`: run policies in a simulated world and compare them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import click

from common.cli import json_option, print_json
from common.errors import BadInput, Unavailable
from master.cli.output import table
from master.scheduling.policy import load_policy, policy_names
from master.simulation.loading import load_scenario, shipped
from master.simulation.many import run_all
from master.simulation.output import as_json as figures_as_json
from master.simulation.output import caution, shown, write_csv, write_parquet

_MODULES = {"html": "matplotlib", "parquet": "pyarrow"}
_EXTRAS = {"html": "simulation", "parquet": "parquet"}


@click.command()
@click.argument("scenario", required=False)
@click.option("--policy", "policies", default="nearest,start-soonest", show_default=True, metavar="A,B,…",
              help="Policies to compare; `all` takes every registered one.")  # fmt: skip
@click.option("--seeds", default=10, show_default=True, type=click.IntRange(min=1), help="How many.")
@click.option("--first-seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE",
              help="Change a figure of the scenario, such as people.count=200; may be repeated.")  # fmt: skip
@click.option(
    "--jobs", default=1, show_default=True, type=click.IntRange(min=1), help="Runs at the same time."
)
@click.option(
    "--csv", type=click.Path(path_type=Path, dir_okay=False), help="Write every figure of every run."
)
@click.option("--parquet", type=click.Path(path_type=Path, dir_okay=False), help="The same as Parquet.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a report with plots.")
@click.option(
    "--list", "list_them", is_flag=True, help="Name the scenarios that come along, and the policies."
)
@json_option
def simulate(
    scenario: str | None,
    policies: str,
    seeds: int,
    first_seed: int,
    settings: tuple[str, ...],
    jobs: int,
    csv: Path | None,
    parquet: Path | None,
    html: Path | None,
    list_them: bool,
    as_json: bool,
) -> None:
    """Run SCENARIO (a file, or one that comes along) with each policy and each seed, and compare."""
    if list_them:
        click.echo(f"Scenarios: {', '.join(shipped())}\nPolicies: {', '.join(policy_names())}")
        return
    if scenario is None:
        raise BadInput(
            "No scenario was named.", field="scenario", remedy=f"Take one of: {', '.join(shipped())}."
        )
    names = policy_names() if policies == "all" else [name.strip() for name in policies.split(",")]
    for name in names:
        load_policy(name)
    world = load_scenario(scenario, settings)
    can_be_written({"csv": csv, "parquet": parquet, "html": html})
    runs = run_all(world, names, range(first_seed, first_seed + seeds), jobs=jobs)
    if csv is not None:
        write_csv(runs, csv)
    if parquet is not None:
        write_parquet(runs, parquet)
    if html is not None:
        from master.simulation.report import write_html

        write_html(world, runs, html)
    if as_json:
        print_json(figures_as_json(runs))
        return
    click.echo(f"{runs.scenario}: {', '.join(f'{count} {name}' for name, count in runs.made.items())}.")
    click.echo(f"{seeds} seed{'s' * (seeds > 1)}; mean ± half the 95 % interval.\n")
    table(*shown(runs))
    if warning := caution(seeds):
        click.echo(f"\nCaution: {warning}")
    for path in (csv, parquet, html):
        if path is not None:
            click.echo(f"Written: {path}")


def can_be_written(files: Mapping[str, Path | None]) -> None:
    """Raise what would otherwise be known only after a long run."""
    for option, path in files.items():
        if path is None:
            continue
        if not path.absolute().parent.is_dir():
            raise BadInput(f"There is no folder {path.parent} for {path.name}.", field=option)
        if (module := _MODULES.get(option)) is not None and find_spec(module) is None:
            extra = _EXTRAS[option]
            raise Unavailable(
                f"--{option} needs {module}, which is not installed.",
                remedy=f"Run: pip install 'openraas[{extra}]'.",
            )
