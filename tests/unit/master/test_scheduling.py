"""Placement as pure code."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import BadInput
from common.status import BoxStatus, DiskUse, EngineFacts, FilesetHolding
from common.words import BoxKind, Coordinate, MountMode, Resources, Role
from master.scheduling.facts import BoxFacts, facts_of
from master.scheduling.fleet import MOUNT_S, Fleet
from master.scheduling.place import place
from master.scheduling.policy import Policy, load_policy
from master.scheduling.request import FilesetNeed, Layer, Neighbours, PlacementRequest, Spread, Variant

GIB = 2**30
A, B = Layer("sha256:" + "a" * 64, 100_000_000), Layer("sha256:" + "b" * 64, 50_000_000)
POLICIES = ["first", "random", "nearest", "start-soonest"]


def box(
    name: str, *, layers: set[str] = frozenset(), reserved: Resources | None = None, **status: object
) -> BoxFacts:  # type: ignore[assignment]
    """A roomy box of all roles, unless told otherwise."""
    values: dict[str, object] = {
        "roles": frozenset(Role),
        "kind": BoxKind.DESKTOP,
        "open": True,
        "fixed": True,
        "architecture": "amd64",
        "capacity": Resources(cpu=4, memory_bytes=8 * GIB, bandwidth_bps=10**8),
        "used": Resources(),
        "disk": DiskUse(lent_bytes=100 * GIB),
        **status,
    }
    record = BoxStatus(box=name, epoch="e", sequence=1, redis_epoch="r", at=time.time(), **values)  # type: ignore[arg-type]
    return facts_of(record, reserved or Resources(), frozenset(layers))


def ask(**values: object) -> PlacementRequest:
    """A small request."""
    layers = values.pop("layers", ())
    variant = Variant("sha256:" + "f" * 64, "amd64", layers)  # type: ignore[arg-type]
    return PlacementRequest(**{"resources": Resources(cpu=1), "variants": (variant,), **values})  # type: ignore[arg-type]


def decide(fleet: Fleet, request: PlacementRequest, policy: str = "nearest"):  # type: ignore[no-untyped-def]
    """Place by a registered policy."""
    return place(load_policy(policy), request, fleet, np.random.default_rng(7), explain=True)


def test_nearest_takes_the_box_closest_to_the_person() -> None:
    fleet = Fleet.build(
        [
            box("far", coordinate=Coordinate(x_ms=50)),
            box("near", coordinate=Coordinate(x_ms=5)),
            box("mid", coordinate=Coordinate(x_ms=20)),
        ]
    )
    assert [item.compute for item in decide(fleet, ask()).placements] == ["near", "mid", "far"]


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({"open": False}, "is closed"),
        ({"open": False, "alert": "Full."}, "has too little free space and closed itself"),
        ({"fixed": False}, "is unstable"),
        ({"roles": frozenset({Role.FILESTORE})}, "has not the compute role"),
        ({"architecture": "arm64"}, "is arm64, the image is for amd64"),
        ({"capacity": Resources(cpu=0.5)}, "needs 1 cpu, 0.5 is free"),
    ],
)
def test_a_box_that_is_not_eligible_is_left_out_with_the_reason(status: dict[str, object], why: str) -> None:
    decision = decide(Fleet.build([box("odd", **status), box("good")]), ask())
    assert [item.compute for item in decision.placements] == ["good"]
    assert [(item.box, item.why) for item in decision.left_out] == [("odd", why)]


def test_room_counts_what_is_reserved_already() -> None:
    fleet = Fleet.build([box("full", reserved=Resources(cpu=3.5)), box("half", reserved=Resources(cpu=2))])
    assert [item.compute for item in decide(fleet, ask()).placements] == ["half"]


def test_layers_that_are_there_need_no_room() -> None:
    small = DiskUse(lent_bytes=100_000_000)
    fleet = Fleet.build([
        box("holds", disk=small, layers={A.digest}), box("lacks", disk=small),
        box("seed", open=False, layers={A.digest}),
    ])  # fmt: skip
    decision = decide(fleet, ask(layers=(A,)))
    assert [item.compute for item in decision.placements] == ["holds"]
    assert decision.placements[0].missing_bytes == 0


def test_every_box_that_holds_a_layer_is_its_depository_also_closed_and_unstable_ones() -> None:
    fleet = Fleet.build([
        box("c"), box("closed", open=False, layers={A.digest, B.digest}),
        box("unstable", fixed=False, layers={A.digest}),
    ])  # fmt: skip
    placement = decide(fleet, ask(layers=(A, B))).placements[0]
    assert placement.depositories == {A.digest: ("closed", "unstable"), B.digest: ("closed",)}


def test_a_box_whose_owner_keeps_its_layers_is_nobodys_depository_but_its_own() -> None:
    fleet = Fleet.build([box("own", layers={A.digest}, offers_layers=False), box("other")])
    decision = decide(fleet, ask(layers=(A,)))
    assert [(item.compute, item.depositories) for item in decision.placements] == [("own", {A.digest: ()})]
    assert [item.box for item in decision.left_out] == ["other"]


def test_the_filestore_is_the_fixed_holder_nearest_to_the_compute_box() -> None:
    held = [FilesetHolding(fileset="f-1", version=2)]
    fleet = Fleet.build([
        box("c", coordinate=Coordinate(x_ms=1)),
        box("near", open=False, filesets=held, coordinate=Coordinate(x_ms=3)),
        box("nearer-but-unstable", open=False, fixed=False, filesets=held, coordinate=Coordinate(x_ms=2)),
        box("far", open=False, filesets=held, coordinate=Coordinate(x_ms=90)),
        box("old", open=False, filesets=[FilesetHolding(fileset="f-1", version=1)], coordinate=Coordinate(x_ms=1)),
    ])  # fmt: skip
    placement = decide(fleet, ask(filesets=(FilesetNeed("f-1", 2, MountMode.READ_ONLY),))).placements[0]
    assert placement.filestores == {"f-1": "near"}


def test_files_on_the_box_itself_cross_no_access_link() -> None:
    held = [FilesetHolding(fileset="f-1", version=1)]
    behind_a_slow_line = Coordinate(x_ms=0, height_ms=50)
    fleet = Fleet.build([
        box("holder", filesets=held, coordinate=behind_a_slow_line),
        box("other", coordinate=Coordinate(x_ms=3, height_ms=2)),
    ])  # fmt: skip
    assert fleet.network.from_nearest(np.array([0])).tolist() == [0.0, 55.0]
    need = (FilesetNeed("f-1", 1, MountMode.READ_ONLY),)
    predicted = {
        item.compute: item.predicted.files_s for item in decide(fleet, ask(filesets=need)).placements
    }
    assert predicted == pytest.approx({"holder": MOUNT_S, "other": MOUNT_S + 6 * 0.055})


def test_a_filestore_that_was_slow_for_a_box_is_passed_over_by_who_goes_by_records() -> None:
    held = [FilesetHolding(fileset="f-1", version=1)]
    fleet = Fleet.build([
        box("c", coordinate=Coordinate(x_ms=1)),
        box("far", open=False, filesets=held, coordinate=Coordinate(x_ms=30)),
        box("near", open=False, filesets=held, coordinate=Coordinate(x_ms=3)),
    ])  # fmt: skip
    request = ask(filesets=(FilesetNeed("f-1", 1, MountMode.READ_ONLY),))
    fleet.network.set_pair(0, 2, 10_000_000)  # where all links carry 100 Mbit/s
    assert decide(fleet, request, "start-soonest").placements[0].filestores == {"f-1": "far"}
    assert decide(fleet, request, "nearest").placements[0].filestores == {"f-1": "near"}


def test_depositories_that_were_slow_for_a_box_are_spared_by_it_alone() -> None:
    held = {A.digest}
    fleet = Fleet.build([
        box("c"),
        box("d", coordinate=Coordinate(x_ms=90)),
        *(box(name, open=False, layers=held) for name in ("quick", "slow", "unknown", "usual")),
    ])  # fmt: skip
    row = fleet.row_of
    for name, rate_bps in (("quick", 10**8), ("slow", 10**6), ("usual", 5 * 10**7)):
        fleet.network.set_pair(row["c"], row[name], rate_bps)
    here, there = decide(fleet, ask(layers=(A,)), "start-soonest").placements
    assert here.depositories[A.digest] == ("quick", "unknown", "usual")
    assert set(there.depositories[A.digest]) == {"quick", "slow", "unknown", "usual"}


def test_a_home_is_written_where_it_is_written_already_and_only_read_elsewhere() -> None:
    need = FilesetNeed("f-home", 1, MountMode.READ_WRITE, held_by=("store",), writer="b")
    fleet = Fleet.build([box("a"), box("b", coordinate=Coordinate(x_ms=80)), box("store", open=False)])
    placements = decide(fleet, ask(filesets=(need,))).placements
    assert [(item.compute, item.modes["f-home"]) for item in placements] == [
        ("b", MountMode.READ_WRITE),
        ("a", MountMode.READ_ONLY),
    ]


def test_what_nobody_holds_waits_and_says_so() -> None:
    decision = decide(Fleet.build([box("a")]), ask(layers=(A,)))
    assert decision.placements == ()
    assert "no box that is up holds 1 of the image's layers" in decision.waits_for


ARM = Layer("sha256:" + "c" * 64, 70_000_000)
BOTH = (Variant("amd", "amd64", (A, B)), Variant("arm", "arm64", (ARM,)))


def test_each_box_takes_the_image_for_its_own_architecture_and_only_its_layers() -> None:
    fleet = Fleet.build([
        box("intel", coordinate=Coordinate(x_ms=1)), box("pi", architecture="arm64", coordinate=Coordinate(x_ms=2)),
        box("seed", open=False, layers={A.digest, B.digest, ARM.digest}),
    ])  # fmt: skip
    first, second = decide(fleet, ask(variants=BOTH)).placements
    assert (first.compute, first.image, set(first.depositories)) == ("intel", "amd", {A.digest, B.digest})
    assert (second.compute, second.image, set(second.depositories)) == ("pi", "arm", {ARM.digest})
    assert (first.missing_bytes, second.missing_bytes) == (150_000_000, 70_000_000)


def test_a_box_of_an_architecture_without_an_image_is_left_out() -> None:
    fleet = Fleet.build(
        [box("risc", architecture="riscv64"), box("seed", open=False, layers={A.digest, B.digest})]
    )
    decision = decide(fleet, ask(variants=BOTH))
    assert decision.placements == ()
    assert decision.left_out[0].why == "is riscv64, the image is for amd64 or arm64"


def test_layers_of_one_architecture_that_nobody_holds_do_not_keep_back_boxes_of_another() -> None:
    fleet = Fleet.build([
        box("intel"), box("pi", architecture="arm64"), box("seed", open=False, layers={ARM.digest}),
    ])  # fmt: skip
    decision = decide(fleet, ask(variants=BOTH))
    assert [item.compute for item in decision.placements] == ["pi"]
    assert ("intel", "no box that is up holds 2 of the image's layers") in [
        (item.box, item.why) for item in decision.left_out
    ]


def test_room_is_needed_for_the_image_of_the_own_architecture_alone() -> None:
    small = DiskUse(lent_bytes=300_000_000)
    fleet = Fleet.build([
        box("intel", disk=small), box("pi", architecture="arm64", disk=small),
        box("seed", open=False, layers={A.digest, B.digest, ARM.digest}),
    ])  # fmt: skip
    assert [item.compute for item in decide(fleet, ask(variants=BOTH)).placements] == ["pi"]


def test_layers_in_zstd_are_for_engines_that_unpack_them_and_others_take_the_next_image() -> None:
    new = EngineFacts(name="docker", version="27.0", zstd=True)
    old = EngineFacts(name="docker", version="20.10.24")
    zstd = Variant("zstd", "amd64", (A,), zstd=True)
    fleet = Fleet.build([
        box("new", engine=new), box("old", engine=old), box("seed", open=False, layers={A.digest, B.digest}),
    ])  # fmt: skip
    only = decide(fleet, ask(variants=(zstd,)))
    assert [item.compute for item in only.placements] == ["new"]
    assert ("old", "has an engine that does not unpack layers in zstd") in [
        (item.box, item.why) for item in only.left_out
    ]
    either = decide(fleet, ask(variants=(zstd, Variant("gzip", "amd64", (B,)))))
    assert {item.compute: item.image for item in either.placements} == {"new": "zstd", "old": "gzip"}


def test_an_unknown_policy_names_those_there_are() -> None:
    with pytest.raises(BadInput, match="first, layer-locality, least-loaded, nearest, random"):
        load_policy("best")


amounts = st.builds(
    Resources,
    cpu=st.sampled_from([0, 0.5, 1, 4]),
    memory_bytes=st.integers(0, 8 * GIB),
    gpu=st.integers(0, 1),
)
facts = st.lists(
    st.builds(
        lambda cpu, gpu, is_open, fixed, x, taken: (cpu, gpu, is_open, fixed, x, taken),
        st.sampled_from([1.0, 4.0]), st.integers(0, 2), st.booleans(), st.booleans(), st.floats(0, 100), amounts,
    ),
    max_size=8,
)  # fmt: skip


@pytest.mark.parametrize("name", POLICIES)
@given(rows=facts, wanted=amounts)
def test_every_policy_orders_exactly_the_eligible_boxes(name: str, rows: list, wanted: Resources) -> None:  # type: ignore[type-arg]
    fleet = Fleet.build(
        box(
            f"b{row}", open=is_open, fixed=fixed, coordinate=Coordinate(x_ms=x), reserved=taken,
            capacity=Resources(cpu=cpu, memory_bytes=4 * GIB, gpu=gpu),
        )
        for row, (cpu, gpu, is_open, fixed, x, taken) in enumerate(rows)
    )  # fmt: skip
    able = {
        f"b{row}"
        for row, (cpu, gpu, is_open, fixed, _, taken) in enumerate(rows)
        if is_open
        and fixed
        and (wanted + taken).fits(Resources(cpu=cpu, memory_bytes=4 * GIB, disk_bytes=10**18, gpu=gpu))
    }
    policy: Policy = load_policy(name)
    decision = place(policy, ask(resources=wanted), fleet, np.random.default_rng(1), most=100, explain=True)
    assert sorted(item.compute for item in decision.placements) == sorted(able)
    assert {item.box for item in decision.left_out} == set(fleet.names) - able
    again = place(policy, ask(resources=wanted), fleet, np.random.default_rng(1), most=100, explain=True)
    assert again == decision


def test_only_the_image_that_a_box_would_run_has_to_be_offered() -> None:
    both = (Variant("sha256:1", "amd64", (A,)), Variant("sha256:2", "arm64", (B,)))
    boxes = [
        box("intel"), box("pi", architecture="arm64"), box("own", layers={A.digest}, offers_layers=False),
        box("seed", open=False, layers={B.digest}),
    ]  # fmt: skip
    decision = decide(Fleet.build(boxes), ask(variants=both))
    assert {item.compute for item in decision.placements} == {"own", "pi"}
    assert {item.box: item.why for item in decision.left_out}["intel"] == (
        "no box that is up holds 1 of the image's layers"
    )


def chosen(fleet: Fleet, request: PlacementRequest) -> list[str]:
    """The boxes for a request, best first."""
    return [item.compute for item in decide(fleet, request, "first").placements]


def test_an_instance_runs_only_where_it_is_pinned_and_where_the_labels_are() -> None:
    fleet = Fleet.build(
        [box("a", labels={"room": "1", "floor": "2"}), box("b", labels={"room": "1"}), box("c")]
    )
    assert chosen(fleet, ask(boxes=frozenset({"c", "gone"}))) == ["c"]
    decision = decide(fleet, ask(labels=(("floor", "2"), ("room", "1"))))
    assert [item.compute for item in decision.placements] == ["a"]
    assert [item.why for item in decision.left_out] == [
        "has not the label floor=2",
        "has not the label floor=2",
    ]
    pinned = decide(fleet, ask(boxes=frozenset({"gone"})))
    assert (
        pinned.waits_for
        == "No box can take it now: a is not gone, where it is pinned (2 more cannot either)."
    )


def test_an_instance_goes_beside_what_it_wants_and_away_from_what_it_does_not() -> None:
    fleet = Fleet.build([box("a"), box("b"), box("c")])
    db = Neighbours("the service db", frozenset({"a", "b"}))
    noisy = Neighbours("the service noisy", frozenset({"b"}))
    decision = decide(fleet, ask(beside=(db,), apart=(noisy,)))
    assert [item.compute for item in decision.placements] == ["a"]
    assert {item.box: item.why for item in decision.left_out} == {
        "b": "runs the service noisy, from which it is to be apart",
        "c": "does not run the service db",
    }


def test_instances_spread_over_boxes_or_over_the_values_of_a_label() -> None:
    fleet = Fleet.build([
        box("a", labels={"room": "1"}), box("b", labels={"room": "1"}), box("c", labels={"room": "2"}), box("d"),
    ])  # fmt: skip
    assert chosen(fleet, ask(spread=Spread("", {"a": 2, "b": 1}))) == ["c", "d", "b", "a"]
    assert chosen(fleet, ask(spread=Spread("room", {"a": 1}))) == ["c", "d", "a", "b"]


def test_a_box_that_its_owner_paused_is_left_out_with_the_owners_rule() -> None:
    fleet = Fleet.build([box("a", paused="is lent only 18:00-08:00 by its owner"), box("b")])
    decision = decide(fleet, ask())
    assert [item.compute for item in decision.placements] == ["b"]
    assert decision.left_out[0].why == "is lent only 18:00-08:00 by its owner"


def test_bandwidth_is_a_resource_like_any_other() -> None:
    fleet = Fleet.build([box("a", reserved=Resources(bandwidth_bps=60_000_000)), box("b")])
    decision = decide(fleet, ask(resources=Resources(bandwidth_bps=50_000_000)))
    assert [item.compute for item in decision.placements] == ["b"]
    assert decision.left_out[0].why == "needs 50 Mbit/s bandwidth, 40 Mbit/s is free"


def test_the_baselines_of_the_simulator_share_nothing_between_boxes() -> None:
    held = [FilesetHolding(fileset="f-1", version=1)]
    need = FilesetNeed("f-1", 1, MountMode.READ_ONLY)
    facts = [
        box("desktop", layers={A.digest}, coordinate=Coordinate(x_ms=1)),
        box("server", kind=BoxKind.SERVER, coordinate=Coordinate(x_ms=5)),
    ]
    centre = replace(
        box("centre", kind=BoxKind.SERVER, layers={A.digest}, filesets=held, coordinate=Coordinate(x_ms=50)),
        central=True,
    )
    fleet = Fleet.build([*facts, centre])
    request = ask(layers=(A,), filesets=(need,))
    (at_the_centre,) = decide(fleet, request, "cloud").placements
    assert (at_the_centre.compute, at_the_centre.missing_bytes) == ("centre", 0)
    (alone,) = decide(fleet, request, "edge").placements
    assert (alone.compute, alone.depositories, alone.filestores) == (
        "server", {A.digest: ("centre",)}, {"f-1": "centre"},
    )  # fmt: skip
    assert not load_policy("edge").keeps_layers
    assert load_policy("edge-with-cache").keeps_layers
    # The policies of the edge itself never use the centre.
    assert "no filestore" in decide(fleet, request, "nearest").waits_for


def test_a_new_home_lies_elsewhere_where_the_box_has_no_room_for_it_beside_the_instance() -> None:
    need = FilesetNeed("f-home", 1, MountMode.READ_WRITE, held_by=(), room_bytes=6 * GIB)
    small, roomy = DiskUse(lent_bytes=10 * GIB), DiskUse(lent_bytes=100 * GIB)
    request = ask(resources=Resources(cpu=1, disk_bytes=5 * GIB), filesets=(need,))
    alone = Fleet.build([box("a", disk=small)])
    decision = decide(alone, request)
    assert decision.placements == ()
    assert "no filestore that is up holds the home, or has room for it" in decision.waits_for
    fleet = Fleet.build([box("a", disk=small), box("b", disk=roomy, coordinate=Coordinate(x_ms=9))])
    near, far = decide(fleet, request).placements
    assert (near.compute, near.filestores) == ("a", {"f-home": "b"})
    assert (far.compute, far.filestores) == ("b", {"f-home": "b"})
