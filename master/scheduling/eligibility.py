"""Which boxes may compute a request: each rule is a mask over the fleet and a sentence for those left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from common.images import UNPACKED_FACTOR
from common.units import show_size
from common.words import MountMode, Role
from master.scheduling.fleet import COLUMNS, Bools, Fleet, Indices, as_row
from master.scheduling.request import FilesetNeed, LeftOut, PlacementRequest


@dataclass(frozen=True)
class Rule:
    """`passes[i]` says whether box i keeps the rule; `why(i)` what to say of one that does not."""

    passes: Bools
    why: Callable[[int], str]


def _room(request: PlacementRequest, fleet: Fleet) -> list[Rule]:
    wanted = as_row(request.resources)
    needs = np.tile(wanted, (len(fleet), 1))
    needs[:, COLUMNS.index("disk")] += fleet.missing_of(request.variants) * (1 + UNPACKED_FACTOR)
    free = fleet.free

    def rule(column: int) -> Rule:
        def why(row: int) -> str:
            need, room = needs[row, column], max(0.0, free[row, column])
            return f"needs {_show(column, need)} {COLUMNS[column]}, {_show(column, room)} is free"

        return Rule(needs[:, column] <= free[:, column] + 1e-9, why)

    return [rule(column) for column in range(len(COLUMNS))]


def _show(column: int, amount: float) -> str:
    if COLUMNS[column] in ("memory", "disk"):
        return show_size(amount)
    if COLUMNS[column] == "bandwidth":
        return f"{amount / 1e6:g} Mbit/s"
    return f"{amount:g}"


def _always(sentence: str) -> Callable[[int], str]:
    return lambda _: sentence


def _reaches_files(request: PlacementRequest, fleet: Fleet) -> list[Rule]:
    rules = []
    for need in request.filesets:
        sources = filestores(need, fleet)
        passes = np.full(len(fleet), bool(sources.any()))
        name = "home" if need.mode is MountMode.READ_WRITE else f"fileset {need.name or need.fileset}"
        rules.append(Rule(passes, _always(f"no filestore that is up holds the {name}")))
    return rules


def _runs(request: PlacementRequest, fleet: Fleet, suited: Indices) -> list[Rule]:
    architectures = sorted({variant.architecture for variant in request.variants})
    known = " or ".join(architectures) if any(architectures) else "no architecture"
    zstd = {variant.architecture for variant in request.variants if variant.zstd}
    return [
        Rule(
            np.isin(fleet.architecture, architectures),
            lambda row: f"is {fleet.architecture[row]}, the image is for {known}",
        ),
        Rule(
            (suited >= 0) | ~np.isin(fleet.architecture, sorted(zstd)),
            _always("has an engine that does not unpack layers in zstd"),
        ),
    ]


def _reaches_layers(request: PlacementRequest, fleet: Fleet, suited: Indices) -> Rule:
    """A layer that nobody offers is no obstacle to a box that has it itself."""
    nowhere = np.zeros(len(fleet), dtype=np.intp)  # 0 where no variant is suited: another rule tells that
    passes = np.ones(len(fleet), dtype=bool)
    for number, variant in enumerate(request.variants):
        layers = [layer for layer in variant.layers if not len(fleet.offering(layer.digest))]
        rows = suited == number
        nowhere[rows] = len(layers)
        passes[rows] = fleet.missing_bytes(layers)[rows] <= 0
    return Rule(passes, lambda row: f"no box that is up holds {nowhere[row]} of the image's layers")


def filestores(need: FilesetNeed, fleet: Fleet) -> Bools:
    """Fixed boxes of the filestore role that hold the fileset (or have room for a new home), shape (boxes,)."""
    able: Bools = fleet.roles[Role.FILESTORE] & fleet.fixed
    suited: Bools
    if need.held_by is None:
        suited = fleet.holds_fileset(need.fileset, need.version)
    elif need.held_by:
        suited = np.array([name in need.held_by for name in fleet.names], dtype=bool)
    else:
        suited = ~fleet.cordoned & (fleet.free[:, COLUMNS.index("disk")] >= need.room_bytes)
    return able & suited


def rules(request: PlacementRequest, fleet: Fleet) -> list[Rule]:
    """All rules, in the order in which they are told to people."""
    excluded = np.array([name in request.excluded for name in fleet.names], dtype=bool).reshape(len(fleet))
    suited = fleet.suited(request.variants)
    return [
        Rule(fleet.roles[Role.COMPUTE], _always("has not the compute role")),
        Rule(~fleet.full, _always("has too little free space and closed itself")),
        Rule(fleet.open, _always("is closed")),
        Rule(fleet.fixed, _always("is unstable")),
        Rule(~fleet.cordoned, _always("takes no new placements")),
        Rule(~excluded, _always("refused this instance")),
        *_runs(request, fleet, suited),
        _reaches_layers(request, fleet, suited),
        *_reaches_files(request, fleet),
        *_room(request, fleet),
    ]


def eligible(request: PlacementRequest, fleet: Fleet) -> tuple[Bools, tuple[LeftOut, ...]]:
    """The mask of eligible boxes, and for every other the first rule that it fails."""
    mask = np.ones(len(fleet), dtype=bool)
    left_out: dict[int, str] = {}
    for rule in rules(request, fleet):
        for row in np.flatnonzero(mask & ~rule.passes):
            left_out[int(row)] = rule.why(int(row))
        mask &= rule.passes
    return mask, tuple(LeftOut(fleet.names[row], why) for row, why in sorted(left_out.items()))
