"""The order of those who wait."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from master.scheduling.order import NOTHING, Priority, Row, Waiting, dominant_share, fair_order

CAPACITY: Row = (16.0, 64.0, 1000.0, 1000.0, 0.0)
OVERDUE_S = 3600.0


def core(count: float = 1.0, memory: float = 0.0) -> Row:
    return (count, memory, 0.0, 0.0, 0.0)


def ask(
    name: str, person: str, at: float, amounts: Row | None = None, priority: Priority = Priority.NORMAL
) -> Waiting:
    return Waiting(name, person, at, core() if amounts is None else amounts, priority)


def names(waiting: list[Waiting], held: dict[str, Row] | None = None, now: float = 100.0) -> list[str]:
    return [item.instance for item in fair_order(waiting, held or {}, CAPACITY, now=now, overdue_s=OVERDUE_S)]


def test_one_persons_requests_are_served_longest_waiting_first() -> None:
    assert names([ask("c", "ada", 3), ask("a", "ada", 1), ask("b", "ada", 2)]) == ["a", "b", "c"]


def test_people_take_turns_whoever_asked_for_more() -> None:
    waiting = [ask(f"a{number}", "ada", number) for number in range(3)]
    assert names([*waiting, ask("b0", "bob", 50), ask("b1", "bob", 51)]) == ["a0", "b0", "a1", "b1", "a2"]


def test_who_holds_much_already_waits_for_who_holds_little() -> None:
    waiting = [ask("a", "ada", 1), ask("b", "bob", 2)]
    assert names(waiting, {"ada": core(4)}) == ["b", "a"]


def test_shares_are_of_the_resource_of_which_a_person_holds_most() -> None:
    # Ada holds an eighth of the cores, Bob a quarter of the memory.
    held = {"ada": core(2), "bob": core(0, 16)}
    assert dominant_share(held["ada"], CAPACITY) == 0.125
    assert dominant_share(held["bob"], CAPACITY) == 0.25
    assert names([ask("b", "bob", 1), ask("a", "ada", 2)], held) == ["a", "b"]


def test_a_higher_class_is_served_first_and_the_overdue_before_all() -> None:
    waiting = [
        ask("low", "ada", 90, priority=Priority.LOW),
        ask("normal", "bob", 91),
        ask("high", "cleo", 92, priority=Priority.HIGH),
    ]
    assert names(waiting) == ["high", "normal", "low"]
    assert names(waiting, now=90 + OVERDUE_S) == ["low", "high", "normal"]


def test_a_resource_that_no_box_has_decides_nothing() -> None:
    assert dominant_share((0, 0, 0, 0, 5), CAPACITY) == 0.0
    assert dominant_share(core(1), NOTHING) == 0.0


people = st.sampled_from(["ada", "bob", "cleo"])
rows = st.tuples(*[st.floats(0, 8, allow_nan=False) for _ in range(5)])
requests = st.lists(
    st.builds(
        Waiting,
        instance=st.integers(0, 10**6).map(str),
        person=people,
        asked_at=st.floats(0, 7200),
        amounts=rows,
        priority=st.sampled_from(list(Priority)),
    ),
    unique_by=lambda item: item.instance,
    max_size=30,
)


@given(requests, st.dictionaries(people, rows), st.randoms())
def test_the_order_is_total_and_does_not_depend_on_how_requests_are_listed(
    waiting: list[Waiting], held: dict[str, Row], random: object
) -> None:
    ordered = fair_order(waiting, held, CAPACITY, now=7200, overdue_s=OVERDUE_S)
    assert sorted(item.instance for item in ordered) == sorted(item.instance for item in waiting)
    shuffled = list(waiting)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert fair_order(shuffled, held, CAPACITY, now=7200, overdue_s=OVERDUE_S) == ordered


@given(requests, st.dictionaries(people, rows))
def test_of_one_person_and_class_nobody_is_passed_by_who_asked_later(
    waiting: list[Waiting], held: dict[str, Row]
) -> None:
    ordered = fair_order(waiting, held, CAPACITY, now=7200, overdue_s=OVERDUE_S)
    for person in ("ada", "bob", "cleo"):
        for priority in Priority:
            asked = [item.asked_at for item in ordered if item.person == person and item.priority is priority]
            assert asked == sorted(asked)


@given(requests)
def test_nobody_starves_though_others_keep_coming(waiting: list[Waiting]) -> None:
    """Every round has room for one, and somebody who holds nothing asks anew with the highest class."""
    left = deque(waiting)
    now, rounds = 7200.0, 0
    held: dict[str, Row] = {"ada": core(16), "bob": core(16), "cleo": core(16)}
    old = {item.instance for item in waiting}
    queue = list(left)
    while old:
        rounds += 1
        now += 60
        queue.append(ask(f"new-{rounds}", f"person-{rounds}", now, priority=Priority.HIGH))
        served = fair_order(queue, held, CAPACITY, now=now, overdue_s=OVERDUE_S)[0]
        queue.remove(served)
        old.discard(served.instance)
        # An overdue request is behind those alone that asked before it.
        assert rounds <= len(waiting) + OVERDUE_S / 60 + 1
