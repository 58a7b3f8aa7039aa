"""The table of boxes: what a row shows, and which rows somebody asked for. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from common.status import BoxStatus
from common.vivaldi import Position
from master.boxes.models import Box

PER_PAGE = 100
STATES = ("open", "closed", "cordoned", "full", "paused", "silent")


@dataclass(frozen=True)
class BoxCard:
    """A box with what it says of itself and where it is believed to be; no status: it is silent."""

    box: Box
    status: BoxStatus | None
    believed: Position | None = None
    owner: str | None = None

    @property
    def state(self) -> str:
        """One word for the pill."""
        if self.status is None:
            return "silent"
        if self.box.cordoned:
            return "cordoned"
        if self.status.alert:
            return "full"
        if self.status.paused:
            return "paused"
        return "open" if self.status.open else "closed"

    @property
    def roles(self) -> list[str]:
        """By name; of a silent one those with which it joined."""
        return sorted(role.value for role in self.status.roles) if self.status else sorted(self.box.roles)

    @property
    def has_place(self) -> bool:
        """Whether its place in network space is more than its own word."""
        return self.status is not None and (self.believed is not None or self.status.coordinate_error is None)


@dataclass(frozen=True)
class Wanted:
    """What somebody wants to see. Empty: all. `label` is a label's name, or `name=value`."""

    text: str = ""
    role: str = ""
    state: str = ""
    label: str = ""
    own: bool = False
    sort: str = "name"
    descending: bool = False
    page: int = 1


@dataclass(frozen=True)
class Page:
    """The rows of a page, and of how many."""

    cards: list[BoxCard]
    total: int
    pages: int


def _number(read: Callable[[BoxStatus], float | None]) -> Callable[[BoxCard], tuple[bool, float]]:
    def key(card: BoxCard) -> tuple[bool, float]:
        value = read(card.status) if card.status else None
        return (value is not None, value or 0.0)

    return key


def _share(used: float, whole: float) -> float:
    return used / whole if whole else 0.0


SORTS: dict[str, Callable[[BoxCard], object]] = {
    "name": lambda card: card.box.id,
    "state": lambda card: (STATES.index(card.state), card.box.id),
    "cpu": _number(lambda status: _share(status.used.cpu, status.capacity.cpu)),
    "memory": _number(lambda status: _share(status.used.memory_bytes, status.capacity.memory_bytes)),
    "disk": _number(lambda status: _share(-status.disk.raw_free_bytes, status.disk.lent_bytes)),
    "instances": _number(lambda status: status.instances),
    "load": _number(lambda status: status.load),
    "warmth": _number(lambda status: status.temperature_c),
}


def choose(cards: Iterable[BoxCard], wanted: Wanted, user_id: str) -> Page:
    """The rows that were asked for, in the order that was asked for."""
    found = [card for card in cards if _is_wanted(card, wanted, user_id)]
    found.sort(key=SORTS["name"])  # type: ignore[arg-type]
    found.sort(key=SORTS.get(wanted.sort, SORTS["name"]), reverse=wanted.descending)  # type: ignore[arg-type]
    pages = max(1, -(-len(found) // PER_PAGE))
    begin = (min(max(1, wanted.page), pages) - 1) * PER_PAGE
    return Page(found[begin : begin + PER_PAGE], len(found), pages)


def _is_wanted(card: BoxCard, wanted: Wanted, user_id: str) -> bool:
    labels = card.status.labels if card.status else {}
    if wanted.own and card.box.owner_id != user_id:
        return False
    if wanted.role and wanted.role not in card.roles:
        return False
    if wanted.state and wanted.state != card.state:
        return False
    if wanted.label:
        name, has_value, value = wanted.label.partition("=")
        if name not in labels or (has_value and labels[name] != value):
            return False
    words = (card.box.id, card.box.kind, card.box.address, card.owner or "", *labels, *labels.values())
    return not wanted.text or any(wanted.text.lower() in word.lower() for word in words)
