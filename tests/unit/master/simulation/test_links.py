"""Links: in turn and max-min, and what nobody gets out of them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from master.simulation.clock import Clock
from master.simulation.links import Links, Transfer, make_links
from master.simulation.scenario import Sharing

BYTES_PER_MBIT = 125_000


class Net:
    """Boxes with links of so many Mbit/s, and when transfers over them arrived."""

    def __init__(self, sharing: Sharing, *rates_mbps: float) -> None:
        self.clock = Clock()
        self.links: Links = make_links(sharing, self.clock, np.array(rates_mbps) * 1e6)
        self.arrived: dict[str, float] = {}

    def send(self, name: str, source: int, target: int, megabits: float, delay_s: float = 0.0) -> Transfer:
        """Announce a transfer now."""

        def done(_: Transfer) -> None:
            self.arrived[name] = self.clock.now

        transfer = Transfer(source, target, megabits * BYTES_PER_MBIT, delay_s, done)
        self.links.send(transfer)
        return transfer


def test_in_turn_the_current_transfer_takes_all_and_the_others_wait_first_in_first_out() -> None:
    net = Net(Sharing.IN_TURN, 100, 100, 100, 100)
    for name, target in (("a", 1), ("b", 2), ("c", 3)):
        net.send(name, 0, target, 100)
    net.clock.run_until(10)
    assert net.arrived == pytest.approx({"a": 1.0, "b": 2.0, "c": 3.0})


def test_a_path_is_as_quick_as_its_slower_link_and_begins_after_its_delay() -> None:
    net = Net(Sharing.IN_TURN, 100, 50)
    net.send("a", 0, 1, 100, delay_s=0.25)
    net.clock.run_until(10)
    assert net.arrived == pytest.approx({"a": 2.25})


def test_up_and_down_count_together() -> None:
    net = Net(Sharing.IN_TURN, 100, 100, 100)
    net.send("up", 0, 1, 100)
    net.send("down", 2, 0, 100)
    net.clock.run_until(10)
    assert net.arrived == pytest.approx({"up": 1.0, "down": 2.0})


def test_a_gap_is_used_by_what_is_done_before_the_first_in_the_queue_could_go() -> None:
    net = Net(Sharing.IN_TURN, 100, 100, 100, 100)
    net.send("long", 0, 1, 1000)
    net.send("first", 2, 1, 100)  # waits until 10 s for box 1, and is first on box 2
    net.send("small", 2, 3, 100)
    net.clock.run_until(20)
    assert net.arrived == pytest.approx({"small": 1.0, "long": 10.0, "first": 11.0})


def test_a_gap_is_not_used_by_what_would_delay_the_first() -> None:
    net = Net(Sharing.IN_TURN, 100, 100, 100, 100)
    net.send("short", 0, 1, 100)
    net.send("first", 2, 1, 100)
    net.send("big", 2, 3, 500)
    net.clock.run_until(20)
    assert net.arrived == pytest.approx({"short": 1.0, "first": 2.0, "big": 7.0})


def test_max_min_shares_a_link_evenly_and_gives_the_rest_to_who_can_take_it() -> None:
    net = Net(Sharing.MAX_MIN, 100, 20, 100, 100)
    net.send("slow", 0, 1, 40)  # bounded by box 1: 20 Mbit/s
    net.send("quick", 0, 2, 80)  # gets the other 80
    net.clock.run_until(0.5)
    assert sum(item.rate_bps for item in net.links.of(0).flowing) == pytest.approx(100e6)
    net.clock.run_until(10)
    assert net.arrived == pytest.approx({"quick": 1.0, "slow": 2.0})


def test_what_is_held_for_good_is_not_there_for_transfers_until_it_is_given_back() -> None:
    for sharing in Sharing:
        net = Net(sharing, 100, 100)
        net.send("a", 0, 1, 100)
        net.links.hold(0, 50e6)
        net.clock.at(1.0, net.links.hold, 0, -50e6)
        net.clock.run_until(10)
        assert net.arrived == pytest.approx({"a": 1.5}), sharing


def test_what_goes_from_a_box_to_itself_is_there_at_once() -> None:
    net = Net(Sharing.IN_TURN, 100)
    net.send("own", 0, 0, 1e9)
    assert net.arrived == {"own": 0.0}
    assert net.links.moved == 0


def test_a_transfer_that_is_cut_counts_what_had_arrived_and_lets_the_next_one_go() -> None:
    net = Net(Sharing.IN_TURN, 100, 100, 100)
    first = net.send("cut", 0, 1, 100)
    waiting = net.send("never", 0, 2, 100)
    net.send("next", 0, 1, 100)
    net.clock.run_until(0.5)
    net.links.cut(first)
    net.links.cut(waiting)
    net.clock.run_until(10)
    assert net.arrived == pytest.approx({"next": 1.5})
    assert first.moved == pytest.approx(50 * BYTES_PER_MBIT)
    assert waiting.moved == 0


INSTANT_S = 1e-6  # rates hold from the end of the instant in which something changed

STEPS = st.lists(
    st.tuples(
        st.floats(0, 5), st.integers(0, 4), st.integers(0, 4), st.floats(0.1, 300), st.booleans(),
        st.floats(0, 60),
    ),
    min_size=1, max_size=25,
)  # fmt: skip


@pytest.mark.parametrize("sharing", list(Sharing))
@given(steps=STEPS)
@settings(max_examples=60, deadline=None)
def test_whatever_is_sent_held_and_cut_no_link_carries_too_much_and_no_byte_gets_lost(
    sharing: Sharing, steps: list[tuple[float, int, int, float, bool, float]]
) -> None:
    net = Net(sharing, 100, 50, 30, 80, 10)
    sent: list[Transfer] = []
    moments = np.cumsum([step[0] + 2 * INSTANT_S for step in steps])
    for (_, source, target, megabits, cuts, held), moment in zip(steps, moments, strict=True):
        net.clock.run_until(float(moment))
        transfer = net.send(str(len(sent)), source, target, megabits)
        if source != target:
            sent.append(transfer)
        if cuts and sent:
            net.links.cut(sent[len(sent) // 2])
        box = target
        room = 0.9 * net.links.of(box).capacity_bps - net.links.of(box).held_bps
        if 0 < held * 1e6 < room:
            net.links.hold(box, held * 1e6)
            net.clock.at(float(moment) + 7, net.links.hold, box, -held * 1e6)
        net.clock.run_until(float(moment) + INSTANT_S)
        for _, link in net.links.used():
            flowing = sum(item.rate_bps for item in link.flowing)
            assert link.held_bps + flowing <= link.capacity_bps * (1 + 1e-9)
            assert sharing is Sharing.MAX_MIN or len(link.flowing) <= 1
    net.clock.run_until(1e6)
    assert all(transfer.done for transfer in sent)
    assert net.links.moved == pytest.approx(sum(transfer.moved for transfer in sent))
    assert sum(link.moved for _, link in net.links.used()) == pytest.approx(2 * net.links.moved)
    assert np.allclose(net.links.load_s, 0, atol=1e-6)


@dataclass
class PlainFlow:
    """A transfer of the plain model: megabits left, from its second on."""

    ends: tuple[int, int]
    left: Fraction
    flows_at: Fraction


def plain_rates(flows: dict[str, PlainFlow], room: list[Fraction]) -> dict[str, Fraction]:
    """Progressive filling by the book: all rise together; who goes over a link that is full rises no more."""
    rates = dict.fromkeys(flows, Fraction(0))
    rising = set(flows)
    while rising:
        over = {link: [name for name in flows if link in flows[name].ends] for link in range(len(room))}
        left = {link: room[link] - sum(rates[name] for name in over[link]) for link in over}
        counts = {link: len(rising.intersection(over[link])) for link in over}
        step = min(left[link] / counts[link] for link in over if counts[link])
        for name in rising:
            rates[name] += step
        full = {link for link in over if left[link] == step * counts[link]}
        rising = {name for name in rising if not full.intersection(flows[name].ends)}
    return rates


Steps = list[tuple[int, int, int, int, int, int]]


def plain_arrivals(rates_mbps: list[int], steps: Steps) -> dict[str, float]:
    """When each transfer is there, shared out from nothing whenever anything happens, in exact figures."""
    room = [Fraction(rate) for rate in rates_mbps]
    events = []
    for number, (moment, source, target, megabits, delay, held) in enumerate(steps):
        if source != target:
            flow = PlainFlow((source, target), Fraction(megabits), moment + Fraction(delay, 4))
            events.append((Fraction(moment), str(number), flow))
        events += [(Fraction(moment), "", held), (Fraction(moment + 3), "", -held)]
    flows: dict[str, PlainFlow] = {}
    arrived: dict[str, float] = {}
    now = Fraction(0)
    while flows or events:
        rates = plain_rates(flows, room)
        ends = [
            max(now, flow.flows_at) + flow.left / rates[name] for name, flow in flows.items() if rates[name]
        ]
        then = min([*ends, *(event[0] for event in events)])
        for name, flow in list(flows.items()):
            flow.left -= rates[name] * max(Fraction(0), then - max(now, flow.flows_at))
            if flow.left == 0 and then >= flow.flows_at:
                arrived[name] = float(then)
                del flows[name]
        now = then
        for _, name, what in [event for event in events if event[0] == now]:
            if isinstance(what, PlainFlow):
                flows[name] = what
            else:
                room[0] -= what
        events = [event for event in events if event[0] > now]
    return arrived


@given(
    rates_mbps=st.lists(st.sampled_from([10, 20, 30, 60, 100]), min_size=6, max_size=6),
    steps=st.lists(
        st.tuples(
            st.integers(0, 4), st.integers(0, 5), st.integers(0, 5), st.integers(1, 12).map(lambda n: 10 * n),
            st.integers(0, 2), st.sampled_from([0, 0, 0, 1]),
        ),
        min_size=1, max_size=30,
    ),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_max_min_shares_are_those_of_progressive_filling_by_the_book_also_when_much_happens_at_once(
    rates_mbps: list[int], steps: Steps
) -> None:
    """Few different moments, sizes and rates: ties of all kinds are the rule."""
    rates_mbps[0] += 40  # so that what is held never takes all
    net = Net(Sharing.MAX_MIN, *rates_mbps)
    for number, (moment, source, target, megabits, delay, held) in enumerate(steps):
        if source != target:
            net.clock.at(moment, net.send, str(number), source, target, megabits, delay / 4)
        net.clock.at(moment, net.links.hold, 0, held * 1e6)
        net.clock.at(moment + 3, net.links.hold, 0, -held * 1e6)
    net.clock.run_until(1e6)
    assert net.arrived == pytest.approx(plain_arrivals(rates_mbps, steps), rel=1e-6)


def test_transfers_between_the_same_two_boxes_never_pass_each_other() -> None:
    net = Net(Sharing.IN_TURN, 100, 100, 40)
    for at in range(6):
        net.send(str(at), at % 2, 1 - at % 2, 10 + at)
        net.send(f"aside {at}", 2, at % 2, 25)
    net.clock.run_until(100)
    times = [net.arrived[str(at)] for at in range(6)]
    assert all(one < other for one, other in pairwise(times))
