"""How long a start is expected to take on each box: queue, missing layers, unpacking, files, launch.

The queue is what the box's own link still has to carry. The missing layers come no faster than that link, and no
faster than their depositories give: the first byte comes from the source that is free first, and then all send
together. (To wait for the least busy source of each layer made it cling to boxes that hold everything, and nearly
doubled what was dropped in the scenario openraas-paper.) Files cost the handshakes of a mount with the nearest
filestore.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from master.scheduling.fleet import KINDS, Fleet
from master.scheduling.holders import Indices
from master.scheduling.layers import Column, Floats, Image
from master.scheduling.request import PlacementRequest, Prediction

# Round trips of a mount: TCP, the key exchange and login of SSH, the first messages of SFTP.
HANDSHAKES = 6
# A fileset that may lie on more boxes than this is near enough to every box.
FEW_STORES = 8
# What an instance that waits for its owner takes until it answers.
WAKE_S = 0.5
# More than any byte takes.
FOREVER_S = 1e12


class Supply(NamedTuple):
    """What the depositories of an image can give now."""

    s_per_byte: float
    wait_s: float  # before the first byte


def supply(image: Image, fleet: Fleet) -> Supply:
    """The mean pace of the image's layers, weighted by their sizes. What nobody serves is missing nowhere."""
    if not len(image.sources):
        return Supply(0.0, 0.0)
    s_per_byte = fleet.s_per_byte[image.sources]
    rates = np.add.reduceat(1.0 / s_per_byte, image.offsets)
    wait_s = (fleet.outbound_bytes[image.sources] * s_per_byte).min()
    return Supply(float((image.shares / rates).sum()), float(wait_s))


def start_s(request: PlacementRequest, fleet: Fleet) -> Floats:
    """Seconds from a placement to running, shape (rows,): layers, files and input together, then the launch."""
    if request.variants:
        column = fleet.column(request.variants)
        ready = _fetch_s(request, column, fleet)
        _add_rest(ready, request, column, fleet)
    else:
        ready = np.zeros(len(fleet.up))
    if request.filesets:
        ready += _files_s(request, fleet)
    return ready


def predict(request: PlacementRequest, fleet: Fleet, row: int) -> Prediction:
    """What the parts of a start on one box are expected to take; their sum is what `start_s` says."""
    files = 0.0
    if request.filesets:
        away = (fleet.network.from_nearest(rows)[row] for rows in _stores(request, fleet))
        files = fleet.mount_s + float(max(away, default=0.0)) * (HANDSHAKES / 1000)
    if not request.variants:
        return Prediction(files_s=files)
    column = fleet.column(request.variants)
    number = 0 if column.suited is None else int(column.suited[row])
    missing = float(column.missing[row])
    fetched = queue = 0.0
    if missing or request.input_bytes:
        queue = float(fleet.inbound_bytes[row] * fleet.s_per_byte[row])
        fetched = queue + (missing + request.input_bytes) * float(fleet.s_per_byte[row])
    if missing:
        given = supply(column.images[number], fleet)
        fetched = max(fetched, missing * given.s_per_byte + given.wait_s)
    launch = fleet.launch_s(column.variants[number].image)[fleet.kind[row]]
    if row in fleet.prewarmed.get(request.warm, {}):
        launch = min(launch, WAKE_S)
    image = column.images[number]
    unpack = fleet.unpacking.of(column.variants[number].image, image.size_bytes, missing, row)
    return Prediction(queue, fetched - queue, files, float(launch), unpack)


def _fetch_s(request: PlacementRequest, column: Column, fleet: Fleet) -> Floats:
    """Seconds until the missing layers and the person's input are there, the box's queue included."""
    own: Floats = column.missing + fleet.inbound_bytes
    if request.input_bytes:
        own += request.input_bytes
    own *= fleet.s_per_byte
    given: list[Supply] = [supply(image, fleet) for image in column.images]
    if column.suited is None:
        lent = column.missing * given[0].s_per_byte
        lent += given[0].wait_s
    else:
        table = np.array(given)
        lent = column.missing * table[:, 0].take(column.suited, mode="wrap")
        lent += table[:, 1].take(column.suited, mode="wrap")
    # What lacks nothing waits for nothing: the least of what a fetch takes and of nothing times for ever.
    ceiling = column.missing * FOREVER_S
    if not request.input_bytes:
        np.maximum(own, lent, out=own)
        return np.minimum(own, ceiling, out=own)
    np.minimum(lent, ceiling, out=lent)
    return np.maximum(own, lent, out=own)


def _add_rest(ready: Floats, request: PlacementRequest, column: Column, fleet: Fleet) -> None:
    """Add what comes after the last byte: the engine unpacks what it lacks, then the launch.

    All that depends only on the variant and the kind of box is looked up in one small table; the few boxes that have
    the image unpacked, or an instance waiting, are put right afterwards.
    """
    which = fleet.kind if column.suited is None else column.suited * len(KINDS) + fleet.kind
    unpacking = fleet.unpacking
    launches = [fleet.launch_s(variant.image) for variant in column.variants]
    rest = [
        launch + image.size_bytes * unpacking.there_s
        for launch, image in zip(launches, column.images, strict=True)
    ]
    ready += _flat(rest).take(which, mode="wrap")
    if unpacking.is_known:
        ready += column.missing * (unpacking.fetched_s - unpacking.there_s)
        for number, (variant, image) in enumerate(zip(column.variants, column.images, strict=True)):
            rows = unpacking.rows(variant.image)
            if column.suited is not None:
                rows = rows[column.suited[rows] == number]
            ready[rows] -= unpacking.seconds(image.size_bytes, column.missing[rows])
    if waiting := fleet.prewarmed.get(request.warm):
        there = list(waiting)
        ready[there] -= np.maximum(0.0, _flat(launches).take(which[there], mode="wrap") - WAKE_S)


def _flat(tables: Sequence[Floats]) -> Floats:
    """One table after the other."""
    return tables[0] if len(tables) == 1 else np.concatenate(tables)


def _files_s(request: PlacementRequest, fleet: Fleet) -> Floats | float:
    """Seconds to mount the request's filesets; they are mounted side by side."""
    longest: Floats | float = 0.0
    for rows in _stores(request, fleet):
        longest = np.maximum(longest, fleet.network.from_nearest(rows))
    return fleet.mount_s + longest * (HANDSHAKES / 1000)


def _stores(request: PlacementRequest, fleet: Fleet) -> Iterator[Indices]:
    """The filestores of each fileset whose way counts. A new one lies on the box itself, or near."""
    for need in request.filesets:
        if need.is_new:
            continue
        rows = fleet.filestores(need)
        if 0 < len(rows) <= FEW_STORES:
            yield rows
