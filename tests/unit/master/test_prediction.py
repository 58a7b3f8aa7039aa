"""What history makes of samples, and what the fleet and the policies make of that."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.words import BoxKind, MountMode, Resources, Role
from master.scheduling.estimate import predict, start_s
from master.scheduling.facts import BoxFacts
from master.scheduling.fleet import Fleet
from master.scheduling.place import choose, place
from master.scheduling.policy import load_policy
from master.scheduling.prediction import (
    HALF_LIFE_S,
    MOST_IMAGES,
    WINDOW,
    History,
    Record,
    Window,
    mean_error,
)
from master.scheduling.request import FilesetNeed, Layer, PlacementRequest, Variant

LAYER = Layer("sha256:" + "a" * 64, 50_000_000)
ROOM = Resources(cpu=4, disk_bytes=10**12, bandwidth_bps=100_000_000)
ASK = PlacementRequest(Resources(cpu=1), (Variant("i", "amd64", (LAYER,)),))


def fleet_of(*names: str) -> Fleet:
    """Boxes that are all alike, and a closed one that holds the layer."""
    seed = BoxFacts(
        "seed", open=False, capacity=Resources(bandwidth_bps=10**9), layers=frozenset({LAYER.digest})
    )
    return Fleet.build([*(BoxFacts(name, capacity=ROOM) for name in names), seed])


@given(st.lists(st.floats(0, 1e9), max_size=3 * WINDOW), st.floats(1, 1e9))
def test_an_estimate_lies_between_what_was_seen_and_what_was_expected(
    samples: list[float], prior: float
) -> None:
    window = Window()
    for sample in samples:
        window.add(sample)
    seen = [*samples[-WINDOW:], prior]
    assert min(seen) * (1 - 1e-9) <= window.estimate(prior) <= max(seen) * (1 + 1e-9)


def test_one_slow_transfer_among_good_ones_changes_next_to_nothing() -> None:
    history = History()
    for _ in range(10):
        history.fetched("a", 50_000_000, 4.0, {})
    before = history.link_bps("a", 100e6)
    history.fetched("a", 50_000_000, 400.0, {})
    assert history.link_bps("a", 100e6) > 0.95 * before


def test_one_bad_sample_never_condemns_a_box() -> None:
    history = History()
    history.fetched("a", 50_000_000, 4_000.0, {})
    assert history.link_bps("a", 100e6) > 0.6 * 100e6
    history.failed("a", Role.COMPUTE, at=0.0)
    assert history.distrust("a", Role.COMPUTE, now=0.0) < 0.1


def test_a_box_that_keeps_failing_is_distrusted_and_forgiven_with_time() -> None:
    record = Record()
    for at in range(20):
        record.add(float(at), failed=True)
    bad = record.distrust(20.0)
    assert bad > 0.6
    assert record.distrust(20.0 + HALF_LIFE_S) < bad
    assert record.distrust(20.0 + 20 * HALF_LIFE_S) < 0.01


@given(st.lists(st.tuples(st.floats(0, 1e6), st.booleans()), max_size=30), st.floats(0, 1e7))
def test_distrust_is_a_probability_whatever_the_order(events: list[tuple[float, bool]], now: float) -> None:
    record = Record()
    for at, failed in events:
        record.add(at, failed=failed)
    assert 0.0 <= record.distrust(now) < 1.0


def test_rounds_too_small_to_tell_a_rate_are_not_counted() -> None:
    history = History()
    history.fetched("a", 10_000, 5.0, {"b": 10_000})
    assert history.link_bps("a", 100e6) == 100e6
    assert history.pair_bps("a", "b", 7.0) == 7.0
    history.fetched("a", 30_000_000, 2.4, {"b": 30_000_000})
    assert history.pair_bps("a", "b", 100e6) == pytest.approx(100e6)


def test_launch_times_of_other_kinds_of_boxes_are_better_than_nothing() -> None:
    history = History()
    for _ in range(WINDOW):
        history.launched("i", BoxKind.SERVER, 9.0)
    assert history.launch_s("i", BoxKind.SERVER) == pytest.approx(9.0)
    assert history.launch_s("i", BoxKind.IOT) == history.launch_s("i", BoxKind.SERVER)
    history.launched("i", BoxKind.IOT, 30.0)
    assert 9.0 < history.launch_s("i", BoxKind.IOT) < 30.0
    assert history.launch_s("unknown", BoxKind.IOT) == 1.0


def test_memory_is_bounded() -> None:
    history = History()
    for number in range(MOST_IMAGES + 100):
        history.launched(f"i-{number}", BoxKind.SERVER, 5.0)
    assert history.launch_s("i-0", BoxKind.SERVER) == 1.0  # forgotten
    assert history.launch_s(f"i-{MOST_IMAGES}", BoxKind.SERVER) > 1.0


def test_start_soonest_goes_where_links_are_quick_and_records_good() -> None:
    policy, fleet, history = load_policy("start-soonest"), fleet_of("a", "b"), History()
    rng = np.random.default_rng(1)
    assert choose(policy, ASK, fleet, rng, most=2) == [0, 1]
    for _ in range(10):
        history.fetched("a", 50_000_000, 40.0, {})
    history.tell(fleet, now=0.0)
    assert choose(policy, ASK, fleet, rng, most=2) == [1, 0]
    for _ in range(60):
        history.failed("b", Role.COMPUTE, at=0.0)
    history.tell(fleet, now=0.0)
    assert choose(policy, ASK, fleet, rng, most=2) == [0, 1]


def test_what_was_learnt_outlives_the_next_status() -> None:
    fleet, history = fleet_of("a"), History()
    for _ in range(WINDOW):
        history.fetched("a", 50_000_000, 40.0, {})
    history.tell(fleet, now=0.0)
    slow = fleet.s_per_byte[0]
    fleet.put(BoxFacts("a", capacity=ROOM))
    assert fleet.s_per_byte[0] == slow


def test_the_prediction_of_a_start_has_its_parts() -> None:
    fleet, history = fleet_of("a"), History()
    fleet.begin_fetch(0, 12_500_000, np.array([1]))
    for _ in range(1000):
        history.launched("i", BoxKind.DESKTOP, 3.0)
    history.tell(fleet, now=0.0)
    said = predict(ASK, fleet, 0)
    assert said.queue_s == pytest.approx(1.0)
    assert said.fetch_s == pytest.approx(4.0)
    assert said.launch_s == pytest.approx(3.0)
    decided = place(load_policy("start-soonest"), ASK, fleet, np.random.default_rng(1)).placements[0]
    assert decided.predicted == said


def test_layers_come_after_what_their_depositories_still_have_to_send() -> None:
    fleet = Fleet.build(
        [
            BoxFacts("a", capacity=Resources(cpu=4, disk_bytes=10**12, bandwidth_bps=10**9)),
            BoxFacts("b", capacity=ROOM, open=False, layers=frozenset({LAYER.digest})),
        ]
    )
    assert predict(ASK, fleet, 0).fetch_s == pytest.approx(4.0)  # 50 MB at 100 Mbit/s
    fleet.outbound_bytes[1] = 25_000_000
    assert predict(ASK, fleet, 0).fetch_s == pytest.approx(6.0)
    fleet.put(BoxFacts("c", capacity=ROOM, open=False, layers=frozenset({LAYER.digest})))
    assert predict(ASK, fleet, 0).fetch_s == pytest.approx(2.0)  # from the free one at once, then from both


def test_a_depository_that_failed_too_often_is_asked_only_where_there_is_nobody_else() -> None:
    history = History()
    fleet = Fleet.build([BoxFacts(name, open=False, layers=frozenset({LAYER.digest})) for name in ("a", "b")])
    for _ in range(30):
        history.failed("a", Role.DEPOSITORY, at=0.0)
    history.tell(fleet, now=0.0)
    assert fleet.layers.sources(LAYER.digest).tolist() == [1]
    fleet.leave(1)
    assert fleet.layers.sources(LAYER.digest).tolist() == [0]


def test_a_filestore_is_chosen_by_its_record_by_policies_that_go_by_records() -> None:
    need = FilesetNeed("f", 1, MountMode.READ_ONLY)
    request = PlacementRequest(Resources(cpu=1), (Variant("i", "amd64"),), (need,))
    holding = frozenset({("f", 1)})
    fleet = Fleet.build(
        [
            BoxFacts("c", capacity=ROOM),
            BoxFacts("s-1", open=False, filesets=holding),
            BoxFacts("s-2", open=False, filesets=holding),
        ]
    )
    history = History()
    for _ in range(30):
        history.failed("s-1", Role.FILESTORE, at=0.0)
    history.tell(fleet, now=0.0)
    rng = np.random.default_rng(1)
    assert place(load_policy("start-soonest"), request, fleet, rng).placements[0].filestores == {"f": "s-2"}
    assert place(load_policy("nearest"), request, fleet, rng).placements[0].filestores == {"f": "s-1"}


def test_the_error_of_predictions_is_a_share_of_what_they_took() -> None:
    assert mean_error([]) == (0, 0.0, 0.0)
    count, error, bias = mean_error([(2.0, 1.0), (2.0, 3.0)])
    assert (count, error, bias) == (2, 0.5, 0.0)


def test_a_new_fleet_is_told_everything_and_no_fleet_keeps_what_was_forgotten() -> None:
    history = History()
    history.launched("i", BoxKind.DESKTOP, 30.0)
    history.failed("a", Role.COMPUTE, at=0.0)
    history.tell(fleet_of("a"), now=0.0)
    fleet = fleet_of("a")
    fleet.set_launch("forgotten", np.ones(4))
    history.tell(fleet, now=0.0)  # nothing is new
    assert set(fleet.launches) == {"forgotten"}
    history.tell(fleet, now=0.0, everything=True)
    assert set(fleet.launches) == {"i"}
    assert fleet.distrust[0] > 0.0


def test_a_box_that_has_the_layers_and_not_the_image_is_expected_to_unpack() -> None:
    history, fleet = History(), Fleet.build(
        [BoxFacts(name, capacity=ROOM, layers=frozenset({LAYER.digest})) for name in ("a", "b", "c")]
    )  # fmt: skip
    assert predict(ASK, fleet, 0).unpack_s == 0.0  # nothing is known of any engine
    for _ in range(WINDOW):
        history.unpacked(100_000_000, 4.0, fetched_bytes=0)
    history.has_unpacked("b", "i")
    history.tell(fleet, 0.0)
    expected = [predict(ASK, fleet, row) for row in range(3)]
    assert [said.unpack_s for said in expected] == pytest.approx([2.0, 0.0, 2.0])
    assert start_s(ASK, fleet).tolist() == pytest.approx([said.start_s for said in expected])
    assert fleet.names[choose(load_policy("start-soonest"), ASK, fleet, np.random.default_rng(0))[0]] == "b"
    history.tell(fleet, 0.0, everything=True)
    assert predict(ASK, fleet, 1).unpack_s == 0.0


def test_after_a_fetch_less_is_left_to_unpack_than_where_all_lay_there() -> None:
    history, fleet = History(), fleet_of("a")
    for _ in range(WINDOW):
        history.unpacked(100_000_000, 4.0, fetched_bytes=0)
        history.unpacked(100_000_000, 1.0, fetched_bytes=100_000_000)
    history.tell(fleet, 0.0)
    assert predict(ASK, fleet, 0).unpack_s == pytest.approx(0.5)
    fleet.gain(0, LAYER.digest)
    assert predict(ASK, fleet, 0).unpack_s == pytest.approx(2.0)


def test_what_an_engine_has_unpacked_is_known_of_images_for_two_architectures() -> None:
    history = History()
    boxes = [
        BoxFacts(name, capacity=ROOM, architecture=kind, layers=frozenset({LAYER.digest}))
        for name, kind in (("a", "amd64"), ("b", "arm64"), ("c", "arm64"))
    ]
    fleet = Fleet.build(boxes)
    both = PlacementRequest(
        Resources(cpu=1), (Variant("i", "amd64", (LAYER,)), Variant("j", "arm64", (LAYER,)))
    )
    for _ in range(WINDOW):
        history.unpacked(100_000_000, 4.0, fetched_bytes=0)
    history.has_unpacked("a", "i")
    history.has_unpacked("b", "i")  # the other architecture's, as far as that can be
    history.has_unpacked("c", "j")
    history.tell(fleet, 0.0)
    assert [predict(both, fleet, row).unpack_s for row in range(3)] == pytest.approx([0.0, 2.0, 0.0])
    assert start_s(both, fleet).tolist() == pytest.approx(
        [predict(both, fleet, row).start_s for row in range(3)]
    )
