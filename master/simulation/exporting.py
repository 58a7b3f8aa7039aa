"""What a platform did, as a scenario and a trace that replay it: made from what REST answers."""

from __future__ import annotations

import csv
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from typing import Any

import yaml

from common.errors import NotFound
from master.catalogue.manifest import Manifest

TRACE_FILE, SCENARIO_FILE = "trace.csv", "scenario.yaml"
HEADER = ("arrival_s", "duration_s", "cpu", "memory_bytes", "task")
# What a box does by itself to start an instance, beside the transfers; a replay takes the median of their sums.
_LOCAL_STEPS = ("unpack", "network", "create", "launch", "ready")
_USUAL_BPS = 10**9  # of a box that does not say what its link gives
_PERSON = {
    "share": 1, "compute": 0, "disk_bytes": 0, "link_bps": _USUAL_BPS, "access_ms": 1, "open": 0, "fixed": 1
}  # fmt: skip


@dataclass(frozen=True)
class Started:
    """A request: when it was made, for how long its instance ran, and what of its start took how long.

    Of one that found no room, or waits still, nobody knows how long it would have run.
    """

    task: str
    service: str
    application: str
    asked_at: float
    ran_s: float | None
    took_s: Mapping[str, float]


def instances_of(deployment: Mapping[str, Any], *, now: float | None = None) -> Iterator[Started]:
    """The instances of a deployment that have run or waited for room, from their timelines.

    What runs still ran until now. What failed before it ran is no request that a replay could repeat.
    """
    moment = time.time() if now is None else now
    for instance in deployment["instances"]:
        running = [row["at"] for row in instance["timeline"] if row["state"] == "running"]
        if not running:
            if _waited(instance):
                yield _request(deployment, instance, None)
            continue
        over = [
            row["at"]
            for row in instance["timeline"]
            if row["state"] in ("stopping", "stopped", "failed", "lost")
        ]
        ended = min((at for at in over if at >= running[0]), default=moment)
        yield _request(deployment, instance, max(0.0, ended - running[0]))


def _waited(instance: Mapping[str, Any]) -> bool:
    """Whether it found no room, and then never got a place."""
    states = {row["state"] for row in instance["timeline"]}
    return "queued" in states and not states & {"placed", "failed"}


def _request(deployment: Mapping[str, Any], instance: Mapping[str, Any], ran_s: float | None) -> Started:
    return Started(
        task=task_name(deployment["application"], instance["service"]),
        service=instance["service"],
        application=deployment["application"],
        asked_at=deployment["created_at"],
        ran_s=ran_s,
        took_s={row["step"]: row["took_s"] for row in instance["timeline"] if row["took_s"] is not None},
    )


def task_name(application: str, service: str) -> str:
    """What a service of an application is called in a scenario."""
    return f"{application}/{service}"


def trace_csv(started: Iterable[Started], manifests: Mapping[str, Manifest]) -> str:
    """The requests, the first at 0; raises NotFound if there is none of an application that is still known.

    One that never got a place is expected to run for as long as others of its task did, at the median.
    """
    rows = sorted((item for item in started if item.application in manifests), key=lambda item: item.asked_at)
    if all(item.ran_s is None for item in rows):
        raise NotFound(
            "Nothing that is in the catalogue has ever run here.",
            remedy="Run something first: openraas run APPLICATION.",
        )
    text = StringIO()
    writer = csv.writer(text)
    writer.writerow(HEADER)
    usual = _usual_s(rows)
    for item in rows:
        ran_s = usual.get(item.task, usual[""]) if item.ran_s is None else item.ran_s
        amounts = manifests[item.application].services[item.service].resources
        arrival = round(item.asked_at - rows[0].asked_at, 3)
        writer.writerow((arrival, round(ran_s, 3), amounts.cpu, amounts.memory, item.task))
    return text.getvalue()


def _usual_s(started: Iterable[Started]) -> dict[str, float]:
    """How long the instances of each task ran, at the median; "" stands for all of them."""
    ran: dict[str, list[float]] = defaultdict(list)
    for item in started:
        if item.ran_s is not None:
            ran[item.task].append(item.ran_s)
            ran[""].append(item.ran_s)
    return {task: statistics.median(times) for task, times in ran.items()}


def scenario_yaml(
    boxes: Iterable[Mapping[str, Any]],
    layers: Iterable[Mapping[str, Any]],
    manifests: Mapping[str, Manifest],
    started: Iterable[Started],
) -> str:
    """The scenario that replays the trace beside it. `boxes` and `layers` are as REST lists them.

    Raises NotFound if no box that computes is up.
    """
    up = [box for box in boxes if box["status"] is not None]
    # Where placements count a box as being: what it claims of itself counts for nothing there, and not here.
    known = {box["id"]: {**box["status"], "coordinate": box["believed"]} for box in up}
    if not any("compute" in status["roles"] for status in known.values()):
        raise NotFound("No box that computes is up.", remedy="See openraas box list.")
    layers = list(layers)
    pools: dict[str, dict[str, Any]] = {
        _pool(layer["digest"]): {"count": 1, "size_bytes": layer["size_bytes"], "on": on}
        for layer in layers
        if layer["size_bytes"] and (on := [item["box"] for item in layer["holders"] if item["box"] in known])
    }
    needed = {pool: layer["images"] for layer in layers if (pool := _pool(layer["digest"])) in pools}
    tasks = {
        task_name(name, service): {
            "slots": 1,
            "compute": spec.resources.cpu,
            "layers": [pool for pool, images in needed.items() if spec.image in images],
        }
        for name, manifest in manifests.items()
        for service, spec in manifest.services.items()
    }
    launches = [
        sum(item.took_s.get(step, 0.0) for step in _LOCAL_STEPS)
        for item in started
        if "launch" in item.took_s
    ]
    scenario = {
        "name": "recorded",
        "title": "Recorded from a platform",
        "slots": {"count": 1},
        "network": {"areas": 1, "backbone_ms": 0, "sharing": "max-min"},
        "servers": {**{key: value for key, value in _PERSON.items() if key != "share"}, "count": 0},
        "boxes": {name: _box(status) for name, status in known.items()},
        "people": {"count": 1, "queue": True, "devices": {"desktop": _PERSON}},
        "pools": pools,
        "tasks": tasks,
        "keeping": {"copies": 1, "free_bytes": 0},
        "cost": {"launch_s": round(statistics.median(launches), 3) if launches else 0},
        "trace": {"file": TRACE_FILE, "format": "openraas"},
    }
    return yaml.safe_dump(scenario, sort_keys=False)


def _pool(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]


def _box(status: Mapping[str, Any]) -> dict[str, Any]:
    computes = "compute" in status["roles"]
    return {
        "compute": status["capacity"]["cpu"] if computes else 0,
        "memory_bytes": status["capacity"]["memory_bytes"],
        "disk_bytes": status["disk"]["lent_bytes"],
        "link_bps": status["capacity"]["bandwidth_bps"] or _USUAL_BPS,
        "access_ms": round(max(0.1, status["coordinate"]["height_ms"]), 3),
        "open": int(status["open"] and computes),
        "fixed": int(status["fixed"]),
        "stores_files": "filestore" in status["roles"],
    }
