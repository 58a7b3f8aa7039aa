"""How long a start is expected to take on each box: queue, missing layers, files, launch.

The queue is what the box's own link still has to fetch. The missing layers come no faster than that link, and no
faster than their depositories give: a layer's sources send together, each after what it has still to send, so that
`size + Σ backlog` bytes go at `Σ rate`. Files cost the handshakes of a mount with the nearest filestore.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from master.scheduling.fleet import Fleet
from master.scheduling.holders import Indices
from master.scheduling.layers import Floats, ImageColumn
from master.scheduling.request import PlacementRequest, Prediction, Variant

Number = TypeVar("Number", np.float64, np.intp)

# Round trips of a mount: TCP, the key exchange and login of SSH, the first messages of SFTP.
HANDSHAKES = 6
# A fileset that may lie on more boxes than this is near enough to every box.
FEW_STORES = 8


class Supply(NamedTuple):
    """What the depositories of an image can give now."""

    s_per_byte: float
    wait_s: float  # before the first byte


def supply(column: ImageColumn, fleet: Fleet) -> Supply:
    """The mean of the image's layers, weighted by their sizes. What nobody serves is missing nowhere."""
    if not len(column.sources):
        return Supply(0.0, 0.0)
    rates = np.add.reduceat(1.0 / fleet.s_per_byte[column.sources], column.offsets)
    backlogs = np.add.reduceat(fleet.outbound_bytes[column.sources], column.offsets)
    shares = column.shares / rates
    return Supply(float(shares.sum()), float(shares @ backlogs) / column.size_bytes)


def fetch_s(variant: Variant, fleet: Fleet, rows: Indices | None = None, *, input_bytes: int = 0) -> Floats:
    """Seconds until the missing layers of an image are there, and the person's input; the box's queue included."""
    column = fleet.image(variant)
    given = supply(column, fleet)
    missing = _of(column.missing, rows)
    own: Floats = missing + _of(fleet.inbound_bytes, rows)
    own += input_bytes
    own *= _of(fleet.s_per_byte, rows)
    lent = missing * given.s_per_byte
    lent += given.wait_s
    lent *= missing > 0
    if not input_bytes:  # who waits for nothing does not stand in the queue
        own *= missing > 0
    np.maximum(own, lent, out=own)
    return own


def files_s(request: PlacementRequest, fleet: Fleet, rows: Indices | None = None) -> Floats | float:
    """Seconds to mount the request's filesets; they are mounted side by side."""
    if not request.filesets:
        return 0.0
    longest: Floats | float = 0.0
    for need in request.filesets:
        holders = fleet.filestores(need)
        if not 0 < len(holders) <= FEW_STORES:
            continue
        nearest = fleet.distance_ms(fleet.place_of(int(holders[0])), rows)
        for holder in holders[1:]:
            np.minimum(nearest, fleet.distance_ms(fleet.place_of(int(holder)), rows), out=nearest)
        longest = np.maximum(longest, nearest)
    return fleet.mount_s + longest * (HANDSHAKES / 1000)


def start_s(request: PlacementRequest, fleet: Fleet, rows: Indices | None = None) -> Floats:
    """Seconds from a placement to running, shape (rows,). Layers and files come side by side, then the launch."""
    ready = np.zeros(len(fleet.up) if rows is None else len(rows))
    suited = fleet.suited(request.variants) if len(request.variants) > 1 else None
    for number, variant in enumerate(request.variants):
        fetched = fetch_s(variant, fleet, rows)
        fetched += fleet.launch_s(variant.image)[_of(fleet.kind, rows)]
        if suited is None:
            ready = fetched
        else:
            np.copyto(ready, fetched, where=_of(suited, rows) == number)
    ready += files_s(request, fleet, rows)
    return ready


def predict(request: PlacementRequest, fleet: Fleet, row: int) -> Prediction:
    """What the parts of a start on one box are expected to take."""
    rows = np.array([row], dtype=np.intp)
    files = files_s(request, fleet, rows)
    if not request.variants:
        return Prediction(files_s=float(np.max(files)))
    variant = fleet.variant_for(request.variants, row)
    fetched = float(fetch_s(variant, fleet, rows, input_bytes=request.input_bytes)[0])
    queue = float(fleet.inbound_bytes[row] * fleet.s_per_byte[row]) if fetched else 0.0
    launch = float(fleet.launch_s(variant.image)[fleet.kind[row]])
    return Prediction(queue, max(0.0, fetched - queue), float(np.max(files)), launch)


def _of(values: NDArray[Number], rows: Indices | None) -> NDArray[Number]:
    return values if rows is None else values[rows]
