"""Which boxes may compute a request: each rule is a mask over the fleet and a sentence for those left out.

`eligible` is the mask alone. The sentences cost more than the decision, so `left_out` makes them when somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from common.units import show_size
from common.words import BoxKind, MountMode, Role
from master.scheduling.fleet import BANDWIDTH, COLUMNS, DISK, KINDS, MEMORY, SLACK, Fleet, amounts_of
from master.scheduling.holders import Indices
from master.scheduling.layers import Bools
from master.scheduling.policy import Scope, Sharing
from master.scheduling.request import FilesetNeed, Layer, LeftOut, PlacementRequest, Variant

_SERVER = KINDS.index(BoxKind.SERVER)


class Rule(NamedTuple):
    """`passes[i]` says whether box i keeps the rule; `why(i)` what to say of one that does not."""

    passes: Bools
    why: Callable[[int], str]


def eligible(
    request: PlacementRequest, fleet: Fleet, scope: Scope = Scope.FLEET, sharing: Sharing = Sharing.ALL
) -> Bools:
    """The mask of eligible boxes, shape (rows,); the caller may change it."""
    mask = _takes(fleet, scope)
    for rule in _asked(request, fleet, sharing):
        mask &= rule.passes
    return mask


def left_out(
    request: PlacementRequest, fleet: Fleet, scope: Scope = Scope.FLEET, sharing: Sharing = Sharing.ALL
) -> tuple[LeftOut, ...]:
    """For every box that is up and not eligible the first rule that it fails, by row."""
    mask = fleet.up.copy()
    sentences: dict[int, str] = {}
    for rule in (*_standing(fleet, scope), *_asked(request, fleet, sharing)):
        for row in np.flatnonzero(mask & ~rule.passes):
            sentences[int(row)] = rule.why(int(row))
        mask &= rule.passes
    return tuple(LeftOut(fleet.names[row], why) for row, why in sorted(sentences.items()))


def stores(need: FilesetNeed, fleet: Fleet, sharing: Sharing = Sharing.ALL) -> Indices:
    """The filestores that may serve a fileset to any box, ascending."""
    rows = fleet.filestores(need)
    return rows[serves_others(rows, fleet, sharing)]


def serves_others(rows: Indices, fleet: Fleet, sharing: Sharing) -> Bools:
    """Which of these filestores serve other boxes than themselves."""
    serving: Bools = fleet.central[rows] == (sharing is Sharing.CENTRE)
    return serving


def sources(digest: str, fleet: Fleet, sharing: Sharing = Sharing.ALL) -> Indices:
    """The boxes that may serve a layer to any box, ascending."""
    if sharing is Sharing.ALL:
        return fleet.layers.sources(digest)
    rows = fleet.layers.holders(digest)
    return rows[fleet.central[rows] & fleet.up[rows]]


def source_names(
    layers: Sequence[Layer], fleet: Fleet, sharing: Sharing = Sharing.ALL
) -> dict[str, tuple[str, ...]]:
    """The names of these boxes, for each of the layers."""
    if sharing is Sharing.ALL:
        return fleet.layers.source_names(layers, fleet.names)
    return {
        layer.digest: tuple([fleet.names[row] for row in sources(layer.digest, fleet, sharing)])
        for layer in layers
    }


def _takes(fleet: Fleet, scope: Scope) -> Bools:
    """The boxes that take new instances at all: what `_standing` says, kept up by the fleet."""
    if scope is Scope.CENTRE:
        central: Bools = (
            fleet.central & fleet.up & fleet.roles[Role.COMPUTE] & ~fleet.cordoned & _sound(fleet)
        )
        return central
    if scope is Scope.SERVERS:
        servers: Bools = fleet.takes & (fleet.kind == _SERVER)
        return servers
    return fleet.takes.copy()


def _sound(fleet: Fleet) -> Bools:
    sound: Bools = fleet.free.min(axis=0) >= -SLACK
    return sound


def _standing(fleet: Fleet, scope: Scope) -> Iterator[Rule]:
    """The rules that no request changes, in the order in which they are told to people."""
    yield Rule(fleet.roles[Role.COMPUTE], _always("has not the compute role"))
    if scope is Scope.CENTRE:
        yield Rule(fleet.central, _always("is not the centre"))
    else:
        yield Rule(~fleet.central, _always("is the centre"))
        yield Rule(~fleet.full, _always("has too little free space and closed itself"))
        yield Rule(fleet.open, _always("is closed"))
        yield Rule(fleet.fixed, _always("is unstable"))
        yield Rule(~fleet.paused, lambda row: fleet.why_paused[row])
    if scope is Scope.SERVERS:
        yield Rule(fleet.kind == _SERVER, _always("is no server"))
    yield Rule(~fleet.cordoned, _always("takes no new placements"))
    yield Rule(_sound(fleet), _always("has given away more than it has"))


def _asked(request: PlacementRequest, fleet: Fleet, sharing: Sharing) -> Iterator[Rule]:
    """The rules that follow from the request; only those that can leave a box out."""
    if request.excluded:
        yield Rule(_but(fleet, fleet.rows_of(request.excluded)), _always("refused this instance"))
    yield from _wishes(request, fleet)
    yield from _runs(request, fleet)
    yield from _reaches_layers(request, fleet, sharing)
    for need in request.filesets:
        yield from _reaches_files(request, need, fleet, sharing)
    yield from _room(request, fleet)


def _wishes(request: PlacementRequest, fleet: Fleet) -> Iterator[Rule]:
    if request.boxes:
        pinned = ", ".join(sorted(request.boxes))
        yield Rule(
            _only(fleet, fleet.rows_of(request.boxes)), _always(f"is not {pinned}, where it is pinned")
        )
    for key, value in request.labels:
        yield Rule(_only(fleet, fleet.labels.rows((key, value))), _always(f"has not the label {key}={value}"))
    for one in request.beside:
        yield Rule(_only(fleet, fleet.rows_of(one.boxes)), _always(f"does not run {one.what}"))
    for one in request.apart:
        yield Rule(
            _but(fleet, fleet.rows_of(one.boxes)),
            _always(f"runs {one.what}, from which it is to be apart"),
        )


def _runs(request: PlacementRequest, fleet: Fleet) -> Iterator[Rule]:
    if not request.variants:
        return
    several = len(request.variants) > 1
    passes = fleet.suited(request.variants) >= 0 if several else fleet.runs(request.variants[0])
    yield Rule(passes, lambda row: _unsuited(request, fleet, row))


def _unsuited(request: PlacementRequest, fleet: Fleet, row: int) -> str:
    own = fleet.architectures[fleet.architecture[row]]
    known = sorted({variant.architecture for variant in request.variants})
    if own in known:
        return "has an engine that does not unpack layers in zstd"
    return f"is {own}, the image is for {' or '.join(known) if any(known) else 'no architecture'}"


def _reaches_layers(request: PlacementRequest, fleet: Fleet, sharing: Sharing) -> Iterator[Rule]:
    """A layer that nobody serves is no obstacle to a box that has it itself."""
    if not request.variants:
        return
    for number, image in enumerate(fleet.column(request.variants).images):
        absent: Sequence[Layer] = image.absent
        if sharing is not Sharing.ALL:
            layers = request.variants[number].layers
            absent = [layer for layer in layers if not len(sources(layer.digest, fleet, sharing))]
        if absent:
            passes: Bools = fleet.missing_bytes(absent) <= 0
            if len(request.variants) > 1:
                passes = passes | (fleet.suited(request.variants) != number)
            yield Rule(passes, _always(f"no box that is up holds {len(absent)} of the image's layers"))


def _reaches_files(
    request: PlacementRequest, need: FilesetNeed, fleet: Fleet, sharing: Sharing
) -> Iterator[Rule]:
    others = stores(need, fleet, sharing)
    if len(others) > 1 or (len(others) and not need.is_new):
        return
    # What nobody serves to others may still lie on the box itself, if only the box itself is asked.
    own = fleet.filestores(need) if sharing is Sharing.CENTRE else others
    passes = _only(fleet, own[has_room_beside(request, fleet, own)] if need.is_new else own)
    if len(others):
        passes |= _but(fleet, others)
    name = "home" if need.mode is MountMode.READ_WRITE else f"fileset {need.name or need.fileset}"
    yield Rule(passes, _always(f"no filestore that is up holds the {name}, or has room for it"))


def has_room_beside(request: PlacementRequest, fleet: Fleet, rows: Indices) -> Bools:
    """Which of these boxes have room for the instance, its layers and all its new filesets together."""
    needed = request.resources.disk_bytes + fleet.missing_of(request.variants)[rows] * fleet.layer_room
    needed += sum(need.room_bytes for need in request.filesets if need.is_new)
    enough: Bools = fleet.free[DISK, rows] >= needed - SLACK
    return enough


def _room(request: PlacementRequest, fleet: Fleet) -> Iterator[Rule]:
    for column, amount in enumerate(amounts_of(request.resources)):
        if column == DISK:
            yield from _disk_room(request.variants, amount, fleet)
        elif amount > 0:  # what gives nothing away needs no room
            yield Rule(fleet.free[column] >= amount - SLACK, _lacks(fleet, column, amount))


def _disk_room(variants: tuple[Variant, ...], amount: float, fleet: Fleet) -> Iterator[Rule]:
    missing = fleet.missing_of(variants)
    needed = missing * fleet.layer_room
    needed += amount - SLACK
    passes = fleet.free[DISK] >= needed
    yield Rule(passes, lambda row: _lacks(fleet, DISK, needed[row])(row))


def _lacks(fleet: Fleet, column: int, amount: float) -> Callable[[int], str]:
    def why(row: int) -> str:
        room = max(0.0, fleet.free[column, row])
        return f"needs {show_amount(column, amount)} {COLUMNS[column]}, {show_amount(column, room)} is free"

    return why


def show_amount(column: int, amount: float) -> str:
    """An amount of one column of the fleet, for people."""
    if column in (MEMORY, DISK):
        return show_size(amount)
    if column == BANDWIDTH:
        return f"{amount / 1e6:g} Mbit/s"
    return f"{amount:g}"


def _always(sentence: str) -> Callable[[int], str]:
    return lambda _: sentence


def _only(fleet: Fleet, rows: Indices | None) -> Bools:
    mask = np.zeros(len(fleet.up), dtype=bool)
    if rows is not None:
        mask[rows] = True
    return mask


def _but(fleet: Fleet, rows: Indices) -> Bools:
    mask = np.ones(len(fleet.up), dtype=bool)
    mask[rows] = False
    return mask
