"""What `lab up` deals out to boxes in turn."""

from __future__ import annotations

import click
import pytest

from common.words import Role
from workers.lab.build import Plan, _plan_boxes
from workers.lab.cli import _links, _Rates
from workers.lab.plan import Link

COMPUTE, STORE = frozenset({Role.COMPUTE}), frozenset({Role.DEPOSITORY})


def test_roles_links_and_delays_go_to_the_boxes_in_turn() -> None:
    plan = Plan(
        boxes=3,
        roles=[COMPUTE, STORE],
        links=[Link(uplink_bps=100_000_000), Link(uplink_bps=20_000_000), Link(uplink_bps=10_000_000)],
        delays_ms=[0.0, 5.0],
    )
    made = [(box.name, box.roles, box.link.uplink_bps, box.link.delay_ms) for box in _plan_boxes("x", plan)]
    assert made == [
        ("x-1", COMPUTE, 100_000_000, 0.0),
        ("x-2", STORE, 20_000_000, 5.0),
        ("x-3", COMPUTE, 10_000_000, 0.0),
    ]


@pytest.mark.parametrize(
    ("up", "down", "links"),
    [
        (None, None, [(None, None)]),
        ([100_000], None, [(100_000, 100_000)]),
        ([100_000, 20_000], None, [(100_000, 100_000), (20_000, 20_000)]),
        ([100_000, 20_000], [50_000], [(100_000, 50_000), (20_000, 50_000)]),
        (None, [50_000, 10_000], [(None, 50_000), (None, 10_000)]),
    ],
)
def test_links_are_what_boxes_can_send_and_receive(
    up: list[int] | None, down: list[int] | None, links: list[tuple[int | None, int | None]]
) -> None:
    assert [(link.uplink_bps, link.downlink_bps) for link in _links(up, down)] == links


def test_rates_are_read_with_their_units_and_what_is_none_is_refused() -> None:
    rates = _Rates()
    assert rates.convert("100mbit,20Mbit", None, None) == (100_000_000, 20_000_000)
    for wrong in ("fast", "100mbit,", "100mbit,1kbit"):
        with pytest.raises(click.UsageError):
            rates.convert(wrong, None, None)
