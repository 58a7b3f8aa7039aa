"""Layers on boxes: timers, room, and who may never lose what."""

from __future__ import annotations

import pytest

from master.scheduling.fleet import DISK
from master.simulation.engine import Simulation
from master.simulation.stock import request_for
from master.simulation.world import Layer
from tests.support.simulation import GB, MB, begin, scenario

SLOT_S = 1800.0


def shop(**keeping: object) -> Simulation:
    """Two servers, of which one holds a layer from the start, and a layer that nobody is meant to keep."""
    world = scenario(
        {"layers": ["base"]},
        servers={"count": 2, "disk_bytes": 2 * GB},
        pools={"base": {"count": 1, "size_bytes": 400 * MB}, "other": {"count": 3, "size_bytes": 300 * MB}},
        keeping={"copies": 1, "timer_slots": 48, **keeping},
        slots={"count": 1},
    )
    return begin(world)


def extra(simulation: Simulation, number: int) -> Layer:
    """One of the layers that no application uses."""
    return next(layer for layer in simulation.world.layers if layer.name == f"other-{number}")


def other_server(simulation: Simulation, layer: Layer) -> int:
    """The server that is not meant to hold a layer."""
    return 1 if 2 in simulation.stock.meant[layer.name] else 2


def test_a_layer_that_arrives_takes_room_and_is_offered() -> None:
    simulation = shop()
    layer = extra(simulation, 0)
    row = other_server(simulation, layer)
    before = simulation.fleet.capacity[DISK, row]
    simulation.stock.gain(row, layer, 0.0)
    assert before - simulation.fleet.capacity[DISK, row] == layer.size_bytes
    assert row in simulation.fleet.layers.sources(layer.name)


def test_what_was_used_longest_ago_goes_until_more_than_1_gb_is_free() -> None:
    simulation = shop()
    stock, row = simulation.stock, 1
    mine = [extra(simulation, at) for at in range(3)]
    for at, layer in enumerate(mine):
        if not stock.holds(row, layer.name):
            stock.gain(row, layer, float(at))
        stock.meant[layer.name] = {2}
        if not stock.holds(2, layer.name):
            stock.gain(2, layer, 0.0)
    for at, layer in enumerate((mine[2], mine[0], mine[1])):
        stock.touch(row, layer.name, 10.0 + at)
    free = float(simulation.fleet.capacity[DISK, row])
    stock.fill(row, free - 900 * MB)  # 900 MB are free: one layer has to go
    stock.make_room(row)
    assert [stock.holds(row, layer.name) for layer in mine] == [True, True, False]
    assert simulation.fleet.capacity[DISK, row] == 1200 * MB
    stock.make_room(row)
    assert stock.evicted == 1


def test_a_layer_that_nobody_used_for_48_slots_goes() -> None:
    simulation = shop()
    layer = extra(simulation, 1)
    row = other_server(simulation, layer)
    simulation.stock.gain(row, layer, 0.0)
    simulation.stock.expire(row, 48 * SLOT_S - 1)
    assert simulation.stock.holds(row, layer.name)
    simulation.stock.expire(row, 48 * SLOT_S)
    assert not simulation.stock.holds(row, layer.name)
    assert simulation.stock.expired == 1


def test_serving_a_layer_or_launching_with_it_resets_its_timer() -> None:
    world = scenario({"layers": ["base"]}, servers={"count": 2}, keeping={"copies": 1}, slots={"count": 1})
    seed = next(seed for seed in range(9) if fetched(world, seed))
    simulation = begin(world, seed=seed)
    simulation.slot(0)
    times = [simulation.stock.held(row)["base-0"] for row in (1, 2)]
    assert all(0 < moment < 5 for moment in times)
    simulation.finish()


def fetched(world, seed: int) -> bool:  # type: ignore[no-untyped-def]
    """Whether the one request of a run had to fetch."""
    simulation = begin(world, seed=seed)
    simulation.slot(0)
    return len(simulation.fleet.layers.holders("base-0")) == 3 - 1


@pytest.mark.parametrize("reason", ["in use", "meant", "last"])
def test_a_layer_that_is_in_use_or_pinned_or_the_last_copy_stays(reason: str) -> None:
    simulation = shop()
    stock, layer = simulation.stock, extra(simulation, 2)
    keeper = next(iter(stock.meant[layer.name]))
    row = other_server(simulation, layer)
    stock.gain(row, layer, 0.0)
    if reason == "in use":
        stock.use(row, (layer,))
    elif reason == "meant":
        row = keeper
    else:
        stock.meant[layer.name] = set()
        stock.expire(row, 99 * SLOT_S)
        row = keeper
    stock.expire(row, 99 * SLOT_S)
    assert stock.holds(row, layer.name)


def test_what_an_ended_task_does_not_need_any_more_may_go() -> None:
    simulation = shop()
    stock, layer = simulation.stock, extra(simulation, 2)
    row = other_server(simulation, layer)
    stock.gain(row, layer, 0.0)
    stock.use(row, (layer,))
    stock.unuse(row, (layer,))
    stock.expire(row, 99 * SLOT_S)
    assert not stock.holds(row, layer.name)


def leaving() -> Simulation:
    """Devices hold copies; after the first slot nobody is online any more."""
    online = {"stays": 0.0, "returns": 0.0, "first": 1.0}
    world = scenario(
        {"layers": ["base"], "data_bytes": GB, "weight": 1},
        servers={"count": 4},
        people={"count": 8, "lends": 1.0, "asks": 0.0, "online": online},
        keeping={"copies": 5, "lost_after_slots": 1},
        slots={"count": 5},
    )
    return begin(world, seed=1)


def test_layers_and_data_are_brought_back_to_their_number_after_a_loss() -> None:
    simulation = leaving()
    for slot in range(4):
        simulation.slot(slot)
    servers = set(simulation.world.servers)
    assert set(simulation.fleet.layers.sources("base-0").tolist()) == servers
    need = request_for(simulation.world, simulation.world.applications[0]).filesets[0]
    assert set(simulation.fleet.filestores(need).tolist()) == servers
    assert simulation.tally.copies_made > 0
    simulation.finish()


def test_a_device_that_is_away_for_less_than_a_slot_is_no_loss() -> None:
    simulation = leaving()
    simulation.slot(0)
    simulation.slot(1)  # everybody has just gone
    assert simulation.tally.copies_made == 0
    simulation.slot(2)
    assert simulation.tally.copies_made > 0
    simulation.finish()
