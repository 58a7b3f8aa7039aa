"""What happens to requests, boxes and layers in a run."""

from __future__ import annotations

import numpy as np
import pytest

from common.words import Role
from master.scheduling.fleet import BANDWIDTH, CPU, DISK
from master.scheduling.policy import policy_names
from master.simulation.checks import Impossible, check
from master.simulation.engine import Simulation
from master.simulation.fetching import Fetching
from master.simulation.loading import load_scenario
from master.simulation.record import FLOATS, NOBODY, Outcome
from tests.support.simulation import GB, MB, MBIT, begin, column, kind, run, scenario

SMALL = load_scenario("openraas-paper", ["people.count=60", "servers.count=4", "slots.count=2"])


@pytest.mark.parametrize("policy", policy_names())
def test_the_same_seed_gives_the_same_result_bit_for_bit_with_every_policy(policy: str) -> None:
    one, other = run(SMALL, policy), run(SMALL, policy)
    for name in ("outcome", "box", *FLOATS):
        assert column(one, name).tobytes() == column(other, name).tobytes(), name
    assert one.tally.bytes == other.tally.bytes


def test_another_seed_gives_another_result() -> None:
    assert column(run(SMALL, seed=1), "person").tobytes() != column(run(SMALL, seed=2), "person").tobytes()


def test_people_ask_for_the_same_whatever_the_policy_does() -> None:
    one, other = run(SMALL, "random"), run(SMALL, "cloud")
    for name in ("person", "application", "lasts"):
        assert np.array_equal(column(one, name), column(other, name)), name


@pytest.mark.parametrize("sharing", ["in-turn", "max-min"])
def test_every_request_ends_and_every_amount_comes_back(sharing: str) -> None:
    changed = [f"network.sharing={sharing}", "people.count=40", "servers.count=4", "slots.count=2"]
    result = run(
        load_scenario("openraas-paper", changed)
    )  # the run checks itself, slot by slot and in the end
    outcomes = column(result, "outcome")
    assert not (outcomes == Outcome.OPEN).any()
    assert np.array_equal(column(result, "box") == NOBODY, outcomes == Outcome.NO_ROOM)


def test_a_run_that_gives_room_away_twice_is_stopped() -> None:
    simulation = begin(scenario({"compute": 5}))
    simulation.fleet.reserve(1, [51.0, 0, 0, 0, 0])
    with pytest.raises(Impossible, match="gave away more than it has of its cpu"):
        check(simulation.world, simulation.fleet, simulation.links)


def test_a_run_in_which_bytes_come_from_nowhere_is_stopped() -> None:
    simulation = begin(scenario({"compute": 5}))
    simulation.links.of(1).moved += 1000.0
    with pytest.raises(Impossible, match="Links carried"):
        check(simulation.world, simulation.fleet, simulation.links)


def test_a_request_is_dropped_if_no_box_can_take_it_in_its_slot() -> None:
    result = run(scenario({"compute": 30}, people={"count": 3}))
    assert sorted(column(result, "outcome")) == [Outcome.STARTED, Outcome.NO_ROOM, Outcome.NO_ROOM]


def test_missing_layers_come_before_the_start_and_count_as_its_delay() -> None:
    world = scenario(
        {"layers": ["base"]}, servers={"count": 2}, keeping={"copies": 1}, cost={"launch_s": 0.5}
    )
    found = [run(world, seed=seed) for seed in range(8)]
    delays = sorted({round(float(column(result, "layers_s")[0]), 3) for result in found})
    assert delays == [
        0.0,
        pytest.approx(0.8 + 0.008, abs=0.01),
    ]  # 100 MB over 1 Gbit/s in four pieces of 2 ms
    assert {float(column(result, "launch_s")[0]) for result in found} == {0.5}


def test_what_a_person_sends_first_comes_before_the_start() -> None:
    result = run(scenario({"input_bytes": 5 * MB}, device={"link_bps": 100 * MBIT}))
    assert column(result, "traffic_s") == pytest.approx([0.4 + 0.002])
    assert column(result, "speed_bps") == pytest.approx([5 * MB * 8 / 0.402])


def test_a_request_that_does_not_start_within_its_slot_is_dropped_as_late() -> None:
    result = run(scenario({"input_bytes": 500 * GB}))
    assert list(column(result, "outcome")) == [Outcome.LATE]


def test_a_task_holds_its_compute_until_its_slots_are_over() -> None:
    simulation = begin(
        scenario({"compute": 5, "slots": 2, "input_bytes": 1}, slots={"count": 3}, people={"asks": 1.0})
    )
    held = []
    for slot in range(3):
        simulation.slot(slot)
        held.append(float(simulation.fleet.reserved[CPU, 1]))
    assert held == [5.0, 10.0, 10.0]
    simulation.finish()


def test_a_cloud_desktop_holds_100_mbit_on_both_links_while_it_runs() -> None:
    simulation = begin(scenario({"stream_bps": 100 * MBIT}))
    simulation.slot(0)
    person = simulation.world.people[0]
    assert [simulation.links.of(box).held_bps for box in (1, person)] == [100 * MBIT] * 2
    assert simulation.fleet.reserved[BANDWIDTH, 1] == 100 * MBIT
    simulation.finish()
    assert [simulation.links.of(box).held_bps for box in (1, person)] == [0, 0]


def test_a_stream_over_a_thin_link_is_slower_and_says_so() -> None:
    result = run(scenario({"stream_bps": 100 * MBIT}, device={"link_bps": 40 * MBIT}))
    assert column(result, "speed_bps") == pytest.approx([38 * MBIT])  # 95 % of a link may be reserved


def test_a_mount_reserves_8_mbit_and_does_not_delay_the_start() -> None:
    world = scenario({"data_bytes": GB}, servers={"count": 2}, keeping={"copies": 1})
    held = set()
    for seed in range(8):
        simulation = begin(world, seed=seed)
        simulation.slot(0)
        assert column_of(simulation, "traffic_s") == [0.0]
        held.add(tuple(simulation.links.of(box).held_bps for box in (1, 2)))
        simulation.finish()
    assert held == {
        (0.0, 0.0),
        (8.0 * MBIT, 8.0 * MBIT),
    }  # none where the data lies on the compute box itself


def column_of(simulation: Simulation, name: str) -> list[float]:
    """A column of the requests so far."""
    return [float(value) for block in simulation.blocks for value in getattr(block, name)]


STORING = {"files": 4, "slots": 1}


def test_storage_goes_through_the_compute_box_and_charges_both_links() -> None:
    world = scenario(
        STORING,
        servers={
            "count": 1,
            "disk_bytes": 100 * MB,
        },  # no room for files: they go on to the device that lends
        people={"lends": 1.0},
        device={"open": 0, "compute": 0},
        files={"kinds": 1000, "public": 0, "size_bytes": 50 * MB},
        keeping={"free_bytes": 0},
        pools={"base": {"count": 1, "size_bytes": 1}},
    )
    result = run(world)
    assert list(column(result, "outcome")) == [Outcome.STARTED]
    assert result.tally.bytes["files", "desktop"] == 4 * 50 * MB
    assert result.tally.bytes["forwarded", "server"] == 4 * 50 * MB
    assert result.tally.complete == 1


def test_a_box_that_computes_and_stores_has_room_for_the_layers_and_the_files_together() -> None:
    servers = {"count": 2, "disk_bytes": 2_350 * MB}
    files = {"kinds": 9, "public": 0, "size_bytes": 500 * MB}
    world = scenario({**STORING, "layers": ["base"]}, servers=servers, files=files, keeping={"copies": 1})
    for seed in range(4):
        result = run(world, seed=seed)  # 4 files and the layer fit, with 250 MB to spare, where the layer is
        assert list(column(result, "outcome")) == [Outcome.STARTED]
    tight = scenario(
        {**STORING, "layers": ["base"]},
        servers={"disk_bytes": 2_050 * MB},
        files=files,
        keeping={"copies": 1},
    )
    assert list(column(run(tight), "outcome")) == [Outcome.NO_ROOM]


def test_public_content_that_the_filestore_holds_is_not_sent_again() -> None:
    files = {"kinds": 1, "public": 1, "size_bytes": 50 * MB}
    result = run(scenario(STORING, files=files, slots={"count": 3}))
    assert result.tally.bytes["files", "desktop"] == 50 * MB
    assert result.tally.public_kept == 3 + 4 + 4


def test_private_files_go_with_their_task_and_public_ones_stay() -> None:
    for public, left in ((0, 0), (1, 50 * MB)):
        files = {"kinds": 1, "public": public, "size_bytes": 50 * MB}
        simulation = begin(scenario(STORING, files=files))
        before = simulation.fleet.free[DISK, 1]
        simulation.slot(0)
        simulation.finish()
        assert before - simulation.fleet.free[DISK, 1] == left


def test_a_box_that_fetched_layers_is_their_depository_from_then_on() -> None:
    world = scenario({"layers": ["base"]}, servers={"count": 2}, keeping={"copies": 1}, slots={"count": 2})
    simulation = begin(world, "nearest", seed=next(s for s in range(9) if fetches(world, s)))
    assert len(simulation.fleet.layers.sources("base-0")) == 1
    simulation.slot(0)
    assert len(simulation.fleet.layers.sources("base-0")) == 2
    simulation.finish()


def fetches(world, seed: int) -> bool:  # type: ignore[no-untyped-def]
    """Whether the first request of a run has to fetch."""
    return float(column(run(world, seed=seed), "layers_s")[0]) > 0


def test_a_closed_and_unstable_device_serves_layers_and_never_computes() -> None:
    world = scenario(
        {"layers": ["base"], "compute": 5},
        people={"count": 30, "lends": 1.0},
        device={"open": 0, "fixed": 0, "link_bps": 10_000 * MBIT},
        servers={"count": 3},
        keeping={"copies": 8},
        slots={"count": 2},
    )
    result = run(world, "random")
    assert set(column(result, "box")) <= {NOBODY, 1, 2, 3}
    assert result.tally.bytes["layers", "desktop"] > 0


def test_an_idle_device_becomes_a_worker_as_often_as_the_scenario_says() -> None:
    world = scenario(
        {"compute": 100}, people={"count": 1000, "lends": 0.2}, device={"compute": 1}, slots={"count": 2}
    )
    result = run(world)
    assert result.tally.worker_slots["desktop"] / 2 == pytest.approx(200, rel=0.15)


LENDING = {"count": 40, "lends": 0.5}


def test_a_device_that_computes_for_others_stays_a_worker_until_the_task_ends() -> None:
    world = scenario(
        {"compute": 5, "slots": 4},
        servers={"compute": 0},
        people=LENDING,
        slots={"count": 4},
        device={"compute": 5},
    )
    simulation = begin(world)
    simulation.slot(0)
    busy = {int(box) for box in simulation.blocks[0].box if box != NOBODY}
    assert busy
    for slot in range(1, 4):
        simulation.slot(slot)
        assert all(simulation.fleet.up[box] for box in busy)
    simulation.finish()


def test_leaving_ends_what_a_device_was_serving_and_its_content_is_there_again_when_it_returns() -> None:
    people = {**LENDING, "lends": 1.0, "online": {"stays": 0.5, "returns": 0.5, "first": 1.0}}
    world = scenario(
        {"compute": 5, "slots": 6, "layers": ["base"]},
        servers={"compute": 0},
        people=people,
        slots={"count": 6},
    )
    simulation = begin(world)
    held: dict[int, set[str]] = {}
    for slot in range(6):
        simulation.slot(slot)
        for row in simulation.world.people:
            now = set(simulation.stock.held(row))
            assert held.get(row, set()) <= now
            held[row] = now
    simulation.finish()
    assert any((block.outcome == Outcome.BROKEN).any() for block in simulation.blocks)


def test_a_box_that_broke_three_tasks_counts_as_unstable_and_none_ever_rises() -> None:
    people = {"count": 30, "lends": 1.0, "online": {"stays": 0.4, "returns": 0.9, "first": 1.0}}
    world = scenario(
        {"compute": 5, "slots": 5},
        servers={"compute": 0},
        people=people,
        slots={"count": 12},
        device={"fixed": 0.5},
    )
    simulation = begin(world)
    for slot in range(12):
        simulation.slot(slot)
    broken = simulation.tally.broken
    fallen = {row for row in simulation.world.people if broken[row] >= 3}
    assert fallen
    declared, now = simulation.world.boxes.fixed, simulation.fleet.fixed
    assert not any(now[row] for row in fallen)
    assert not (now[: len(declared)] & ~declared).any()
    simulation.finish()


def test_edge_without_a_cache_forgets_its_layers_and_with_one_keeps_them() -> None:
    world = scenario({"layers": ["base"]}, slots={"count": 3})
    sent = {
        policy: run(world, policy).tally.bytes["layers", "centre"] for policy in ("edge", "edge-with-cache")
    }
    assert sent == {"edge": 3 * 100 * MB, "edge-with-cache": 100 * MB}


def test_in_the_cloud_everything_is_at_the_centre() -> None:
    result = run(
        scenario({"layers": ["base"], "data_bytes": GB, "compute": 30}, people={"count": 5}), "cloud"
    )
    assert set(column(result, "box")) == {0}
    assert not column(result, "layers_s").any()


def test_the_centre_is_no_part_of_the_edge() -> None:
    for policy in set(policy_names()) - {"cloud"}:
        result = run(scenario({"compute": 40}, people={"count": 3}), policy)
        assert set(column(result, "box")) == {NOBODY, 1}, policy


def test_nearest_takes_the_box_with_the_least_delay_that_has_room() -> None:
    result = run(SMALL, "nearest")
    block, world = result.blocks[0], result.world
    at = next(at for at, box in enumerate(block.box) if box != NOBODY)
    delays = [world.path_ms(int(block.person[at]), server) for server in world.servers]
    assert block.latency_ms[at] == pytest.approx(min(delays), rel=1e-5)


def test_requests_of_a_slot_may_also_be_spread_over_it() -> None:
    people = {"count": 50, "asking": "spread"}
    result = run(scenario({"compute": 1}, people=people))
    moments = column(result, "asked_at")
    assert (np.diff(moments) >= 0).all()
    assert moments.min() < 300 < 1500 < moments.max() < 1800


@pytest.mark.parametrize("compute", [50, 400])
def test_deciding_an_instant_at_once_is_the_same_as_one_after_the_other(
    compute: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = ["people.count=900", f"servers.compute={compute}", "tasks.plain.slots={least: 1, most: 3}"]
    world = load_scenario("nearest-with-room", changes)
    at_once = run(world)
    monkeypatch.setattr(Simulation, "_is_bulk", lambda self: False)
    singly = run(world)
    for name in ("outcome", "box", "latency_ms", "layers_s"):
        assert np.array_equal(column(at_once, name), column(singly, name), equal_nan=True), name
    assert at_once.tally.used["compute"] == pytest.approx(singly.tally.used["compute"])


def test_a_device_kind_may_be_left_out_of_the_filestores() -> None:
    simulation = begin(scenario({"compute": 1}, people={"lends": 1.0}, device=kind(stores_files=False)))
    simulation.slot(0)
    person = simulation.world.people[0]
    assert not simulation.fleet.roles[Role.FILESTORE][person]
    simulation.finish()


def test_everybody_who_is_online_asks_in_every_slot_workers_too() -> None:
    simulation = begin(scenario({"compute": 1}, people={"count": 20, "lends": 1.0}, slots={"count": 3}))
    for slot in range(3):
        simulation.slot(slot)
        assert len(simulation.blocks[slot]) == 20
        assert simulation.fleet.up[list(simulation.world.people)].all()
    simulation.finish()


@pytest.mark.parametrize(("busy_s", "pieces"), [(0.0, (2, 2)), (100.0, (0, 4))])
def test_a_layer_comes_in_pieces_from_all_holders_and_first_from_those_that_answer_first(
    busy_s: float, pieces: tuple[int, int]
) -> None:
    simulation = begin(scenario({"layers": ["base"]}, servers={"count": 3}, keeping={"copies": 2}))
    layer = simulation.world.layers[0]
    one, other = sorted(simulation.stock.meant[layer.name])
    (target,) = set(simulation.world.servers) - {one, other}
    links = simulation.links
    parts = (simulation.world, simulation.clock, links, simulation.stock, simulation.tally)
    links.load_s[one] = busy_s
    Fetching(*parts).want(target, layer, [one, other], lambda _: None)
    sent = tuple(round((links.load_s[box] - load) / 0.2) for box, load in ((one, busy_s), (other, 0.0)))
    assert sent == pieces  # a quarter of 100 MB takes 0.2 s
    simulation.clock.run_until(10)
    assert simulation.stock.holds(target, layer.name)


def test_two_that_miss_the_same_layer_on_a_box_fetch_it_once() -> None:
    world = scenario({"layers": ["base"]}, servers={"count": 1}, people={"count": 2}, keeping={"copies": 1})
    result = run(world, "edge")
    assert result.tally.bytes["layers", "centre"] == 100 * MB


def test_least_loaded_spreads_work_where_nothing_is_said_of_memory() -> None:
    result = run(scenario({"compute": 5}, servers={"count": 4}, people={"count": 8}), "least-loaded")
    assert sorted(column(result, "box").tolist()) == [1, 1, 2, 2, 3, 3, 4, 4]
