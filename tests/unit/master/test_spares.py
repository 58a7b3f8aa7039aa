"""However boxes evict by lists that are exchanged one after the other, no wanted blob loses its last copy."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from master.scheduling.spares import Holder, spare_lists

BOXES, BLOBS = ["a", "b", "c", "d"], ["x", "y"]
WANTED = frozenset(BLOBS)


def test_as_many_boxes_as_there_should_be_copies_keep_theirs_and_the_others_may_drop_them() -> None:
    holders = [Holder(box, frozenset("x"), fixed=box != "a") for box in BOXES]
    first = spare_lists(holders, WANTED, {}, copies=2)
    assert first == {"a": {"x"}, "b": set(), "c": set(), "d": {"x"}}
    assert spare_lists(holders, WANTED, first, copies=2) == first


def test_those_keep_it_whose_wishes_say_so() -> None:
    holders = [Holder(box, frozenset("x"), firm=frozenset("x" if box in "cd" else "")) for box in BOXES]
    assert spare_lists(holders, WANTED, {}, copies=2) == {"a": {"x"}, "b": {"x"}, "c": set(), "d": set()}


def test_a_copy_beside_the_depository_that_is_to_hold_it_may_go() -> None:
    """Else a fleet with one depository would fill its compute boxes for good."""
    holders = [Holder("cache", frozenset("x")), Holder("dep", frozenset("x"), firm=frozenset("x"))]
    assert spare_lists(holders, WANTED, {}, copies=2) == {"cache": {"x"}, "dep": set()}


def test_what_too_few_hold_nobody_may_drop() -> None:
    holders = [Holder("a", frozenset("x")), Holder("b", frozenset("x"))]
    assert spare_lists(holders, WANTED, {}, copies=2) == {"a": set(), "b": set()}
    assert spare_lists(holders[:1], WANTED, {}, copies=1) == {"a": set()}


def test_what_no_image_needs_may_go_everywhere() -> None:
    assert spare_lists([Holder("a", frozenset("xz"))], WANTED, {}, copies=2) == {"a": {"z"}}


def test_a_box_that_may_drop_a_blob_counts_only_after_that_was_taken_back() -> None:
    """b was told that it may; before it is told otherwise, nobody else may."""
    before = {"b": frozenset("x"), "c": frozenset("x")}
    holders = [Holder("b", frozenset("x")), Holder("c", frozenset("x"))]
    withdrawn = spare_lists(holders, WANTED, before, copies=1)
    assert withdrawn == {"b": set(), "c": set()}
    assert spare_lists(holders, WANTED, withdrawn, copies=1) == {"b": set(), "c": {"x"}}


def test_a_box_that_offers_nothing_to_others_is_no_copy() -> None:
    holders = [Holder("a", frozenset("x"), offers=False), Holder("b", frozenset("x"))]
    assert spare_lists(holders, WANTED, {}, copies=1) == {"a": {"x"}, "b": set()}
    assert spare_lists(holders[:1], WANTED, {}, copies=1) == {"a": set()}


moves = st.one_of(
    st.tuples(
        st.just("plan"),
        st.tuples(st.lists(st.sampled_from(BOXES), unique=True), st.frozensets(st.sampled_from(BOXES))),
        st.permutations(BOXES),
    ),
    st.tuples(st.just("read"), st.sampled_from(BOXES), st.none()),
    st.tuples(st.just("evict"), st.sampled_from(BOXES), st.sampled_from(BLOBS)),
    st.tuples(st.just("fetch"), st.sampled_from(BOXES), st.sampled_from(BLOBS)),
)


@settings(max_examples=500)
@given(
    st.dictionaries(st.sampled_from(BOXES), st.frozensets(st.sampled_from(BLOBS)), min_size=1),
    st.lists(moves, max_size=40),
    st.integers(1, 3),
)
def test_boxes_that_evict_by_the_list_in_force_never_drop_a_last_copy(
    start: dict[str, frozenset[str]], steps: list[tuple[str, object, object]], copies: int
) -> None:
    """Boxes go silent and come back; lists are written one by one; each eviction reads its list first."""
    holds = {box: set(start.get(box, ())) for box in BOXES}
    lists: dict[str, frozenset[str]] = {}
    had = {blob for blobs in holds.values() for blob in blobs}
    for what, box, detail in steps:
        if what == "plan":
            up, firm = box  # type: ignore[misc]
            holders = [
                Holder(name, frozenset(holds[name]), firm=WANTED if name in firm else frozenset())
                for name in up
            ]
            before = {name: lists[name] for name in up if name in lists}
            written = spare_lists(holders, WANTED, before, copies=copies)
            for name in detail:  # type: ignore[attr-defined]
                if name in written:
                    lists[name] = written[name]
                    _check(holds, lists, had)
        elif what == "evict" and detail in lists.get(str(box), ()):
            holds[str(box)].discard(str(detail))
        elif what == "fetch" and any(detail in blobs for blobs in holds.values()):
            holds[str(box)].add(str(detail))
        _check(holds, lists, had)


def _check(holds: dict[str, set[str]], lists: dict[str, frozenset[str]], had: set[str]) -> None:
    for blob in had:
        assert any(blob in blobs for blobs in holds.values())
