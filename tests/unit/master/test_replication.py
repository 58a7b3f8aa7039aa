"""Who should hold what: enough copies, a server among them, nothing twice, nothing that cannot be had."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.words import BoxKind
from master.scheduling.replication import Copy, Store, Thing, plan


def store(
    box: str, kind: BoxKind = BoxKind.DESKTOP, *, fixed: bool = True, free: int = 1000, **more: bool
) -> Store:
    return Store(box, kind, fixed, free, **more)


def thing(*copies: Copy, size: int = 10, **more: bool) -> Thing:
    return Thing("thing", size, copies, **more)


def test_a_second_copy_goes_to_the_server() -> None:
    stores = [store("a"), store("roomy", free=9000), store("s", BoxKind.SERVER, free=20)]
    (change,) = plan([thing(Copy("a", True))], stores, copies=2)
    assert (change.add, change.drop) == (("s",), ())


def test_without_a_server_it_goes_to_the_roomiest_fixed_box() -> None:
    stores = [store("a"), store("b"), store("c", free=2000), store("wild", fixed=False, free=9000)]
    (change,) = plan([thing(Copy("a", True))], stores, copies=2)
    assert change.add == ("c",)


def test_two_copies_on_boxes_that_come_and_go_get_a_third_on_a_fixed_one() -> None:
    stores = [store("m1", fixed=False), store("m2", fixed=False), store("c")]
    (change,) = plan([thing(Copy("m1", True), Copy("m2", True))], stores, copies=2)
    assert change.add == ("c",)


def test_the_loss_of_a_box_starts_a_new_copy_and_its_return_ends_it() -> None:
    copies = (Copy("a", True), Copy("b", True))
    (change,) = plan([thing(*copies)], [store("a"), store("b", counts=False), store("c")], copies=2)
    assert change.add == ("c",)
    three = (*copies, Copy("c", True, planned=True))
    (change,) = plan([thing(*three)], [store("a"), store("b"), store("c")], copies=2)
    assert (change.add, change.drop) == ((), ("c",))


def test_what_is_used_or_was_put_by_a_person_is_not_given_up() -> None:
    copies = (Copy("a", True), Copy("b", True), Copy("c", True, planned=True, in_use=True))
    assert plan([thing(*copies)], [store("a"), store("b"), store("c")], copies=2) == []


def test_a_copy_is_given_up_only_when_enough_others_are_whole() -> None:
    copies = (Copy("a", True), Copy("b", False), Copy("c", True, planned=True))
    assert plan([thing(*copies)], [store("a"), store("b"), store("c")], copies=2) == []


def test_what_cannot_be_had_is_left_alone_and_so_are_full_and_cordoned_boxes() -> None:
    stores = [store("a"), store("full", free=10), store("cordoned", takes=False)]
    assert plan([thing(Copy("a", True))], stores, copies=2) == []
    assert plan([thing(obtainable=False)], [store("a"), store("b")], copies=2) == []


def test_room_that_is_promised_to_one_is_not_promised_to_another() -> None:
    things = [Thing(key, 60, (Copy("a", True),)) for key in ("one", "two")]
    changes = plan(things, [store("a"), store("b", free=100)], copies=2)
    assert [(change.key, change.add) for change in changes] == [("one", ("b",))]


boxes = [f"b{number}" for number in range(6)]
stores_of = st.fixed_dictionaries(
    {
        box: st.builds(
            Store, st.just(box), st.sampled_from(BoxKind), st.booleans(), st.integers(0, 100), st.booleans(),
            st.booleans(),
        )
        for box in boxes
    }
)  # fmt: skip
copies_of = st.lists(
    st.builds(Copy, st.sampled_from(boxes), st.booleans(), st.booleans(), st.booleans()),
    unique_by=lambda copy: copy.box,
)


@given(
    stores_of,
    st.lists(st.tuples(copies_of, st.integers(1, 60), st.booleans()), max_size=4),
    st.integers(1, 3),
)
def test_every_plan_keeps_its_promises(
    stores: dict[str, Store], rows: list[tuple[list[Copy], int, bool]], wanted: int
) -> None:
    things = {
        f"t{row}": Thing(f"t{row}", size, tuple(copies), obtainable)
        for row, (copies, size, obtainable) in enumerate(rows)
    }
    taken = dict.fromkeys(boxes, 0)
    changes = {change.key: change for change in plan(things.values(), stores.values(), copies=wanted)}
    for key, change in changes.items():
        meant = {copy.box for copy in things[key].copies}
        assert things[key].obtainable
        assert len(set(change.add)) == len(change.add)
        assert not meant & set(change.add)
        assert all(stores[box].counts and stores[box].takes for box in change.add)
        for box in change.add:
            taken[box] += things[key].size_bytes
        left = [copy for copy in things[key].copies if copy.box not in change.drop]
        gone = [copy for copy in things[key].copies if copy.box in change.drop]
        assert all(copy.planned and not copy.in_use for copy in gone)
        if gone:
            assert sum(copy.has and stores[copy.box].counts for copy in left) >= wanted
    assert all(size <= stores[box].free_bytes for box, size in taken.items())
    for key, item in things.items():
        added = changes[key].add if key in changes else ()
        there = [copy.box for copy in item.copies if stores[copy.box].counts] + list(added)
        able = [
            box
            for box in boxes
            if stores[box].counts and stores[box].takes and box not in {*there, *(c.box for c in item.copies)}
            and stores[box].free_bytes - taken[box] > item.size_bytes
        ]  # fmt: skip
        if item.obtainable and able:
            assert len(there) >= wanted
