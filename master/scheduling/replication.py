"""Who should hold a copy of what: a pure decision over images and filesets and the boxes that could hold them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from common.words import BoxKind


@dataclass(frozen=True)
class Store:
    """A box that can hold copies. `counts`: it is not silent for too long; `takes`: it may get new ones."""

    box: str
    kind: BoxKind
    fixed: bool
    free_bytes: int
    counts: bool = True
    takes: bool = True


@dataclass(frozen=True)
class Copy:
    """A box that is meant to hold a thing. `has`: it does; `planned`: it was chosen here and may be given up."""

    box: str
    has: bool
    planned: bool = False
    in_use: bool = False


@dataclass(frozen=True)
class Thing:
    """An image, a fileset or a home."""

    key: str
    size_bytes: int
    copies: tuple[Copy, ...]
    obtainable: bool = True  # whether all of it can be read from boxes that are up
    barred: frozenset[str] = frozenset()  # boxes that are giving it up just now


@dataclass(frozen=True)
class Change:
    """Boxes that are to hold a thing from now on, and those that need not any more."""

    key: str
    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


def plan(things: Iterable[Thing], stores: Iterable[Store], *, copies: int) -> list[Change]:
    """What has to change so that `copies` boxes that count hold each thing.

    One of them is of kind server if there is such a store, else fixed if there is one; a copy is added for that
    even where there are enough. Beyond that the roomiest are chosen. Room that is promised here counts as taken
    for what follows. A thing that cannot be read anywhere is left alone: there is nothing to copy.
    What was planned here is given up again while enough others *have* the thing.
    """
    known = {store.box: store for store in stores}
    room = {store.box: store.free_bytes for store in known.values()}
    changes = []
    for thing in sorted(things, key=lambda item: (len(item.copies), item.key)):
        change = _change(thing, known, room, copies)
        for box in change.add:
            room[box] -= thing.size_bytes
        if change.add or change.drop:
            changes.append(change)
    return changes


def _change(thing: Thing, stores: Mapping[str, Store], room: dict[str, int], copies: int) -> Change:
    alive = [copy for copy in thing.copies if copy.box in stores and stores[copy.box].counts]
    if not thing.obtainable:
        return Change(thing.key)
    here = [stores[copy.box] for copy in alive]
    meant = {copy.box for copy in thing.copies} | thing.barred
    able = [
        store
        for store in stores.values()
        if store.counts and store.takes and store.box not in meant and room[store.box] > thing.size_bytes
    ]
    able.sort(key=lambda store: (not store.fixed, -room[store.box], store.box))
    best = _best(here, able)
    chosen = [] if best is None else [best]
    chosen += [store for store in able if store is not best]
    missing = max(copies - len(here), 0 if best is None else 1)
    return Change(thing.key, tuple(store.box for store in chosen[:missing]), _surplus(alive, stores, copies))


def _best(here: list[Store], able: list[Store]) -> Store | None:
    """The store that has to be among the new copies; none if the present ones are good enough."""
    for is_good in (_is_server, _is_fixed):
        if any(is_good(store) for store in here):
            return None
        if good := [store for store in able if is_good(store)]:
            return good[0]
    return None


def _is_server(store: Store) -> bool:
    return store.kind is BoxKind.SERVER and store.fixed


def _is_fixed(store: Store) -> bool:
    return store.fixed


def _surplus(alive: list[Copy], stores: Mapping[str, Store], copies: int) -> tuple[str, ...]:
    """Planned copies that can be given up: enough better ones are there, whole."""
    whole = [copy for copy in alive if copy.has]
    too_many = len(whole) - copies
    if too_many <= 0:
        return ()
    servers = [copy for copy in whole if _is_server(stores[copy.box])]
    fixed = [copy for copy in whole if stores[copy.box].fixed]
    must_stay = {group[0].box for group in (servers or fixed,) if len(group) == 1}
    may_go = [copy for copy in whole if copy.planned and not copy.in_use and copy.box not in must_stay]
    # Longest unplanned first would need a history; the fullest box gains most.
    may_go.sort(key=lambda copy: (stores[copy.box].fixed, stores[copy.box].free_bytes, copy.box))
    return tuple(copy.box for copy in may_go[:too_many])
