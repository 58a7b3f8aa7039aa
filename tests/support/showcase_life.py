"""What goes on in the portal of `showcase.py` beside deployments: people, invitations, transfers, simulations."""

from __future__ import annotations

import time

from common.names import transfers_key
from common.transfers import BoxTransfers, SourceShare, Transfer
from common.words import SessionMode
from master.accounts import signing_up
from master.accounts.models import GroupRole, User
from master.context import MasterContext
from master.files.models import ShareKind
from master.files.sharing import make_share
from master.limits.services import find_subject, set_limit
from master.mirrors import services as mirrors
from master.people import groups
from master.sharing.services import create_share
from master.simulation.job import Summary
from master.simulation.models import Simulation
from master.simulation.services import State, Wanted, request_simulation
from tests.support.master import GIB, digest_of

MIB = 2**20
# Longer than anybody looks.
LIFE_S = 3600
RESULTS = [
    ["start-soonest", "2.31 ± 0.04", "1.18 ± 0.02", "61 %"],
    ["random", "3.87 ± 0.11", "2.05 ± 0.06", "58 %"],
    ["cloud", "6.02 ± 0.09", "4.44 ± 0.08", "0 %"],
]
SUMMARY = Summary(
    made={"people": 200, "boxes": 40, "requests": 5120},
    headers=["policy", "start (s)", "wait (s)", "from neighbours"],
    rows=RESULTS,
    caution="",
    plots=[],
    lacking=[],
)


def add_people(context: MasterContext, ada: User, ben: User) -> dict[str, str]:
    """A class with limits, somebody who waits for approval, a link to choose a password; gives the pages."""
    signing_up.sign_up(
        context, "cleo", "a password that is long", "192.0.2.7", full_name="Cleo Marsh",
        email="cleo@example.org", reason="My thesis on placement needs a few notebooks.",
    )  # fmt: skip
    with context.database.write() as session:
        group = groups.create_group(session, "class-1a", "Class 1a")
        groups.set_member(session, ada, group, session.get_one(User, ada.id), GroupRole.TEACHER)
        groups.set_member(session, ada, group, session.get_one(User, ben.id), GroupRole.MEMBER)
        for subject, values in (
            ("everybody", {"deployments": 4, "cpu": 80, "memory_bytes": 64 * GIB}),
            ("members:class-1a", {"deployments": 8, "lease_s": 14400}),
            ("group:class-1a", {"gpu": 2}),
        ):
            set_limit(session, find_subject(session, subject), dict(values))
        code, _ = signing_up.make_reset_link(session, session.get_one(User, ben.id), LIFE_S)
    return {"people": "/users", "person": "/users/ben", "groups": "/groups", "group": "/groups/class-1a",
            "limits": "/limits", "audit": "/audit", "reset": f"/reset?code={code}"}  # fmt: skip


def add_shares(context: MasterContext, ada: User, running: str) -> dict[str, str]:
    """A session and a folder that others are invited to; gives the pages."""
    _, session_secret = create_share(
        context, ada, running, mode=SessionMode.CONTROL, lasts_s=LIFE_S, label="Ben"
    )
    with context.database.write() as session:
        _, secret = make_share(session, ada, "thesis", ShareKind.READ, LIFE_S)
    return {"share": f"/deployments/{running}/share", "join": f"/join/{session_secret}", "files": "/files",
            "file": "/files/show?path=notes.txt", "file-link": f"/s/{secret}"}  # fmt: skip


def add_transfers(context: MasterContext, ada: User) -> None:
    """An image on its way to a box, and three from registries elsewhere."""
    sources = [
        SourceShare(box="library-pc", state="giving", size_bytes=71 * MIB, rate_bps=310_000_000),
        SourceShare(box="attic-pi", state="giving", size_bytes=22 * MIB, rate_bps=94_000_000),
        SourceShare(box="lab-3", state="left", size_bytes=3 * MIB, rate_bps=0, detail="It did not answer."),
    ]
    transfer = Transfer(
        image="ide:1", manifest=digest_of("ide:1/manifest"), began_at=time.time() - 2, size_bytes=149 * MIB,
        done_bytes=96 * MIB, rate_bps=404_000_000, sources=sources,
    )  # fmt: skip
    record = BoxTransfers(box="kitchen", at=time.time(), transfers=[transfer])
    context.redis.set(transfers_key("kitchen"), record.model_dump_json(), ex=LIFE_S)
    with context.database.write() as session:
        for source, state, done in (
            ("docker.io/library/nginx:1.27", mirrors.DONE, 68 * MIB),
            ("quay.io/jupyter/base-notebook:2025-01", mirrors.FETCHING, 210 * MIB),
            ("docker.io/library/nothing:1", mirrors.FAILED, 0),
        ):
            row = mirrors.request_mirror(session, context, ada, mirrors.Wanted(source))
            row.state, row.done_bytes = state, done
            row.size_bytes = done if state == mirrors.DONE else 340 * MIB
            row.error = "docker.io has no library/nothing:1." if state == mirrors.FAILED else None


def add_simulations(context: MasterContext, ada: User) -> dict[str, str]:
    """One that is done, and one that runs; gives the pages."""
    with context.database.write() as session:
        names = []
        for state in (State.DONE, State.RUNNING):
            wanted = Wanted(name="openraas-paper", policies=["start-soonest", "random", "cloud"], seeds=10)
            found = request_simulation(session, ada, wanted)
            row = session.get_one(Simulation, found.id)
            row.state, row.steps, row.began_at = state.value, 30, time.time() - 90
            row.done_steps = 30 if state is State.DONE else 11
            if state is State.DONE:
                row.ended_at, row.summary = time.time(), SUMMARY.model_dump()
            names.append(row.id)
    return {"simulations": "/simulations", "simulation-new": "/simulations/new",
            "simulation": f"/simulations/{names[0]}", "simulation-running": f"/simulations/{names[1]}"}  # fmt: skip
