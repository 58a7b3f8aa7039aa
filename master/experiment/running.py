"""One scenario in both worlds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.errors import BadInput
from master.cli.client import Client
from master.experiment.driving import Driver, Wish
from master.experiment.errors import ExperimentError
from master.experiment.images import label
from master.experiment.lab import RunningLab, Say, running_lab
from master.experiment.measuring import Start, steps_of
from master.experiment.preparing import MOST_REQUESTS, prepare, with_sizes
from master.experiment.publishing import make_layers, publish, warm_up
from master.experiment.samples import Stand
from master.simulation.scenario import Scenario
from master.simulation.streams import streams
from master.simulation.traces import TraceDemand, read_trace
from master.simulation.world import World, make_world


@dataclass(frozen=True)
class Measured:
    """What happened in the lab, and the scenario with the images as they were: what predictions are made from."""

    scenario: Scenario
    seed: int
    starts: list[Start]


def check(scenario: Scenario, seed: int) -> None:
    """Raise BadInput for what could not be run, before anything is made."""
    prepared, _ = prepare(scenario)
    world = make_world(prepared, streams(seed))
    if len(_demand(world)) > MOST_REQUESTS:
        raise BadInput(
            f"An experiment has at most {MOST_REQUESTS} requests.",
            field="trace.limit",
            remedy="Set trace.limit.",
        )


def measure(scenario: Scenario, seed: int, say: Say, trace: Path | None = None) -> Measured:
    """Run a scenario in a lab of its own; with `trace` what happened is exported there. Raises OpenRaaSError."""
    prepared, stands = prepare(scenario)
    world = make_world(prepared, streams(seed))
    say("Making images")
    layers = make_layers(world, stands)
    sizes = {name.rpartition("-")[0]: len(layer.data) for name, layer in layers.items()}
    known = with_sizes(prepared, sizes)
    holders = {box for pool in known.pools.values() for box in pool.on}
    with running_lab(known, holders, say) as lab, lab.client() as client:
        publish(lab, client, world, layers, stands, say)
        warm_up(lab, client, world, stands, say)
        starts = _drive(lab, client, world, stands, say, to_the_end=trace is not None)
        if trace is not None:
            lab.verb("trace", "export", str(trace.absolute()))
    return Measured(known, seed, starts)


def _demand(world: World) -> list[tuple[int, float, float]]:
    """Application, arrival and duration of each request, in the order of the simulator."""
    replay = world.scenario.trace
    assert replay is not None  # noqa: S101 - `prepare` has seen to it
    demand = TraceDemand(world, read_trace(replay, list(world.scenario.tasks)))
    length_s = world.scenario.slots.length_s
    found = []
    for slot in range(demand.slots):
        asked = demand.slot(slot * length_s)
        assert asked.lasts_s is not None  # noqa: S101 - of a trace
        found += list(
            zip(asked.application.tolist(), asked.at_s.tolist(), asked.lasts_s.tolist(), strict=True)
        )
    return found


def _drive(
    lab: RunningLab, client: Client, world: World, stands: dict[str, Stand], say: Say, *, to_the_end: bool
) -> list[Start]:
    tasks = list(world.scenario.tasks)
    applications = [(world.applications[number], at, lasts) for number, at, lasts in _demand(world)]
    wishes = [
        Wish(label(application), stands[tasks[application.task]].options, at, lasts)
        for application, at, lasts in applications
    ]
    say(f"{len(wishes)} requests")
    views = Driver(client, wishes, world.scenario.lab.patience_s).run(to_the_end=to_the_end)
    boxes = {lab_name: name for name, lab_name in lab.boxes.items()}
    first = min(wish.asked_at for wish in wishes)
    found = []
    for (application, _, _), wish, view in zip(applications, wishes, views, strict=True):
        instance = view["instances"][0]
        steps = steps_of(instance["timeline"], wish.asked_at)
        if steps is None:
            raise ExperimentError(f"{application.name} never ran: {instance['error'] or instance['reason']}")
        found.append(Start(tasks[application.task], wish.asked_at - first, boxes[instance["box"]], steps))
    return found
