"""`openraas experiment`: one scenario in the simulator and on the real boxes of a lab."""

from __future__ import annotations

import click

from common.cli import json_option, print_json
from master.cli.output import table
from master.experiment.comparing import Comparison
from master.experiment.predicting import predict
from master.experiment.running import check, measure
from master.simulation.loading import load_scenario


@click.command()
@click.argument("scenario")
@click.option("--seed", default=0, type=click.IntRange(min=0))
@json_option
def experiment(scenario: str, seed: int, as_json: bool) -> None:
    """Run SCENARIO twice, simulated and in a lab, and compare step by step."""
    world = load_scenario(scenario)
    check(world, seed)
    measured = measure(world, seed, lambda text: click.echo(text, err=True))
    found = Comparison(world.name, world.title, predict(measured.scenario, seed), measured.starts)
    if as_json:
        print_json(
            [
                dict(zip(("step", "predicted_s", "measured_s"), (s.name, s.predicted_s, s.measured_s)))
                for s in found.steps
            ]
        )
        return
    table(
        ["STEP", "PREDICTED s", "MEASURED s", "OFF"],
        [[s.name, f"{s.predicted_s:.3f}", f"{s.measured_s:.3f}", f"{s.off:+.0%}"] for s in found.steps],
    )
