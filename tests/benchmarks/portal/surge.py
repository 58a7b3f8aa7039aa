"""A class comes: 100 people in 60 s at a lab of four boxes that have room for a third of them at once.

Each is a scripted client that asks for the application and then looks at the own page every few seconds, as browsers
do. Nobody is refused; who waits sees a place and an estimate, and pages stay quick.
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx

from tests.benchmarks.lines import Case
from tests.lab import applications
from tests.lab.fleets import running
from tests.lab.portal import Portal
from tests.support import oci_image

PEOPLE, WITHIN_S = 100, 60.0
BOXES = ("compute+filestore+depository",) * 4
# Room for eight on each box; whoever waits gets the place of one whose lease has ended.
RESOURCES = {"cpu": 0.25, "memory": "64MiB", "disk": "16MiB"}
LEASE_S = 60
LOOK_EVERY_S = 4.0
LIMIT_S = 900.0
MOST_PAGE_MS, MOST_ERROR = 300.0, 0.3
# An estimate of so little says nothing about the estimates.
SOON_S = 5.0
SEED = 20

LESSON: dict[str, Any] = {
    "openraas": 1,
    "name": "lesson",
    "title": "Lesson",
    "lease": f"{LEASE_S}s",
    "lease_max": f"{LEASE_S}s",
    "services": {
        "web": {
            "image": f"{applications.REPOSITORY}:1",
            "command": ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/"],
            "resources": RESOURCES,
            "port": 8080,
            "readiness": {"http": "/"},
        }
    },
}


@dataclass
class Person:
    """One client, and what it saw."""

    name: str
    token: str
    pages_ms: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    was_queued: bool = False
    saw_place: bool = False
    # When it looked, and what the first estimate said then (Unix times).
    estimate: tuple[float, float] | None = None
    started_at: float | None = None


def measure() -> list[Case]:
    """Make the lab, let them come, and count."""
    with tempfile.TemporaryDirectory(prefix="openraas-bench-") as name, running(BOXES) as lab:
        portal, scratch = Portal(lab), Path(name)
        layout = scratch / "image"
        oci_image.web_image(layout)
        for box in lab.state.boxes[:2]:
            applications.push(portal, layout, box, f"{applications.REPOSITORY}:1", scratch)
        applications.publish(portal, LESSON)
        people = [Person(name, portal.token_of(name)) for name in (f"pupil-{n}" for n in range(PEOPLE))]
        _come(portal, people)
    return _cases(people)


def _come(portal: Portal, people: list[Person]) -> None:
    rng = random.Random(SEED)  # noqa: S311 - the same for each run
    begin = time.monotonic() + 1.0
    moments = sorted(rng.uniform(0, WITHIN_S) for _ in people)
    over = threading.Event()
    with ThreadPoolExecutor(len(people)) as pool:
        done = [
            pool.submit(_visit, portal, person, begin + at, over)
            for person, at in zip(people, moments, strict=True)
        ]
        for one in done:
            one.result()


def _visit(portal: Portal, person: Person, at: float, over: threading.Event) -> None:
    over.wait(max(0.0, at - time.monotonic()))
    with httpx.Client(
        base_url=f"https://{portal.address}", verify=portal.tls, timeout=30, trust_env=False,
        headers={"Authorization": f"Bearer {person.token}"},
    ) as client:  # fmt: skip
        answer = _ask(client, person, "POST", "/api/v1/deployments", {"application": LESSON["name"]})
        if answer is None:
            return
        deployment = answer.json()["id"]
        end = time.monotonic() + LIMIT_S
        while person.started_at is None:
            if time.monotonic() > end:
                person.wrong.append("it did not start in time")
                return
            began = time.monotonic()
            page = _ask(client, person, "GET", f"/deployments/{deployment}")
            if page is not None:
                person.pages_ms.append((time.monotonic() - began) * 1000)
            view = _ask(client, person, "GET", f"/api/v1/deployments/{deployment}")
            if view is not None and not _look(person, view.json()):
                return
            over.wait(LOOK_EVERY_S)


def _ask(
    client: httpx.Client, person: Person, method: str, path: str, body: object = None
) -> httpx.Response | None:
    try:
        answer = client.request(method, path, json=body)
    except httpx.HTTPError as error:
        person.wrong.append(f"{method} {path}: {type(error).__name__} {error}")
        return None
    if not answer.is_success:
        person.wrong.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
        return None
    return answer


def _look(person: Person, view: dict[str, Any]) -> bool:
    """Note what the person sees; False when that was the last."""
    instance = view["instances"][0]
    started = [row["at"] for row in instance["timeline"] if row["step"] == "running"]
    if started:
        person.started_at = started[0]
    elif instance["state"] in ("failed", "stopped", "lost"):
        person.wrong.append(f"{instance['state']}: {instance['error']}")
        return False
    if (queue := instance["queue"]) is not None:
        person.was_queued = True
        person.saw_place = person.saw_place or queue["place"] is not None
        if person.estimate is None and queue["estimated_start"] is not None:
            person.estimate = (time.time(), queue["estimated_start"])
    return True


def _cases(people: list[Person]) -> list[Case]:
    wrong = [line for person in people for line in person.wrong]
    for line in wrong[:20]:
        print("wrong:", line)
    pages = sorted(ms for person in people for ms in person.pages_ms)
    errors = [
        abs(person.estimate[1] - person.started_at) / (person.started_at - person.estimate[0])
        for person in people
        if person.estimate and person.started_at and person.started_at - person.estimate[0] > SOON_S
    ]
    queued = [person for person in people if person.was_queued]
    seen = [float(person.saw_place) for person in queued]
    print(f"{len(queued)} of {len(people)} waited, {len(errors)} estimates, {len(pages)} pages")
    for person in people:
        if person.estimate and person.started_at:
            looked, said = person.estimate
            print(f"  estimated {said - looked:6.1f} s, took {person.started_at - looked:6.1f} s")
    return [
        Case(
            "surge-errors",
            float(len(wrong)),
            "",
            "",
            [float(len(person.wrong)) for person in people],
            at_most=0,
        ),
        Case("surge-place-seen", min(seen, default=0.0), "", "", seen or [0.0], at_least=1),
        Case("surge-estimate-error", median(errors or [9.0]), "", "", errors or [9.0], at_most=MOST_ERROR),
        Case("surge-page-p95", quantiles(pages, n=20)[-1], "ms", "", pages, at_most=MOST_PAGE_MS),
    ]
