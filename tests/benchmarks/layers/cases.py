"""The cases of `make bench-layers`. Each makes its machines, measures, and says what its figures must reach."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import median

from tests.benchmarks.layers import pulls
from tests.benchmarks.layers.image import Image
from tests.benchmarks.layers.pulls import Times
from tests.benchmarks.layers.world import Machine, World
from tests.benchmarks.lines import Case

RIVAL = "docker-registry"
LOCAL = "127.0.0.1"
MBIT = 1_000_000
FAST = 1000 * MBIT
MOST_PEAK_MB = 80.0


@dataclass
class Series:
    """Times of one way of pulling, run by run."""

    name: str
    runs: list[Times] = field(default_factory=list)

    def add(self, times: Times) -> None:
        """One more run, told at once."""
        self.runs.append(times)
        print(f"  {self.name}: last byte {times.bytes_s:.2f} s, ready {times.ready_s:.2f} s", flush=True)

    @property
    def bytes_s(self) -> list[float]:
        """Until the last byte."""
        return [times.bytes_s for times in self.runs]

    @property
    def ready_s(self) -> list[float]:
        """Until the engine has the image."""
        return [times.ready_s for times in self.runs]


def ratios(above: list[float], below: list[float]) -> list[float]:
    """Run by run: what was measured next to each other is compared."""
    return [one / other for one, other in zip(above, below, strict=True)]


def case(name: str, values: list[float], unit: str = "x", rival: str = RIVAL, **must: float) -> Case:
    """The median of what was measured."""
    return Case(name, median(values), unit, rival, values, **must)


class Bench:
    """A reader that pulls the whole image in several ways, forgetting all between them."""

    def __init__(self, world: World, reader: Machine) -> None:
        self.world = world
        self.reader = reader
        self.whole: Image = world.images.whole

    def ours(
        self, series: Series, holders: list[Machine], meanwhile: Callable[[], None] = lambda: None
    ) -> None:
        """From these depositories."""
        source = self.world.place(self.whole, self.reader, holders)
        series.add(pulls.ours(self.reader, source, meanwhile))
        self.reader.forget()

    def rivals(self, series: Series, registry: str) -> None:
        """From a registry."""
        series.add(pulls.rivals(self.reader, self.whole, registry))
        self.reader.forget()

    def peak(self, name: str) -> Case:
        """The most memory that the transferring process had."""
        peak = pulls.peak_bytes(self.reader.pid("front")) / 1e6
        return case(f"{name} peak memory", [peak], "MB", "none", at_most=MOST_PEAK_MB)


def spread_over(
    world: World, runs: int, name: str, *rates_bps: int
) -> tuple[Series, Series, Series, list[Case]]:
    """Several depositories against one registry on the first one's link, and the engine by itself."""
    seeds = world.seeds(*rates_bps)
    reader = world.reader(rate_bps=FAST)
    seeds[0].start_registry()
    reader.start_registry(LOCAL)
    bench = Bench(world, reader)
    ours, rival, engine = Series("ours"), Series("rival"), Series("engine alone")
    for _ in range(runs):
        bench.ours(ours, seeds)
        bench.rivals(rival, seeds[0].address)
        bench.rivals(engine, LOCAL)
    return ours, rival, engine, [bench.peak(name)]


def three_by_100(world: World, runs: int) -> Iterator[Case]:
    """Three depositories at 100 Mbit/s."""
    ours, rival, engine, more = spread_over(world, runs, "3x100", *[100 * MBIT] * 3)
    yield case("3x100 bytes", ratios(rival.bytes_s, ours.bytes_s), at_least=2.8)
    yield case("3x100 ready", ratios(rival.ready_s, ours.ready_s))
    wire_s = world.images.whole.wire_bytes * 8 / (300 * MBIT)
    limit = [max(wire_s, own) for own in engine.ready_s]
    yield case(
        "3x100 ready over its limit", ratios(ours.ready_s, limit), rival="wire or engine", at_most=1.15
    )
    yield from more


def three_by_20(world: World, runs: int) -> Iterator[Case]:
    """Three depositories at 20 Mbit/s."""
    ours, rival, _, more = spread_over(world, runs, "3x20", *[20 * MBIT] * 3)
    yield case("3x20 bytes", ratios(rival.bytes_s, ours.bytes_s))
    yield case("3x20 ready", ratios(rival.ready_s, ours.ready_s), at_least=2.85)
    yield from more


def unequal(world: World, runs: int) -> Iterator[Case]:
    """Links of 100, 50 and 10 Mbit/s."""
    ours, rival, _, more = spread_over(world, runs, "100/50/10", *(rate * MBIT for rate in (100, 50, 10)))
    rates = [world.images.whole.wire_bytes * 8 / MBIT / took / 160 for took in ours.bytes_s]
    yield case("100/50/10 of 160 Mbit/s", rates, rival="links", at_least=0.9)
    yield case("100/50/10 bytes", ratios(rival.bytes_s, ours.bytes_s))
    yield from more


def faults(world: World, runs: int) -> Iterator[Case]:
    """One of three sources freezes, lies, or is killed in the middle, against two from the start."""
    seeds = world.seeds(*[100 * MBIT] * 3)
    bench = Bench(world, world.reader(rate_bps=FAST))
    victim, others = seeds[2], seeds[:2]
    series = {name: Series(name) for name in ("frozen", "lying", "killed")}
    acts: dict[str, Callable[[], None]] = {
        "frozen": victim.freeze,
        "lying": lambda: victim.lie(world.images.whole),
        "killed": victim.kill,
    }
    two: dict[str, Series] = {name: Series("two sources") for name in series}
    for name, act in acts.items():
        for _ in range(runs if name == "frozen" else 1):  # a killed or spoilt machine stays so
            bench.ours(two[name], others)
            bench.ours(series[name], seeds, lambda act=act: (time.sleep(2), act())[1])  # type: ignore[misc]
            if name == "frozen":
                victim.thaw()
    for name, measured in series.items():
        yield case(f"{name} bytes", ratios(measured.bytes_s, two[name].bytes_s), rival="two sources")
        yield case(
            f"{name} ready", ratios(measured.ready_s, two[name].ready_s), rival="two sources", at_most=1.25
        )
    yield bench.peak("faults")


def mostly_local(world: World, runs: int) -> Iterator[Case]:
    """70 % of the bytes are there already."""
    seeds = world.seeds(*[100 * MBIT] * 3)
    reader = world.reader(rate_bps=FAST)
    bench = Bench(world, reader)
    all_missing, rest_missing = Series("all missing"), Series("30 % missing")
    for _ in range(runs):
        bench.ours(all_missing, seeds)
        pulls.ours(reader, world.place(world.images.base, reader, seeds))
        bench.ours(rest_missing, seeds)
    share = 1 - sum(part.measured.size_bytes for part in world.images.base.parts) / bench.whole.wire_bytes
    for name, rest, whole in (
        ("bytes", rest_missing.bytes_s, all_missing.bytes_s),
        ("ready", rest_missing.ready_s, all_missing.ready_s),
    ):
        values = [ratio / share for ratio in ratios(rest, whole)]
        yield case(f"70 % local {name} over its share", values, rival="all missing", at_most=1.15)


def classroom(world: World, runs: int) -> Iterator[Case]:
    """Six boxes start the same image at once from one seed, all on links of 20 Mbit/s."""
    rate = 20 * MBIT
    (seed,) = world.seeds(rate)
    readers = [world.reader(f"reader-{number + 1}", rate) for number in range(6)]
    alone = Bench(world, readers[0])
    one, last, ready, copies = Series("one alone"), [], [], []
    wire = world.images.whole.wire_bytes
    for _ in range(runs):
        alone.ours(one, [seed])
        sent = seed.sent_bytes()
        together = start_together(world, seed, readers)
        copies.append((seed.sent_bytes() - sent) / wire)
        last.append(max(times.bytes_s for times in together))
        ready.append(max(times.ready_s for times in together))
        said = ", ".join(f"{times.bytes_s:.1f}/{times.ready_s:.1f}" for times in together)
        print(f"  six boxes: {said} s; the seed sent {copies[-1]:.2f} copies", flush=True)
    yield case("6 boxes last byte", ratios(last, one.bytes_s), rival="one box", at_most=1.5)
    yield case("6 boxes copies sent by the seed", copies, "copies", "none", at_most=2.0)
    yield case("6 boxes last unpacking", ready, "s", "none")


def start_together(world: World, seed: Machine, readers: list[Machine]) -> list[Times]:
    """All at once; each is told of the others."""

    def pull(reader: Machine) -> Times:
        others = [machine for machine in readers if machine is not reader]
        return pulls.ours(reader, world.place(world.images.whole, reader, [seed], others))

    with ThreadPoolExecutor(len(readers)) as pool:
        times = list(pool.map(pull, readers))
    for reader in readers:
        reader.forget()
    return times


def unshaped(world: World, runs: int) -> Iterator[Case]:
    """One depository and nothing that slows it down."""
    seeds = world.seeds(None)
    reader = world.reader()
    seeds[0].start_registry()
    bench = Bench(world, reader)
    ours, rival, costs, floors = Series("ours"), Series("rival"), [], []
    wire_gb = bench.whole.wire_bytes / 1e9
    for _ in range(runs):
        before = pulls.cpu_s(reader.pid("front"))
        bench.ours(ours, seeds)
        costs.append((pulls.cpu_s(reader.pid("front")) - before) / wire_gb)
        bench.rivals(rival, seeds[0].address)
        floors.append(pulls.floor_s(reader, world.place(bench.whole, reader, seeds)) / wire_gb)
    print(
        f"  CPU per wire GB: ours {median(costs):.2f} s, hashing twice and TLS {median(floors):.2f} s",
        flush=True,
    )
    yield case("unshaped ready", ratios(rival.ready_s, ours.ready_s), at_least=1.0)
    above = [cost - floor for cost, floor in zip(costs, floors, strict=True)]
    yield case("unshaped CPU above hashing and TLS", above, "s/GB", "none", at_most=2.0)
    yield bench.peak("unshaped")


CASES: dict[str, Callable[[World, int], Iterator[Case]]] = {
    "3x100": three_by_100,
    "3x20": three_by_20,
    "100-50-10": unequal,
    "faults": faults,
    "70-local": mostly_local,
    "classroom": classroom,
    "unshaped": unshaped,
}
