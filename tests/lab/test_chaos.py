"""Rounds of chaos: an image comes whole while depositories are killed, cut off, frozen and lie, and nothing is left.

Everything random follows from one seed, which is printed. `OPENRAAS_CHAOS_SEED` repeats a run,
`OPENRAAS_CHAOS_ROUNDS` makes it shorter or longer.
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from common.errors import OpenRaaSError
from common.oci.store import ContentStore
from common.wishes import ImageSource
from common.words import Role
from tests.benchmarks.layers.boxes import LOOPBACK_PORT, empty, hold
from tests.benchmarks.layers.image import REPOSITORY, Image, Images
from tests.benchmarks.layers.world import Machine, World, world
from tests.lab.chaos import Fault, Tree, exported_tree, going_wrong, random_image
from tests.support.redis import wait_until

ROUNDS = int(os.environ.get("OPENRAAS_CHAOS_ROUNDS", "20"))
SEED = int(os.environ.get("OPENRAAS_CHAOS_SEED", secrets.randbelow(10**6)))
MBIT = 1_000_000
RATES = (40 * MBIT, 40 * MBIT, 20 * MBIT)
LAYERS = 6
HURT = 0.85  # how likely it is that something happens to a depository that may be hurt
READER_KILLED = 0.3
PULLS = 3  # after the reader's front was killed the engine may have to be asked again, as a new try does
PULL_S = 240.0

pytestmark = [pytest.mark.lab, pytest.mark.engine, pytest.mark.long, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Site:
    """Three depositories on links of their own, and the box that fetches."""

    world: World
    seeds: list[Machine]
    reader: Machine

    @property
    def machines(self) -> list[Machine]:
        return [*self.seeds, self.reader]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Made once; when it is gone nothing of it is left, by what the kernel says and not by the lab's own account."""
    print(f"chaos: seed {SEED}, {ROUNDS} rounds")
    folder = Path(tempfile.mkdtemp(prefix="orchaos-"))
    try:
        tiny, _ = random_image(folder, 1, random.Random(0))  # noqa: S311
        with world(Images(tiny, tiny, 0), Path("/nonexistent")) as made:
            lab, directory = made.lab.state.lab, made.lab.state.state_dir
            seeds = [made.machine(f"seed-{number}", rate, rate) for number, rate in enumerate(RATES, 1)]
            for seed in seeds:
                seed.start_box(Role.DEPOSITORY)
            yield Site(made, seeds, made.reader())
        assert left_behind(lab, directory) == []
    finally:
        shutil.rmtree(folder)


def left_behind(lab: str, directory: Path) -> list[str]:
    """What the machine still has of a lab."""
    found = [f"file {directory}"] if directory.exists() else []
    marks = (str(directory).encode(), f"/{lab}.run".encode(), f"/{lab}/".encode())
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and any(mark in (entry / "cmdline").read_bytes() for mark in marks):
                found.append(f"process {entry.name}")
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found += [f"mount {line}" for line in mounts if str(directory) in line or f"/{lab}.run" in line]
    spaces = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    found += [f"namespace {line}" for line in spaces.splitlines() if f"-{lab}-" in line]
    found += [f"interface {path.name}" for path in Path("/sys/class/net").glob(f"*{lab}*")]
    found += [f"control group {path}" for path in Path("/sys/fs/cgroup").glob(f"*/openraas-lab-{lab}-*")]
    loops = subprocess.run(["losetup", "--list", "--raw"], capture_output=True, text=True, check=True).stdout
    return found + [f"loop device {line}" for line in loops.splitlines() if str(directory) in line]


def kill_front(machine: Machine) -> None:
    """`kill -9` on the process that serves and fetches."""
    os.kill(machine.pid("front"), signal.SIGKILL)
    machine.programs["front"].wait(20)
    for name in ("layers.sock", "front.sock"):
        (machine.paths.run / name).unlink(missing_ok=True)


def restart_front(machine: Machine) -> None:
    kill_front(machine)
    machine.start_front()


def nothing() -> None:
    """What a lie needs to be undone: the next round brings other blobs."""


def hurt(site: Site, seed: Machine, image: Image, dice: random.Random) -> Fault:
    """One thing that happens to a depository."""
    kind = dice.choice(("kill", "cut", "freeze", "lie"))
    begin, end = {
        "kill": (lambda: kill_front(seed), seed.start_front),
        "cut": (lambda: site.world.lab.cut(seed.name), lambda: site.world.lab.heal(seed.name)),
        "freeze": (seed.freeze, seed.thaw),
        "lie": (lambda: seed.lie(image), nothing),
    }[kind]
    after = dice.uniform(0.0, 0.8)
    return Fault(f"{kind} {seed.name} at {after:.0%}", after, after + dice.uniform(0.05, 0.6), begin, end)


def faults_of(site: Site, image: Image, dice: random.Random) -> list[Fault]:
    """What happens in a round: one depository is spared, so that one good source is always left."""
    spared = dice.choice(site.seeds)
    hurting = [seed for seed in site.seeds if seed is not spared and dice.random() < HURT]
    found = [hurt(site, seed, image, dice) for seed in hurting]
    if dice.random() < READER_KILLED:
        after = dice.uniform(0.1, 0.8)
        name = f"kill reader at {after:.0%}"
        found.append(Fault(name, after, 2.0, lambda: restart_front(site.reader), nothing))
    return found


def pull(reader: Machine, source: ImageSource) -> str:
    """Let the engine pull; returns what it says if it cannot."""
    try:
        reader.layers.plan(source)
    except OpenRaaSError as error:
        return str(error)
    reference = f"127.0.0.1:{LOOPBACK_PORT}/{REPOSITORY}@{source.manifest}"
    command = ["/usr/bin/docker", "--host", f"unix://{reader.socket}", "pull", "--quiet", reference]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PULL_S, check=False)
    return done.stderr if done.returncode else ""


def tree_in_the_engine(reader: Machine, source: ImageSource) -> Tree:
    """The image's files as the engine unpacked them."""
    reference = f"127.0.0.1:{LOOPBACK_PORT}/{REPOSITORY}@{source.manifest}"
    made = reader.docker("create", reference)
    assert made.returncode == 0, made.stderr
    container = made.stdout.strip()
    command = ["/usr/bin/docker", "--host", f"unix://{reader.socket}", "export", container]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
            tree = exported_tree(tar)
    reader.docker("rm", container)
    return tree


def half_files(machine: Machine) -> list[str]:
    return sorted(path.name for path in (ContentStore(machine.paths.store).root / "ingest").iterdir())


@pytest.mark.parametrize("number", range(1, ROUNDS + 1))
def test_an_image_comes_whole_whatever_happens_to_its_depositories(
    site: Site, tmp_path: Path, number: int
) -> None:
    dice = random.Random(f"{SEED}/{number}")  # noqa: S311
    image, tree = random_image(tmp_path, LAYERS, dice)
    for seed in site.seeds:
        hold(seed.paths, [image])
    source = site.world.place(image, site.reader, site.seeds)
    faults = faults_of(site, image, dice)
    try:
        with going_wrong(site.reader, image.wire_bytes, faults) as happened:
            tries = [said := pull(site.reader, source)]
            while said and len(tries) < PULLS and any(name.startswith("kill reader") for name in happened):
                tries.append(said := pull(site.reader, source))
        facts = site.reader.layers.transfer(source.manifest)
        print(
            f"round {number}: {', '.join(happened) or 'nothing'}; {len(tries)} pulls, banned {facts.banned}"
        )
        log = (site.reader.directory / "front.log").read_text()[-3000:]
        assert not said, f"seed {SEED}: {happened}\n{tries}\n{log}"
        assert facts.state == "done", facts
        assert set(facts.banned) <= {name.split()[1] for name in happened if name.startswith("lie ")}
        assert tree_in_the_engine(site.reader, source) == tree
        for machine in site.machines:
            wait_until(lambda machine=machine: half_files(machine) == [], 20, f"half files of {machine.name}")
    finally:
        site.reader.forget()
        for seed in site.seeds:
            empty(seed.paths)
