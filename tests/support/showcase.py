"""A portal with something on every page: applications, boxes, and deployments in every state.

The tests of pages look at it, and the pictures of the documentation are made from it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from common.status import DiskUse
from common.vivaldi import Position
from common.words import BoxKind, Coordinate, Endpoint, InstanceState, Resources, Role
from master.accounts.models import User, UserRole
from master.catalogue.manifest import parse_manifest
from master.catalogue.services import publish
from master.context import MasterContext
from master.deployments.events import add_row, set_state
from master.deployments.models import Deployment
from master.deployments.services import request_deployment
from master.images.models import ImageHolding
from master.nearness.map import write_map
from master.nearness.people import Seen
from master.prewarming import services as prewarming
from master.prewarming.planner import Planner
from master.scheduler.standing import publish as tell_places
from master.timetable import services as timetable
from master.timetable.times import make_when
from master.web.app import create_app
from tests.support import showcase_life
from tests.support.master import GIB, FakeBox, add_image, image_digests, make_master
from tests.support.showcase_front import run_front
from tests.support.web import add_person, serve

S = InstanceState
APPLICATIONS = (
    ("notebook", "JupyterLab", "Science", "Notebooks, a terminal and an editor in the browser.", 1.0),
    ("ide", "Code editor", "Development", "A whole IDE in the browser, with your own files in it.", 2.0),
    ("shell", "A Debian", "Development", "Debian 12 with nothing in it, and your own files.", 0.5),
    ("desktop", "Desktop", "Desktops", "A light desktop with a browser, an editor and a file manager.", 2.0),
    ("inkscape", "Inkscape", "Desktops", "Drawings in SVG. It opens as a single window.", 1.0),
    (
        "freedoom",
        "Freedoom",
        "Games",
        "A first-person shooter in the browser; it is free, data and all.",
        2.0,
    ),
    ("site", "A small site", "Examples", "A web server that shows the pages of a fileset.", 0.25),
    ("render", "Render farm", "Science", "Renders your scene on as many cores as a box can give.", 64.0),
)
ICONS = {"notebook": "notebook", "ide": "code", "shell": "terminal", "desktop": "desktop", "site": "globe",
         "freedoom": "game", "inkscape": "pencil", "render": "render"}  # fmt: skip
OPTIONS: list[dict[str, Any]] = [
    {"name": "project", "title": "Project", "required": True, "pattern": "[a-z-]+", "help": "Names the folder."},
    {"name": "kernel", "type": "choice", "choices": ["Python 3.13", "R 4.5"], "default": "Python 3.13"},
    {"name": "cores", "type": "integer", "title": "Cores", "minimum": 1, "maximum": 4, "default": 2,
     "group": "Resources"},
    {"name": "examples", "type": "boolean", "title": "Copy the examples", "default": True, "group": "Resources"},
]  # fmt: skip


# Pages that are looked at before anybody signs in.
DOORS = ("sign-in", "sign-up", "reset")


@dataclass
class Showcase:
    """The portal, and who may sign in: Ada, who administers, and Ben, who does not."""

    context: MasterContext
    address: str
    passwords: dict[str, str] = field(default_factory=dict)
    deployments: dict[str, str] = field(default_factory=dict)  # state → id
    more: dict[str, str] = field(default_factory=dict)  # pages of what goes on beside deployments

    @property
    def pages(self) -> dict[str, str]:
        """Every page by name; those before `applications` are for whoever has not signed in."""
        return {
            "sign-in": "/sign-in",
            "sign-up": "/sign-up",
            "reset": self.more["reset"],
            "applications": "/applications",
            "applications-none": "/applications?q=nothing+like+this",
            "launch": "/applications/notebook",
            "launch-full": "/applications/render",
            "deployments": "/deployments",
            **{f"deployment-{state}": f"/deployments/{item}" for state, item in self.deployments.items()},
            "queue": "/queue",
            "boxes": "/boxes",
            "box": "/boxes/kitchen",
            "box-add": "/boxes/add",
            "screens": "/screens",
            "images": "/images",
            "layers": "/layers",
            "transfers": "/layers/transfers",
            "mirrors": "/mirrors",
            "timetable": "/timetable",
            "account": "/account",
            **{name: path for name, path in self.more.items() if name not in DOORS},
            "about": "/about",
            "error": "/deployments/d-nothing",
        }

    def sign_in(self, page: Page, name: str = "ada") -> None:
        """As a person does."""
        page.goto(f"{self.address}/sign-in")
        page.locator("[name=name]").fill(name)
        page.locator("[name=password]").fill(self.passwords[name])
        page.locator("main button[type=submit]").click()
        expect(page).to_have_url(f"{self.address}/applications")


@contextmanager
def showcase(directory: Path, redis_url: str) -> Iterator[Showcase]:
    """Serve it."""
    context = make_master(directory, redis_url)
    ada, password, _ = add_person(context, "ada", UserRole.ADMINISTRATOR)
    ben, other, _ = add_person(context, "ben")
    passwords = {"ada": password, "ben": other}
    with run_front() as front, serve(create_app(context)) as address:
        _add_boxes(context, front)
        deployments = _add_deployments(context, ada)
        _add_timetable(context, ada)
        showcase_life.add_transfers(context, ada)
        more = {
            **showcase_life.add_shares(context, ada, deployments["running"]),
            **showcase_life.add_simulations(context, ada),
            **showcase_life.add_people(context, ada, ben),
        }
        yield Showcase(context, address, passwords, deployments, more)


def _add_boxes(context: MasterContext, front: Endpoint) -> None:
    boxes = {
        "library-pc": FakeBox(context, "library-pc", front=front, kind=BoxKind.SERVER, load=0.42, temperature_c=51.0,
                              capacity=Resources(cpu=8, memory_bytes=32 * GIB, bandwidth_bps=10**9),
                              used=Resources(cpu=2.5, memory_bytes=9 * GIB), instances=3, master_ms=1.2),
        "kitchen": FakeBox(context, "kitchen", front=front, load=0.1, master_ms=8.4, coordinate_error=0.12,
                           disk=DiskUse(lent_bytes=64 * GIB, blobs_bytes=12 * GIB, engine_bytes=20 * GIB)),
        "lab-3": FakeBox(context, "lab-3", front=front, load=1.8, instances=2,
                         used=Resources(cpu=2, memory_bytes=3 * GIB),
                         disk=DiskUse(lent_bytes=20 * GIB, blobs_bytes=9 * GIB, engine_bytes=10 * GIB)),
        "attic-pi": FakeBox(context, "attic-pi", front=front, roles=frozenset({Role.DEPOSITORY, Role.FILESTORE}),
                            kind=BoxKind.IOT, architecture="arm64", temperature_c=63.0),
        "garage": FakeBox(context, "garage"),
    }  # fmt: skip
    boxes["garage"].go_silent()
    write_map(context.redis, {
        name: Position(Coordinate(x_ms=4.0 * number, height_ms=0.4), 0.1) for number, name in enumerate(boxes)
    })  # fmt: skip
    for name, title, category, description, cpu in APPLICATIONS:
        digests = image_digests(add_image(context, f"{name}:1"))
        for number, box in enumerate(("library-pc", "attic-pi", "kitchen", "lab-3")):
            if hash_of(name) % 4 >= number:
                boxes[box].hold(digests)
        keep_image(context, digests[0], ("library-pc", "attic-pi")[: 1 + hash_of(name) % 2])
        manifest = {
            "openraas": 1, "name": name, "title": title, "category": category, "description": description,
            "icon": ICONS.get(name, ""),
            "services": {"main": {"image": f"{name}:1", **ACCESS.get(name, {"port": 8080}),
                                  "resources": {"cpu": cpu, "memory": "1GiB", "disk": "1GiB"},
                                  **({"prewarm": {}, "command": ["serve"]} if name == PREWARMED else {})}},
            "options": OPTIONS if name == "notebook" else [],
        }  # fmt: skip
        with context.database.write() as session:
            publish(session, parse_manifest(manifest), None)


# How those are used that show no pages of their own.
ACCESS: dict[str, dict[str, Any]] = {
    name: {"access": "desktop"} for name in ("desktop", "inkscape", "freedoom")
}
# The one of which instances wait.
PREWARMED = "shell"


def hash_of(name: str) -> int:
    """A number that stays with a name."""
    return sum(name.encode())


def keep_image(context: MasterContext, digest: str, boxes: Iterable[str]) -> None:
    """Depositories keep it whole."""
    with context.database.write() as session:
        session.add_all(ImageHolding(digest=digest, box_id=box, held_at=time.time()) for box in boxes)


def _add_deployments(context: MasterContext, ada: User) -> dict[str, str]:
    def start(name: str, key: str) -> str:
        options = {"project": "thesis"} if name == "notebook" else {}
        return request_deployment(context, ada, name, options, key, seen=Seen()).id

    found = {"stopped": start("shell", "1"), "failed": start("freedoom", "2"), "queued": start("render", "3"),
             "preparing": start("ide", "4"), "running": start("notebook", "5"),
             "desktop": start("desktop", "6")}  # fmt: skip
    _run(context, found["running"], S.RUNNING)
    _run(context, found["desktop"], S.RUNNING)
    _run(context, found["preparing"], S.PREPARING)
    _run(context, found["stopped"], S.STOPPED)
    with context.database.write() as session:
        failed = session.get_one(Deployment, found["failed"]).instances[0]
        failed.error = "The container ended with exit code 139 before it answered."
        failed.exit_code = 139
        set_state(session, context.redis, failed, S.FAILED, "failed", detail=failed.error)
        waiting = session.get_one(Deployment, found["queued"]).instances[0]
        waiting.reason = "It needs 64 cores; library-pc, the largest box, has 8."
        set_state(session, context.redis, waiting, S.QUEUED, "queued", detail=waiting.reason)
        name = waiting.id
    tell_places(context.redis, [name], {name: time.time() + 42 * 60})
    return found


def _add_timetable(context: MasterContext, ada: User) -> None:
    with context.database.write() as session:
        for day, clock, count in (("mon", "08:00", 30), ("thu", "13:45", 12), ("2999-01-01", "09:00", 100)):
            when = make_when(day, clock, "Europe/Berlin")
            timetable.add(session, ada, PREWARMED, when, count, now=time.time())
        prewarming.order(session, ada, PREWARMED, 3)
    Planner(context).run()


def _run(context: MasterContext, deployment: str, until: InstanceState) -> None:
    """The steps of a start, and of a stop, as boxes report them."""
    now = time.time() - 6
    sources = {"library-pc": 96 * 2**20, "attic-pi": 41 * 2**20, "kitchen": 12 * 2**20}
    with context.database.write() as session:
        found = session.get_one(Deployment, deployment)
        item = found.instances[0]
        found.begun_at = now
        found.created_at = item.timeline[0].at = now - 0.02
        item.box_id, item.depositories = "kitchen", {"a": ["library-pc", "attic-pi"]}
        item.reason = "kitchen starts it soonest: in about 2.9 s, and is 4 ms away."
        item.considered = [{"box": "lab-3", "why": "has 0 of 1 cores free"},
                           {"box": "attic-pi", "why": "has not the compute role"}]  # fmt: skip

        def add(step: str, at: float, took_s: float | None = None, **values: Any) -> None:
            add_row(session, context.redis, item, step, at=now + at, took_s=took_s, **values)

        set_state(session, context.redis, item, S.PLACED, "placed", at=now, detail=item.reason)
        add("predicted", 0.0, 2.9, size_bytes=149 * 2**20, detail="layers 2.1 s, launch 0.8 s")
        set_state(session, context.redis, item, S.PREPARING, "preparing", at=now + 0.1)
        add("offer", 0.16, 0.05)
        add("export", 0.4, 0.2, box_id="attic-pi")
        add("network", 0.35, 0.21)
        add("mount", 0.75, 0.33)
        if until is S.PREPARING:
            return
        add("fetch", 2.3, 2.1, size_bytes=149 * 2**20, sources=sources)
        add("create", 2.5, 0.18)
        add("launch", 2.75, 0.22)
        add("ready", 3.2, 0.44)
        set_state(session, context.redis, item, S.RUNNING, "running", at=now + 3.2)
        if until is S.STOPPED:
            set_state(
                session, context.redis, item, S.STOPPING, "stopping", at=now + 4, detail="ada stopped it."
            )
            add("stop", 4.4, 0.3)
            set_state(session, context.redis, item, S.STOPPED, "stopped", at=now + 4.5)
