"""What is to be placed, and what comes out: plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from common.words import Coordinate, MountMode, Resources


class Place(NamedTuple):
    """Where somebody is: a network coordinate, and the area whose backbone it hangs on (0 where there is one)."""

    x_ms: float = 0.0
    y_ms: float = 0.0
    height_ms: float = 0.0
    area: int = 0

    @classmethod
    def of(cls, coordinate: Coordinate, area: int = 0) -> Place:
        """A measured coordinate as a place."""
        return cls(coordinate.x_ms, coordinate.y_ms, coordinate.height_ms, area)


@dataclass(frozen=True, slots=True)
class Layer:
    """A blob of the image."""

    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Variant:
    """The image for one architecture; `zstd` says that not every engine unpacks it.

    `image` is a digest: two variants of one name have the same layers.
    """

    image: str
    architecture: str
    layers: tuple[Layer, ...] = ()
    zstd: bool = False


@dataclass(frozen=True, slots=True)
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

    @property
    def is_new(self) -> bool:
        """Whether it lies nowhere yet, so that its filestore needs room."""
        return self.held_by == ()


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Boxes that run something (`what`, for people) which an instance wants beside itself, or away from it."""

    what: str
    boxes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Spread:
    """Instances of a service are to lie apart: on different boxes, or on boxes with different values of a label."""

    label: str = ""
    there: Mapping[str, int] = field(default_factory=dict)  # box → how many of them it runs


@dataclass(frozen=True, slots=True)
class PlacementRequest:
    """One instance that wants a place. A box takes the first of the variants that it can run.

    `near` is the person's place on the map; `measured` has round trips in milliseconds to a few boxes.
    """

    resources: Resources
    variants: tuple[Variant, ...]
    filesets: tuple[FilesetNeed, ...] = ()
    near: Place = Place()
    measured: Mapping[str, float] = field(default_factory=dict)
    excluded: frozenset[str] = frozenset()
    boxes: frozenset[str] = frozenset()  # pinned to these; empty: to none
    labels: tuple[tuple[str, str], ...] = ()  # all of which the box has to have
    beside: tuple[Neighbours, ...] = ()
    apart: tuple[Neighbours, ...] = ()
    spread: Spread | None = None
    input_bytes: int = 0  # what the person sends to the box before it starts
    warm: str = ""  # under this name boxes have instances that wait for such a request; empty: none can


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A box that was not eligible, and why."""

    box: str
    why: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the parts of a start are expected to take."""

    queue_s: float = 0.0  # what the box still fetches for others
    fetch_s: float = 0.0  # the missing layers
    files_s: float = 0.0  # exporting and mounting
    launch_s: float = 0.0
    unpack_s: float = 0.0  # what the engine does after the last byte

    @property
    def start_s(self) -> float:
        """From the placement to running."""
        return self.queue_s + self.fetch_s + self.unpack_s + self.files_s + self.launch_s


@dataclass(frozen=True, slots=True)
class Placement:
    """Compute box, the image for it, a filestore box per fileset, depository boxes per layer, and the reason."""

    compute: str
    image: str
    filestores: dict[str, str]
    modes: dict[str, MountMode]
    depositories: dict[str, tuple[str, ...]]
    missing_bytes: int
    reason: str
    predicted: Prediction = Prediction()


@dataclass(frozen=True, slots=True)
class Decision:
    """Placements best first (the next is taken when a race for the first is lost), or none and why.

    `left_out` is filled in where an explanation was asked for.
    """

    placements: tuple[Placement, ...]
    left_out: tuple[LeftOut, ...] = ()
    waits_for: str = ""
