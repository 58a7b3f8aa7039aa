"""The sample applications that stand for the tasks of a scenario."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from common.errors import BadInput, NotFound
from common.settings import settings
from master.experiment.images import label, repository
from master.simulation.scenario import Scenario, Task
from master.simulation.world import Application
from master.up.samples import Sample, find

PROCESSING, STORAGE, DESKTOP = "processing", "storage", "cloud-desktop"
MEMORY_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Stand:
    """What stands for a task: a sample with its options, and the files of its image by their paths."""

    sample: str
    manifest: dict[str, Any]
    options: dict[str, str | int]
    files: dict[str, bytes]
    home: bool


def stand_for(scenario: Scenario, name: str) -> Stand:
    """The sample for a task: the one that is named, or that of its type. Raises BadInput."""
    task, lab = scenario.tasks[name], scenario.lab
    sample = lab.samples.get(name) or _type_of(task)
    try:
        found = find(settings(), sample)
    except NotFound as error:
        raise BadInput(
            f"lab.samples.{name}: there is no sample application {sample}.",
            field=f"lab.samples.{name}",
            remedy=f"Take one of: {PROCESSING}, {STORAGE}, {DESKTOP}.",
        ) from error
    if len(found.manifest.services) != 1:
        raise BadInput(f"lab.samples.{name}: {sample} has several services.", field=f"lab.samples.{name}")
    home = next(iter(found.manifest.services.values())).home is not None
    manifest = found.manifest.model_dump(mode="json", exclude_none=True)
    return Stand(sample, manifest, lab.options.get(name, {}), _copied(found), home)


def _type_of(task: Task) -> str:
    if task.stream_bps:
        return DESKTOP
    return STORAGE if task.files or task.home else PROCESSING


def _copied(sample: Sample) -> dict[str, bytes]:
    """What the sample's Dockerfile copies, by the path in the image."""
    found: dict[str, bytes] = {}
    for line in (sample.folder / "Dockerfile").read_text(encoding="utf-8").splitlines():
        if line.startswith("COPY "):
            source, target = shlex.split(line)[1:]
            found[target.lstrip("/")] = (sample.folder / source).read_bytes()
    return found


def manifest_of(stand: Stand, application: Application, task: Task, box: str | None = None) -> dict[str, Any]:
    """The application in the lab's catalogue; with a `box` it runs only there."""
    service = dict(next(iter(stand.manifest["services"].values())))
    service["image"] = f"{repository(application)}:1"
    service["resources"] = {
        "cpu": task.compute or 0.01,
        "memory": MEMORY_BYTES,
        "disk": 0,
        "bandwidth": int(task.stream_bps),
    }
    if box is not None:
        service["placement"] = {"boxes": [box]}
    return {**stand.manifest, "name": label(application), "services": {"task": service}}
