"""Every figure of the published model is in force in the scenario `openraas-paper`."""

from __future__ import annotations

import numpy as np
import pytest

from common.words import BoxKind
from master.simulation.loading import load_scenario
from master.simulation.scenario import Scenario, Sharing
from master.simulation.streams import streams
from master.simulation.world import KINDS, World, make_world

GB, MB, MBIT = 10**9, 10**6, 10**6
PAPER = load_scenario("openraas-paper")


@pytest.fixture(scope="module")
def world() -> World:
    """A world of the paper's size."""
    return make_world(PAPER, streams(7))


@pytest.fixture(scope="module")
def crowd() -> World:
    """The same with so many people that averages are sharp."""
    return make_world(load_scenario("openraas-paper", ["people.count=40000"]), streams(7))


def of(world: World, kind: str) -> np.ndarray:
    """The rows of a kind."""
    return np.flatnonzero(world.boxes.kind == KINDS.index(kind))


def test_there_are_30_servers_and_1000_people_in_5_areas_each_with_its_servers_and_people(
    world: World,
) -> None:
    assert (len(world.servers), len(world.people)) == (30, 1000)
    areas = world.boxes.area
    assert [int((areas[world.servers] == area).sum()) for area in range(5)] == [6] * 5
    assert [int((areas[world.people] == area).sum()) for area in range(5)] == [200] * 5


def test_half_of_the_devices_are_desktops_35_percent_mobile_15_percent_iot(world: World) -> None:
    assert [len(of(world, kind)) for kind in ("desktop", "mobile", "iot")] == [500, 350, 150]


def test_a_server_has_50_gf_1_tb_and_1_gbit_exactly_and_is_open_and_fixed(world: World) -> None:
    rows, boxes = of(world, "server"), world.boxes
    assert set(boxes.compute[rows]) == {50.0}
    assert set(boxes.disk_bytes[rows]) == {1000.0 * GB}
    assert set(boxes.link_bps[rows]) == {1000.0 * MBIT}
    assert boxes.open[rows].all()
    assert boxes.fixed[rows].all()


@pytest.mark.parametrize(
    ("kind", "amount", "mean", "sd", "least"),
    [
        ("desktop", "compute", 20, 5, 2),
        ("desktop", "disk_bytes", 200 * GB, 60 * GB, 100 * GB),
        ("desktop", "link_bps", 300 * MBIT, 70 * MBIT, 50 * MBIT),
        ("mobile", "compute", 5, 2, 2),
        ("mobile", "disk_bytes", 30 * GB, 15 * GB, 10 * GB),
        ("mobile", "link_bps", 300 * MBIT, 70 * MBIT, 50 * MBIT),
        ("iot", "compute", 5, 2, 2),
        ("iot", "disk_bytes", 10 * GB, 5 * GB, 5 * GB),
        ("iot", "link_bps", 100 * MBIT, 30 * MBIT, 20 * MBIT),
        ("desktop", "access_ms", 7, 2, 0.5),
        ("mobile", "access_ms", 7, 2, 0.5),
        ("iot", "access_ms", 7, 2, 0.5),
    ],
)
def test_devices_have_these_averages_and_nothing_below_the_least(
    crowd: World, kind: str, amount: str, mean: float, sd: float, least: float
) -> None:
    drawn = getattr(PAPER.people.devices[BoxKind(kind)], amount)
    assert (drawn.mean, drawn.sd, drawn.min) == (mean, sd, least)
    values = getattr(crowd.boxes, amount)[of(crowd, kind)]
    assert values.mean() == pytest.approx(mean, rel=0.02)
    assert values.min() >= least


def test_servers_are_3_ms_away_with_a_deviation_of_1(world: World) -> None:
    access = PAPER.servers.access_ms
    assert (access.mean, access.sd, access.min) == (3, 1, 0.5)


def test_nine_desktops_of_ten_and_all_iot_are_open_and_no_mobile_is(world: World) -> None:
    opened = [int(world.boxes.open[of(world, kind)].sum()) for kind in ("desktop", "mobile", "iot")]
    assert opened == [450, 0, 150]


def test_desktops_are_fixed_mobiles_unstable_and_70_percent_of_iot_fixed(world: World) -> None:
    fixed = [int(world.boxes.fixed[of(world, kind)].sum()) for kind in ("desktop", "mobile", "iot")]
    assert fixed == [500, 0, 105]


def test_between_areas_lie_10_ms_more_with_a_deviation_of_5_and_at_least_1(world: World) -> None:
    between = PAPER.network.backbone_ms
    assert (between.mean, between.sd, between.min) == (10, 5, 1)
    pairs = world.backbone_ms[np.triu_indices(6, 1)]
    assert pairs.min() >= 1
    assert np.array_equal(world.backbone_ms, world.backbone_ms.T)
    assert not world.backbone_ms.diagonal().any()


def test_the_delay_of_a_path_is_the_sum_of_its_parts(world: World) -> None:
    one, other = world.servers[0], world.people[1]
    boxes = world.boxes
    between = world.backbone_ms[boxes.area[one], boxes.area[other]]
    assert between > 0
    assert world.path_ms(one, other) == pytest.approx(boxes.access_ms[one] + boxes.access_ms[other] + between)


def test_jitter_is_a_tenth_of_the_delay() -> None:
    assert PAPER.network.jitter == 0.1


def test_the_centre_is_ample(world: World) -> None:
    everybody = PAPER.people.count
    assert world.boxes.compute[0] > 100 * everybody * 5
    assert world.boxes.link_bps[0] > 2 * everybody * 4 * 100 * MBIT


def test_a_slot_lasts_30_minutes_and_everybody_asks_in_every_slot() -> None:
    assert PAPER.slots.length_s == 1800
    assert PAPER.people.asks == 1.0


def test_who_is_online_stays_with_0_9_and_who_is_not_returns_with_0_3() -> None:
    online = PAPER.people.online
    assert (online.stays, online.returns) == (0.9, 0.3)
    assert online.first == pytest.approx(0.3 / (0.3 + 0.1))


def test_an_idle_device_becomes_a_worker_with_one_fifth() -> None:
    assert PAPER.people.lends == 0.2


def test_the_three_types_of_task_are_equally_likely() -> None:
    assert {name: task.weight for name, task in PAPER.tasks.items()} == {
        "processing": 1, "storage": 1, "desktop": 1
    }  # fmt: skip


def test_processing_takes_5_gf_5_mb_up_400_mb_of_layers_500_mb_of_data_and_one_slot() -> None:
    task = PAPER.tasks["processing"]
    assert (task.compute, task.input_bytes, task.data_bytes) == (5, 5 * MB, 500 * MB)
    assert sizes(PAPER, "processing") == [100 * MB, 200 * MB, 100 * MB]
    assert (task.slots.least, task.slots.most) == (1, 1)


def test_storage_computes_nothing_and_brings_20_files_of_500_mb_for_1_to_5_slots() -> None:
    task = PAPER.tasks["storage"]
    assert (task.compute, task.files, PAPER.files.size_bytes) == (0, 20, 500 * MB)
    assert sizes(PAPER, "storage") == [100 * MB, 50 * MB, 50 * MB, 10 * MB]
    assert all(PAPER.pools[pool].count == 1 for pool in task.layers)  # the same for all
    assert (task.slots.least, task.slots.most) == (1, 5)


def test_a_cloud_desktop_takes_5_gf_100_mbit_1_gb_of_layers_20_gb_of_data_and_1_to_4_slots() -> None:
    task = PAPER.tasks["desktop"]
    assert (task.compute, task.stream_bps, task.data_bytes) == (5, 100 * MBIT, 20 * GB)
    assert sizes(PAPER, "desktop") == [100 * MB, 200 * MB, 200 * MB, 500 * MB]
    assert (task.slots.least, task.slots.most) == (1, 4)


def sizes(scenario: Scenario, task: str) -> list[int]:
    """The sizes of a task's layers, lowest first."""
    return [scenario.pools[pool].size_bytes for pool in scenario.tasks[task].layers]


def test_there_are_50_processing_1_storage_and_100_desktop_applications_that_share_layers(
    world: World,
) -> None:
    assert [task.applications for task in PAPER.tasks.values()] == [50, 1, 100]
    chosen = [layer.name for application in world.applications for layer in application.layers]
    assert len(set(chosen)) < len(chosen) / 10


def test_layers_come_from_4_core_os_6_driver_6_library_and_2_compatibility_ones() -> None:
    pools = PAPER.pools
    assert pools["core-os"].count == 4
    assert pools["drivers"].count == 6
    assert pools["processing-library"].count + pools["desktop-library"].count == 6
    assert pools["compatibility"].count == 2


def test_data_and_layers_lie_on_3_boxes_from_the_start_one_of_them_a_server(world: World) -> None:
    assert PAPER.keeping.copies == 3
    held = [world.data_copies[item.number] for item in world.applications if item.data_bytes]
    for rows in [*world.layer_copies, *held]:
        assert len(set(rows)) == 3
        assert any(row in world.servers for row in rows)


def test_there_are_100_kinds_of_files_and_40_percent_are_public() -> None:
    assert (PAPER.files.kinds, PAPER.files.public) == (100, 0.4)


def test_transfers_go_in_turn_and_max_min_sharing_is_an_option() -> None:
    assert PAPER.network.sharing is Sharing.IN_TURN
    assert load_scenario("openraas-paper", ["network.sharing=max-min"]).network.sharing is Sharing.MAX_MIN


def test_a_mount_reserves_8_mbit() -> None:
    assert PAPER.network.mount_bps == 8 * MBIT


def test_a_layer_is_split_into_several_threads() -> None:
    assert PAPER.network.threads == 4


def test_a_layers_timer_runs_for_48_slots_and_1_gb_is_kept_free() -> None:
    assert (PAPER.keeping.timer_slots, PAPER.keeping.free_bytes) == (48, GB)
