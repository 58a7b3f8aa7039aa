"""The engine's images go before blobs, by their timers and where room is short; what is needed stays."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workers.depository.eviction import Blob, Plan, Unpacked, explain, plan

NOW, TIMER_S = 1000.0, 300.0
names = st.text("abcdef", min_size=4, max_size=4)
keepers = st.sampled_from(["", "", "pinned", "for instances"])
blobs = st.lists(
    st.builds(Blob, names, st.integers(0, 100), st.floats(0, 1000), keepers),
    unique_by=lambda item: item.digest,
)
layers = st.dictionaries(st.sampled_from("uvwxyz"), st.just(0), max_size=4).map(
    lambda found: {key: 10 * (ord(key) - ord("t")) for key in found}
)
images = st.lists(
    st.builds(Unpacked, names, layers, st.floats(0, 1000), keepers),
    unique_by=lambda item: item.name,
    max_size=6,
)


def decide(
    held: list[Blob], unpacked: list[Unpacked], free: int = 10**6, wanted: int = 0, timer_s: float = TIMER_S
) -> Plan:
    return plan(held, unpacked, now=NOW, timer_s=timer_s, free_bytes=free, wanted_bytes=wanted)


def taken(unpacked: list[Unpacked]) -> int:
    """What images take together, layers that they share counted once."""
    return sum({key: size for image in unpacked for key, size in image.layers.items()}.values())


@given(blobs, images, st.integers(-300, 300), st.integers(0, 300))
def test_what_is_needed_stays_and_either_enough_is_free_or_nothing_more_may_go(
    held: list[Blob], unpacked: list[Unpacked], free: int, wanted: int
) -> None:
    decision = decide(held, unpacked, free, wanted)
    by_digest, by_name = {item.digest: item for item in held}, {item.name: item for item in unpacked}
    assert len(set(decision.blobs)) == len(decision.blobs)
    assert len(set(decision.images)) == len(decision.images)
    assert not any(by_digest[digest].keeper for digest in decision.blobs)
    assert not any(by_name[name].keeper for name in decision.images)
    left_blobs = [item for item in held if item.digest not in decision.blobs]
    left_images = [item for item in unpacked if item.name not in decision.images]
    freed = sum(by_digest[digest].size_bytes for digest in decision.blobs)
    freed += taken(unpacked) - taken(left_images)
    assert decision.short_bytes == max(0, wanted + 1 - free - freed)
    if decision.short_bytes:
        assert all(item.keeper for item in left_blobs)
        assert all(item.keeper for item in left_images)
    assert all(item.keeper or item.used_at >= NOW - TIMER_S for item in left_blobs)
    assert all(item.keeper or item.used_at >= NOW - TIMER_S for item in left_images)
    ages = [by_digest[digest].used_at for digest in decision.blobs]
    assert ages == sorted(ages)


@given(blobs, images, st.integers(-300, 300), st.integers(0, 300))
def test_no_blob_goes_for_room_while_an_image_of_the_engine_could(
    held: list[Blob], unpacked: list[Unpacked], free: int, wanted: int
) -> None:
    decision = decide(held, unpacked, free, wanted)
    for_room = [item for item in held if item.digest in decision.blobs and item.used_at >= NOW - TIMER_S]
    if for_room:
        assert all(item.keeper for item in unpacked if item.name not in decision.images)


@given(blobs, images, st.integers(-300, 300), st.integers(0, 300))
def test_no_more_goes_than_has_to(held: list[Blob], unpacked: list[Unpacked], free: int, wanted: int) -> None:
    decision = decide(held, unpacked, free, wanted, timer_s=10_000)
    if decision.blobs:
        kept_one = decision.blobs[:-1]
        freed = sum(item.size_bytes for item in held if item.digest in kept_one)
        freed += taken(unpacked) - taken([item for item in unpacked if item.name not in decision.images])
        assert free + freed <= wanted


def test_without_a_reason_nothing_goes() -> None:
    decision = decide([Blob("a", 10, 990.0)], [Unpacked("i", {"x": 5}, 990.0)], free=11, wanted=10)
    assert (decision.images, decision.blobs, decision.short_bytes) == ((), (), 0)


def test_a_layer_that_another_image_has_too_frees_nothing() -> None:
    old, new = Unpacked("old", {"base": 80, "own": 10}, 800.0), Unpacked("new", {"base": 80}, 900.0)
    decision = decide([], [old, new], free=0, wanted=5)
    assert decision.images == ("old",)
    assert decide([], [old, new], free=0, wanted=20).images == ("old", "new")


def test_what_keeps_a_box_full_is_told_with_its_size() -> None:
    held = [Blob("a", 2**30, 990.0, "pinned"), Blob("b", 2**31, 990.0, "for instances")]
    decision = decide(held, [], free=0, wanted=2**29)
    told = explain(decision, lent_bytes=2**32, wanted_bytes=2**29, filesets_bytes=2**28)
    assert "512.0 MiB of the lent 4.0 GiB" in told
    assert (
        told.index("2.0 GiB for instances") < told.index("1.0 GiB pinned") < told.index("256.0 MiB filesets")
    )
    assert explain(decide(held, []), lent_bytes=1, wanted_bytes=0, filesets_bytes=0) == ""
