"""From a request and a fleet to placements: eligibility, the policy's costs, then files and layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from common.units import show_size
from common.words import MountMode
from master.scheduling.eligibility import eligible, has_room_beside, left_out, serves_others, source_names
from master.scheduling.estimate import predict
from master.scheduling.fleet import Fleet
from master.scheduling.holders import Indices
from master.scheduling.layers import Bools, Floats
from master.scheduling.policy import Policy
from master.scheduling.request import Decision, FilesetNeed, LeftOut, Placement, PlacementRequest

CANDIDATES = 5
DISTRUSTED_MS = 1000.0
# What somebody reads of files before the road to them is felt.
FILES_BYTES = 2_000_000
# A depository that gave a box less than this part of what others gave it is asked by it only where it has to be.
SLOW = 1 / 8
# Up to so many are found by looking for the least again and again, which is quicker than any sorting.
_FEW = 8


def place(
    policy: Policy,
    request: PlacementRequest,
    fleet: Fleet,
    rng: np.random.Generator,
    *,
    most: int = CANDIDATES,
    explain: bool = False,
) -> Decision:
    """Up to `most` placements, best first; none if the request has to wait.

    With `explain` the decision says of every box that is up why it was left out, and what the request waits for.
    """
    rows, able = _choose(policy, request, fleet, rng, most)
    out = left_out(request, fleet, policy.scope, policy.sharing) if explain else ()
    placements = tuple(_compose(policy, request, fleet, row, able) for row in rows)
    waits_for = _waits_for(out) if explain and not rows else ""
    return Decision(placements, out, waits_for)


def choose(
    policy: Policy,
    request: PlacementRequest,
    fleet: Fleet,
    rng: np.random.Generator,
    *,
    most: int = 1,
) -> list[int]:
    """The rows of up to `most` boxes to compute on, best first.

    What the request prefers (a box that may write its home, a box with fewer of its kind) goes before any cost;
    of boxes that cost the same the first row wins.
    """
    return _choose(policy, request, fleet, rng, most)[0]


def _choose(
    policy: Policy, request: PlacementRequest, fleet: Fleet, rng: np.random.Generator, most: int
) -> tuple[list[int], int]:
    """These rows, and how many boxes were eligible."""
    mask = eligible(request, fleet, policy.scope, policy.sharing)
    able = int(np.count_nonzero(mask))
    if not able:
        return [], 0
    cost = policy.cost(request, fleet, rng)
    chosen: list[int] = []
    for tier in _tiers(request, fleet, mask):
        chosen += cheapest(cost, tier, most - len(chosen))
        if len(chosen) >= most:
            break
    return chosen, able


def cheapest(cost: Floats, mask: Bools, most: int) -> list[int]:
    """The rows of the `most` least costs where `mask` is true, ascending; of equals the first row comes first."""
    rows = np.flatnonzero(mask)  # far quicker than writing infinity where the mask is false
    left = cost[rows]
    if most > _FEW:
        if most < len(rows):
            among = left <= np.partition(left, most - 1)[most - 1]
            rows, left = rows[among], left[among]
        return [int(row) for row in rows[np.argsort(left, kind="stable")][:most]]
    found: list[int] = []
    for _ in range(min(most, len(rows))):
        at = int(left.argmin())
        found.append(int(rows[at]))
        left[at] = np.inf
    return found


def _tiers(request: PlacementRequest, fleet: Fleet, mask: Bools) -> list[Bools]:
    """The eligible boxes in groups, the preferred ones first."""
    tiers = [mask]
    writers = {need.writer for need in request.filesets if need.mode is MountMode.READ_WRITE and need.writer}
    if writers:
        writing = np.zeros(len(mask), dtype=bool)
        writing[fleet.rows_of(writers)] = True
        tiers = [mask & writing, mask & ~writing]
    if request.spread is not None:
        there = _neighbours(request, fleet)
        tiers = [tier & (there == count) for tier in tiers for count in np.unique(there[tier])]
    return tiers


def _neighbours(request: PlacementRequest, fleet: Fleet) -> Indices:
    """How many of the same service run on each box, or on all boxes with its value of the label."""
    spread = request.spread
    assert spread is not None  # noqa: S101 - told to the type checker
    counts = np.zeros(len(fleet.up), dtype=np.intp)
    by_value: Counter[str] = Counter()
    for box, count in spread.there.items():
        if (row := fleet.row_of.get(box)) is None:
            continue
        counts[row] = count
        if (value := dict(fleet.labels.of(row)).get(spread.label)) is not None:
            by_value[value] += count
    for value, count in by_value.items():
        counts[fleet.labels.rows((spread.label, value))] = count
    return counts


def _compose(policy: Policy, request: PlacementRequest, fleet: Fleet, row: int, able: int) -> Placement:
    """The placement that follows from computing on box `row`, one of `able`."""
    compute = fleet.names[row]
    filestores: dict[str, str] = {}
    modes: dict[str, MountMode] = {}
    for need in request.filesets:
        filestores[need.fileset] = fleet.names[store_for(request, need, fleet, row, policy)]
        elsewhere = need.writer is not None and need.writer != compute
        modes[need.fileset] = MountMode.READ_ONLY if elsewhere else need.mode
    image, missing = "", 0
    depositories: dict[str, tuple[str, ...]] = {}
    if request.variants:
        variant = fleet.variant_for(request.variants, row)
        image, missing = variant.image, int(fleet.missing_of(request.variants)[row])
        depositories = source_names(variant.layers, fleet, policy.sharing)
        if policy.by_record and (pace := fleet.network.pairs.get(row)):
            depositories = {digest: _spared(names, pace, fleet) for digest, names in depositories.items()}
    layers = f"{show_size(missing)} of layers to fetch" if missing else "all layers are there"
    among = f"of {able} eligible boxes" if able > 1 else "and the only eligible box"
    reason = f"{compute} is {policy.reason(request, fleet, row)} {among}; {layers}."
    predicted = predict(request, fleet, row)
    return Placement(compute, image, filestores, modes, depositories, missing, reason, predicted)


def store_for(request: PlacementRequest, need: FilesetNeed, fleet: Fleet, row: int, policy: Policy) -> int:
    """The filestore for a compute box: itself if it can be, whatever its height says, else the nearest.

    A policy that goes by records holds a filestore that is sure to fail for so much further away, and counts what a
    few bytes from there take.
    """
    itself = np.array([row], dtype=np.intp)
    rows = fleet.filestores(need)
    if row in rows and (not need.is_new or has_room_beside(request, fleet, itself)[0]):
        return row
    rows = rows[(rows != row) & serves_others(rows, fleet, policy.sharing)]
    away = fleet.network.distance_ms(fleet.network.place_of(row), rows)
    if policy.by_record:
        away += fleet.store_distrust[rows] * DISTRUSTED_MS
        away += fleet.network.pair_s_per_byte(row, rows, fleet.s_per_byte) * (1000 * FILES_BYTES)
    return int(rows[away.argmin()])


def _spared(names: tuple[str, ...], known: Mapping[int, float], fleet: Fleet) -> tuple[str, ...]:
    """Who is asked for a layer: not those that were slow for this box, as far as seconds per byte are known."""
    pace = {name: known[fleet.row_of[name]] for name in names if fleet.row_of[name] in known}
    if len(pace) < 2:
        return names
    usual = float(np.median(list(pace.values())))
    # The quick ones first: whoever can ask only some asks those.
    kept = [name for name in names if pace.get(name, usual) <= usual / SLOW]
    return tuple(sorted(kept, key=lambda name: pace.get(name, usual)))


def _waits_for(out: tuple[LeftOut, ...]) -> str:
    """Why nothing can take the request: the commonest reason, with one box as the example."""
    if not out:
        return "No box is up."
    counts = Counter(item.why.split(",")[0] for item in out)
    # A box without the role says little; tell what keeps back those that could compute.
    telling = [item for item in out if item.why != "has not the compute role"] or list(out)
    best = max(telling, key=lambda item: counts[item.why.split(",")[0]])
    others = f" ({len(out) - 1} more cannot either)" if len(out) > 1 else ""
    return f"No box can take it now: {best.box} {best.why}{others}."
