"""The plan of a transfer on a simulated clock: faults of all kinds, unequal links, boxes that share."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from tests.support.transfer_simulation import MIB, NEVER, Node, Reader, Simulation, Strategy, image
from workers.depository.plan import Arriving, Giver, bits, choose
from workers.depository.ranges import BlobRanges

MBIT = 1e6 / 8
LAYERS = [17 * MIB] * 10
SCHEDULES = 1000
PER_BATCH = 100


def first_free(
    wanted: Sequence[Arriving], giver: Giver, others: Sequence[Giver], now: float, **_: object
) -> tuple[int, int] | None:
    """The simplest strategy: the next range, whoever asks."""
    for number, blob in enumerate(wanted):
        for chunk in blob.ranges.free():
            if giver.holds(blob.digest, chunk):
                return number, chunk
    return None


def fetch(*rates: float, strategy: Strategy = choose) -> float:
    """How long one reader needs with sources of these rates in Mbit/s."""
    simulation = Simulation(strategy=strategy)
    seeds = [Node(f"seed-{number}", up=rate * MBIT) for number, rate in enumerate(rates)]
    simulation.read(Node("reader", down=1000 * MBIT), image(LAYERS), seeds)
    return simulation.run(1000)


def random_node(name: str, dice: random.Random) -> Node:
    """A source with a rate, a delay and perhaps a fault."""
    node = Node(name, up=dice.uniform(1, 200) * MBIT, delay_s=dice.choice((0.0005, 0.02, 0.2)))
    at = dice.uniform(0, 10)
    match dice.choice(("fine", "dies", "comes back", "freezes", "freezes for good", "lies", "lies at once")):
        case "dies":
            node.dies_at = at
        case "comes back":
            node.dies_at, node.revives_at = at, at + dice.uniform(0.1, 20)
        case "freezes":
            node.frozen = (at, at + dice.uniform(0.1, 20))
        case "freezes for good":
            node.frozen = (at, NEVER)
        case "lies":
            node.lies_from = at
        case "lies at once":
            node.lies_from = 0.0
    return node


@pytest.mark.parametrize("batch", range(SCHEDULES // PER_BATCH))
def test_no_fault_schedule_leads_to_a_wrong_byte_or_a_stuck_transfer(batch: int) -> None:
    for seed in range(batch * PER_BATCH, (batch + 1) * PER_BATCH):
        dice = random.Random(seed)  # noqa: S311
        simulation = Simulation(seed=seed, lines=dice.randint(1, 3))
        sizes = [dice.randint(0, 20 * MIB) for _ in range(dice.randint(1, 5))]
        seeds = [random_node(f"seed-{number}", dice) for number in range(dice.randint(0, 4))]
        seeds.insert(dice.randint(0, len(seeds)), Node("good", up=dice.uniform(5, 100) * MBIT))
        readers = [
            simulation.read(
                Node(f"reader-{number}", up=50 * MBIT, down=100 * MBIT), image(sizes), seeds, begins_at=number
            )
            for number in range(dice.randint(1, 3))
        ]
        simulation.introduce()
        simulation.run(600)
        for reader in readers:
            assert_whole(reader)


def assert_whole(reader: Reader) -> None:
    """Every range was taken once, and no wrong one."""
    assert reader.wrong == 0
    assert all(blob.ranges.is_complete for blob in reader.blobs)
    expected = {
        (number, chunk) for number, blob in enumerate(reader.blobs) for chunk in range(blob.ranges.count)
    }
    assert set(reader.taken) == expected
    assert set(reader.taken.values()) <= {1}


def test_equal_links_add_up() -> None:
    assert fetch(100) / fetch(100, 100, 100) > 2.9


def test_unequal_links_are_used_in_proportion_and_better_than_by_turns() -> None:
    whole_s = sum(LAYERS) / (160 * MBIT)
    assert whole_s / fetch(100, 50, 10) > 0.93
    assert fetch(100, 50, 1) < fetch(100, 50, 1, strategy=first_free)


def test_a_small_first_blob_from_afar_does_not_make_a_source_look_slow() -> None:
    def took(*sizes: int) -> float:
        simulation = Simulation()
        seeds = [Node(f"seed-{number}", up=100 * MBIT, delay_s=0.05) for number in range(3)]
        simulation.read(Node("reader", down=1000 * MBIT), image(sizes), seeds)
        return simulation.run(100)

    assert took(2000, 3000, *LAYERS) < 1.1 * took(*LAYERS)


def test_a_source_that_becomes_quick_is_used_again() -> None:
    def took(**fault: object) -> float:
        simulation = Simulation()
        seeds = [Node("steady", up=20 * MBIT), Node("other", up=100 * MBIT, **fault)]  # type: ignore[arg-type]
        simulation.read(Node("reader", down=1000 * MBIT), image(LAYERS), seeds)
        return simulation.run(1000)

    paused_s = 5.0
    assert took(frozen=(1.0, 1.0 + paused_s)) < took() + 2 * paused_s


def test_a_source_that_hardly_moves_does_not_slow_the_others() -> None:
    assert fetch(100, 100, 0.1) < 1.02 * fetch(100, 100)


@pytest.mark.parametrize("fault", ["dies", "freezes", "lies"])
def test_a_source_that_fails_in_the_middle_costs_less_than_not_having_it(fault: str) -> None:
    seeds = [Node(f"seed-{number}", up=100 * MBIT) for number in range(3)]
    match fault:
        case "dies":
            seeds[2].dies_at = 2.0
        case "freezes":
            seeds[2].frozen = (2.0, NEVER)
        case "lies":
            seeds[2].lies_from = 2.0
    simulation = Simulation()
    reader = simulation.read(Node("reader", down=1000 * MBIT), image(LAYERS), seeds)
    assert simulation.run(100) < fetch(100, 100)
    assert_whole(reader)


def classroom(
    *, staggered_s: float = 0.0, shared: bool = True, strategy: Strategy = choose
) -> tuple[float, float]:
    """Six boxes and one seed at 20 Mbit/s: when the last is done, and how many copies the seed sent."""
    simulation = Simulation(strategy=strategy, lines=1)
    seed = Node("seed", up=20 * MBIT)
    for number in range(6):
        reader = Node(f"reader-{number}", up=20 * MBIT, down=20 * MBIT)
        simulation.read(reader, image(LAYERS), [seed], begins_at=number * staggered_s)
    if shared:
        simulation.introduce()
    took_s = simulation.run(1000)
    return took_s, seed.sent / sum(LAYERS)


def test_a_classroom_takes_little_longer_than_one_box() -> None:
    alone_s = fetch(20)
    took_s, copies = classroom()
    assert took_s < 1.4 * alone_s
    assert copies < 2
    assert took_s < 0.3 * classroom(shared=False)[0]


def test_a_classroom_that_trickles_in_is_as_quick_after_the_last() -> None:
    took_s, copies = classroom(staggered_s=3.0)
    assert took_s - 5 * 3.0 < 1.5 * fetch(20)
    assert copies < 2.5


def test_a_slow_source_takes_a_range_that_is_there_when_its_turn_comes() -> None:
    blobs = image([40 * MIB])
    slow = Giver("slow", lines=1, chunks={blobs[0].digest: None}, seconds_per_byte=1 / (1 * MIB))
    fast = Giver("fast", lines=1, chunks={blobs[0].digest: None}, seconds_per_byte=1 / (5 * MIB))
    dice = random.Random(1)  # noqa: S311
    assert choose(blobs, slow, [fast], 0.0, me="me", dice=dice) == (0, 5)
    assert choose(blobs, fast, [slow], 0.0, me="me", dice=dice) == (0, 0)


def test_what_only_a_slow_source_has_is_asked_of_it() -> None:
    blobs = image([2 * MIB])
    slow = Giver("slow", chunks={blobs[0].digest: None}, seconds_per_byte=1.0)
    fast = Giver("fast", seconds_per_byte=1e-9)
    assert choose(blobs, slow, [fast], 0.0, me="me", dice=random.Random(1)) == (0, 0)  # noqa: S311


def test_bits_say_which_chunks_a_peer_has() -> None:
    ranges = BlobRanges(20, 1, verified_by_chunk=True)
    ranges.resume([0, 3, 9, 19], "disk")
    giver = Giver("peer", is_peer=True, chunks={"sha256:1": bits(ranges.there)})
    assert [chunk for chunk in range(30) if giver.holds("sha256:1", chunk)] == [0, 3, 9, 19]
    assert not giver.holds("sha256:2", 0)
