"""What a wait says of itself."""

from __future__ import annotations

import pytest

from common.words import Resources
from master.scheduler.outlook import predicted_end
from master.scheduling.facts import BoxFacts
from master.scheduling.fleet import Fleet
from master.scheduling.policy import load_policy
from master.scheduling.request import PlacementRequest, Variant
from master.scheduling.waits import why_waits

GIB = 2**30
ROOM = Resources(cpu=4, memory_bytes=4 * GIB, disk_bytes=100 * GIB)


def box(name: str, **held: object) -> BoxFacts:
    return BoxFacts(name, capacity=ROOM, reserved=Resources(**held))  # type: ignore[arg-type]


def why(boxes: list[BoxFacts], **wanted: object) -> str:
    resources = Resources(**wanted)  # type: ignore[arg-type]
    request = PlacementRequest(resources, (Variant("sha256:" + "f" * 64, "amd64"),))
    return why_waits(load_policy("first"), request, Fleet.build(boxes))


def test_it_names_what_is_missing_and_where_there_is_most_of_it() -> None:
    boxes = [box("box-1", memory_bytes=3 * GIB), box("box-3", memory_bytes=int(2.8 * GIB))]
    assert (
        why(boxes, memory_bytes=2 * GIB) == "It needs 2.0 GiB memory; the largest free is 1.2 GiB on box-3."
    )


def test_it_says_so_when_no_box_will_ever_do() -> None:
    assert why([box("box-1")], cpu=16) == "It needs 16 cpu; no box has more than 4."


def test_it_says_so_when_no_box_has_all_at_once() -> None:
    boxes = [box("box-1", cpu=3), box("box-2", memory_bytes=3 * GIB)]
    assert why(boxes, cpu=2, memory_bytes=2 * GIB).startswith(
        "No box has all that it needs at once: box-1 has 1 of 2 cpu"
    )


def test_where_room_is_not_what_is_missing_it_says_nothing() -> None:
    assert why([BoxFacts("box-1", open=False, capacity=ROOM)], cpu=1) == ""


def test_a_pin_to_what_no_box_up_has_is_named_with_the_remedy() -> None:
    policy, fleet = load_policy("first"), Fleet.build([box("box-1")])
    pinned = PlacementRequest(Resources(), (), boxes=frozenset({"box-9"}))
    assert why_waits(policy, pinned, fleet) == "It may run only on box-9, which is not up."
    labelled = PlacementRequest(Resources(), (), labels=(("room", "a12"),))
    told = why_waits(policy, labelled, fleet)
    assert "the label room=a12, and no box that is up has it" in told
    assert "box.toml" in told


@pytest.mark.parametrize(
    ("usual_s", "end"), [(None, 1000.0), (300.0, 400.0), (5000.0, 1000.0), (50.0, 1000.0)]
)
def test_an_end_is_predicted_from_history_as_long_as_that_can_be_true(
    usual_s: float | None, end: float
) -> None:
    assert predicted_end(began=100.0, lease_end=1000.0, usual_s=usual_s, now=200.0) == end
