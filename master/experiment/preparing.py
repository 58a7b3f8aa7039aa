"""A scenario made fit for a lab: what the images really are, and that both worlds have the same. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from common.errors import BadInput
from master.experiment.lab import computes
from master.experiment.samples import Stand, stand_for
from master.simulation.scenario import LayerPool, Scenario

# Of the lowest layer, until it is made and its size is known.
_PROGRAM_BYTES = 1_000_000
MOST_REQUESTS = 200


def prepare(scenario: Scenario) -> tuple[Scenario, dict[str, Stand]]:
    """The scenario with a lowest layer per task, and the sample that stands for each task.

    Raises BadInput with the key for what a lab cannot be.
    """
    _check(scenario)
    stands = {name: stand_for(scenario, name) for name in scenario.tasks}
    pools, tasks = dict(scenario.pools), dict(scenario.tasks)
    for name, stand in stands.items():
        program = program_pool(stand.sample)
        pools.setdefault(program, LayerPool(count=1, size_bytes=_PROGRAM_BYTES, files=2))
        task = tasks[name]
        tasks[name] = task.model_copy(update={"layers": [program, *task.layers], "home": stand.home})
    whole = _whole(pools, {name: task.layers for name, task in tasks.items()})
    for name, boxes in whole.items():
        if not boxes:
            raise BadInput(
                "No box holds the image from the start.",
                field=f"pools.{name}.on",
                remedy="Name some in `on`.",
            )
    known = {
        name: pool.model_copy(update={"on": sorted(whole.get(name, pool.on))}) for name, pool in pools.items()
    }
    return scenario.model_copy(update={"pools": known, "tasks": tasks}), stands


def with_sizes(scenario: Scenario, sizes: Mapping[str, int]) -> Scenario:
    """The same once the layers are made: `sizes` by pool, as they are sent."""
    pools = {
        name: pool.model_copy(update={"size_bytes": sizes.get(name, pool.size_bytes)})
        for name, pool in scenario.pools.items()
    }
    return scenario.model_copy(update={"pools": pools})


def program_pool(sample: str) -> str:
    """What the lowest layer of a sample's images is called among the pools."""
    return f"program-{sample}"


def _check(scenario: Scenario) -> None:
    for wrong, key, why in (
        (not scenario.boxes, "boxes", "a lab needs boxes that are named one by one"),
        (scenario.servers.count > 0, "servers.count", "a lab has only the boxes that are named in `boxes`"),
        (scenario.people.lends > 0, "people.lends", "nobody's device becomes a box of a lab"),
        (scenario.trace is None, "trace", "an experiment needs the requests of a trace"),
        (not any(computes(kind) for kind in scenario.boxes.values()), "boxes", "none of them computes"),
        (any(task.data_bytes for task in scenario.tasks.values()), "tasks",
         "in a lab applications have no data_bytes; take home"),
        (scenario.cost.steps is None, "cost.steps", "without what the steps cost nothing can be predicted"),
    ):  # fmt: skip
        if wrong:
            raise BadInput(f"{key}: {why}.", field=key)


def _whole(pools: Mapping[str, LayerPool], tasks: Mapping[str, list[str]]) -> dict[str, set[str]]:
    """Pool → boxes that hold it. An image lies whole on a box, with all layers that it shares with others."""
    found = {name: set(pool.on) for name, pool in pools.items()}
    grown = True
    while grown:
        grown = False
        for layers in tasks.values():
            boxes = set().union(*(found[layer] for layer in layers))
            for layer in layers:
                grown = grown or found[layer] != boxes
                found[layer] = boxes
    return {name: boxes for name, boxes in found.items() if any(name in layers for layers in tasks.values())}
