"""The table of boxes: what is shown of many, and in which order."""

from __future__ import annotations

from common.status import BoxStatus, DiskUse
from common.words import BoxKind, Resources, Role
from master.boxes.models import Box
from master.boxes.table import PER_PAGE, BoxCard, Wanted, choose


def card(name: str, *, up: bool = True, owner: str = "u-1", **said: object) -> BoxCard:
    box = Box(id=name, kind="desktop", roles=["compute"], address="10.0.0.1", owner_id=owner, cordoned=False)
    status = BoxStatus(
        box=name, epoch="e", sequence=1, redis_epoch="e", at=0.0, roles=frozenset({Role.COMPUTE}),
        kind=BoxKind.DESKTOP, open=True, fixed=True, architecture="amd64", capacity=Resources(cpu=4),
        used=Resources(), disk=DiskUse(lent_bytes=100), **said,  # type: ignore[arg-type]
    )  # fmt: skip
    return BoxCard(box, status if up else None)


def names(cards: list[BoxCard], wanted: Wanted, user: str = "u-1") -> list[str]:
    return [item.box.id for item in choose(cards, wanted, user).cards]


def test_boxes_are_found_by_name_label_role_state_and_owner() -> None:
    cards = [card("alpha", labels={"site": "north"}), card("beta", up=False), card("gamma", owner="u-2")]
    assert names(cards, Wanted(text="ALP")) == ["alpha"]
    assert names(cards, Wanted(text="north")) == ["alpha"]
    assert names(cards, Wanted(label="site")) == ["alpha"]
    assert names(cards, Wanted(label="site=south")) == []
    assert names(cards, Wanted(role="filestore")) == []
    assert names(cards, Wanted(state="silent")) == ["beta"]
    assert names(cards, Wanted(own=True), "u-2") == ["gamma"]


def test_what_a_silent_box_does_not_say_comes_last_of_the_busiest() -> None:
    cards = [card("a", instances=1), card("b", up=False), card("c", instances=3)]
    assert names(cards, Wanted(sort="instances", descending=True)) == ["c", "a", "b"]
    assert names(cards, Wanted(sort="nonsense")) == ["a", "b", "c"]


def test_thousands_are_shown_page_by_page() -> None:
    cards = [card(f"b{number:04}") for number in range(2500)]
    page = choose(cards, Wanted(page=3), "u-1")
    assert (page.total, page.pages, len(page.cards)) == (2500, 25, PER_PAGE)
    assert page.cards[0].box.id == "b0200"
    assert choose(cards, Wanted(page=99), "u-1").cards[-1].box.id == "b2499"
