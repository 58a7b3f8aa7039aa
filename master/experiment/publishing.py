"""Bringing the images and applications of a scenario into a lab, and its boxes into the state that it begins with."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from master.cli.client import Client, part
from master.experiment.driving import Driver, Wish, wait_for
from master.experiment.images import (
    Packed,
    busybox,
    label,
    program_layer,
    repository,
    weight_layer,
    write_layout,
)
from master.experiment.lab import RunningLab, Say
from master.experiment.preparing import program_pool
from master.experiment.samples import Stand, manifest_of
from master.simulation.world import Application, World

HELD_S = 120.0
WARM_S = 120.0


def make_layers(world: World, stands: Mapping[str, Stand]) -> dict[str, Packed]:
    """Every layer of the world, by its name; raises ExperimentError without busybox."""
    program = busybox()
    programs = {f"{program_pool(stand.sample)}-0": stand for stand in stands.values()}
    return {
        layer.name: program_layer(layer.name, program, programs[layer.name].files)
        if layer.name in programs
        else weight_layer(layer)
        for layer in world.layers
    }


def publish(
    lab: RunningLab,
    client: Client,
    world: World,
    layers: Mapping[str, Packed],
    stands: Mapping[str, Stand],
    say: Say,
) -> None:
    """Images on the boxes that hold them from the start, applications in the catalogue. Raises OpenRaaSError."""
    tasks, tasks_of = list(world.scenario.tasks), world.tasks
    with tempfile.TemporaryDirectory(prefix="openraas-experiment-") as folder:
        for application in world.applications:
            say(f"Image {repository(application)}")
            layout = Path(folder) / label(application)
            write_layout(layout, [layers[layer.name] for layer in application.layers])
            pool = world.scenario.pools[tasks_of[application.task].layers[0]]
            boxes = [lab.boxes[box] for box in pool.on]
            chosen = [word for box in boxes for word in ("--to", box)]
            lab.verb("image", "push", str(layout), f"{repository(application)}:1", *chosen)
            name = f"{repository(application)}:1"
            why = f"{name} was not held by all of {', '.join(boxes)}"
            wait_for(partial(_is_held, client, name, len(boxes)), HELD_S, why)
    for application in world.applications:
        _add(client, world, stands[tasks[application.task]], application)


def _add(
    client: Client, world: World, stand: Stand, application: Application, box: str | None = None
) -> None:
    manifest = manifest_of(stand, application, world.tasks[application.task], box)
    client.send("POST", "/applications", {"manifest": manifest})


def _is_held(client: Client, image: str, boxes: int) -> bool:
    """Whether so many boxes have all of it, and (where it is more than one) it may come from all at once."""
    found = client.get("/layers", image=image, limit=1000)["layers"]
    return bool(found) and all(
        len(layer["holders"]) >= boxes and (boxes == 1 or layer["vouched"]) for layer in found
    )


def warm_up(lab: RunningLab, client: Client, world: World, stands: Mapping[str, Stand], say: Say) -> None:
    """Let the boxes whose engines are to have all images run each of them once."""
    tasks = list(world.scenario.tasks)
    for name in world.scenario.unpacked_on:
        for application in world.applications:
            say(f"{application.name} once on {name}")
            stand = stands[tasks[application.task]]
            _add(client, world, stand, application, lab.boxes[name])
            wish = Wish(label(application), stand.options, 0.0, 0.0)
            Driver(client, [wish], WARM_S).run(to_the_end=True)
            wait_for(partial(_has_ended, client, wish), WARM_S, f"{application.name} did not end")
            _add(client, world, stand, application)


def _has_ended(client: Client, wish: Wish) -> bool:
    return bool(client.get(f"/deployments/{part(wish.deployment)}")["state"] == "stopped")
