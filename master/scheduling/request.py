"""What is to be placed, and what comes out: plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from common.words import Coordinate, MountMode, Resources


@dataclass(frozen=True)
class Layer:
    """A blob of the image."""

    digest: str
    size_bytes: int


@dataclass(frozen=True)
class Variant:
    """The image for one architecture; `zstd` says that not every engine unpacks it."""

    image: str
    architecture: str
    layers: tuple[Layer, ...] = ()
    zstd: bool = False


@dataclass(frozen=True)
class FilesetNeed:
    """A fileset that the instance mounts.

    `held_by` are its boxes, as SQL knows them. A home that lies nowhere yet has none, and any filestore with
    `room_bytes` will do; with `held_by` None the fleet's own knowledge counts. `writer` is the compute box
    that may write it now; elsewhere it can only be read. `name` is for people.
    """

    fileset: str
    version: int
    mode: MountMode
    held_by: tuple[str, ...] | None = None
    room_bytes: int = 0
    writer: str | None = None
    name: str = ""


@dataclass(frozen=True)
class PlacementRequest:
    """One instance that wants a place. A box takes the first of the variants that it can run.

    `near` is the person's place on the map; `measured` has round trips in milliseconds to a few boxes.
    """

    resources: Resources
    variants: tuple[Variant, ...]
    filesets: tuple[FilesetNeed, ...] = ()
    near: Coordinate = field(default_factory=Coordinate)
    measured: Mapping[str, float] = field(default_factory=dict)
    excluded: frozenset[str] = frozenset()


@dataclass(frozen=True)
class LeftOut:
    """A box that was not eligible, and why."""

    box: str
    why: str


@dataclass(frozen=True)
class Placement:
    """Compute box, the image for it, a filestore box per fileset, depository boxes per layer, and the reason."""

    compute: str
    image: str
    filestores: dict[str, str]
    modes: dict[str, MountMode]
    depositories: dict[str, tuple[str, ...]]
    missing_bytes: int
    reason: str


@dataclass(frozen=True)
class Decision:
    """Placements best first (the next is taken when a race for the first is lost), or none and why."""

    placements: tuple[Placement, ...]
    left_out: tuple[LeftOut, ...]
    waits_for: str = ""
