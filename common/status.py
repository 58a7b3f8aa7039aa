"""The status record that a box writes to `status:<box>` every few seconds, with a time to live."""

from __future__ import annotations

from typing import Self

from pydantic import Field

from common import __version__
from common.vivaldi import MOST_ERROR, PEERS_KEPT
from common.words import (
    MOST,
    BoxId,
    BoxKind,
    Coordinate,
    Endpoint,
    FilesetId,
    Frozen,
    Resources,
    Role,
    RoundTripMs,
)

# So many applications a box can have prewarmed instances of.
MOST_PREWARMED = 256


class DiskUse(Frozen):
    """The lent space of a box. A layer lies on the disk twice, as a blob and unpacked in the engine."""

    lent_bytes: int = Field(ge=0, le=MOST)
    blobs_bytes: int = Field(0, ge=0, le=MOST)
    engine_bytes: int = Field(0, ge=0, le=MOST)
    filesets_bytes: int = Field(0, ge=0, le=MOST)

    @property
    def raw_free_bytes(self) -> int:
        """What is left of the lent space; negative where more lies there than was lent."""
        return self.lent_bytes - self.blobs_bytes - self.engine_bytes - self.filesets_bytes

    @property
    def free_bytes(self) -> int:
        """What is left of the lent space; never negative."""
        return max(0, self.raw_free_bytes)


class FilesetHolding(Frozen):
    """A fileset on this box, at a version."""

    fileset: FilesetId
    version: int


class EngineFacts(Frozen):
    """The container engine of a box."""

    name: str = Field(max_length=32)
    version: str = Field("", max_length=64)
    store: str = Field("", max_length=64, description="How it keeps images: overlay2, io.containerd.…, …")
    zstd: bool = Field(False, description="Whether it unpacks layers that are compressed with zstd.")


class BoxStatus(Frozen):
    """What a box says of itself now."""

    box: BoxId
    epoch: str = Field(description="Changes when the box's worker starts anew.")
    sequence: int = Field(ge=0, description="Grows by one with every record of an epoch.")
    redis_epoch: str = Field(description="`fleet:epoch` as the box last saw it.")
    at: float
    version: str = __version__
    roles: frozenset[Role]
    kind: BoxKind
    open: bool
    fixed: bool
    architecture: str = Field(max_length=64, description="As in the OCI image specification: amd64, arm64, …")
    engine: EngineFacts | None = Field(None, description="None: the box does not compute.")
    labels: dict[str, str] = Field(default_factory=dict)
    coordinate: Coordinate = Coordinate()
    coordinate_error: float | None = Field(
        None,
        ge=0,
        le=MOST_ERROR,
        description="Relative error of the coordinate; none: the owner typed it in.",
    )
    round_trips_ms: dict[BoxId, RoundTripMs] = Field(
        default_factory=dict, max_length=PEERS_KEPT, description="What it measured lately, by the other box."
    )
    master_ms: RoundTripMs | None = Field(None, description="The round trip to the master's Redis.")
    capacity: Resources
    used: Resources = Field(description="Held by instances that run here, by the box's own table.")
    load: float = Field(0.0, ge=0, description="Run queue over one minute, per core.")
    temperature_c: float | None = None
    disk: DiskUse
    alert: str = Field(
        "", max_length=500, description="Why the box has closed itself to new placements; empty: it has not."
    )
    paused: str = Field(
        "",
        max_length=300,
        description="Why its owner's rules let no new instance in now, after the box's name; empty: they do.",
    )
    instances: int = Field(0, ge=0)
    prewarmed: dict[str, int] = Field(
        default_factory=dict,
        max_length=MOST_PREWARMED,
        description="How many prewarmed instances wait for an owner, by the subject of the wish for them.",
    )
    layers_sequence: int = Field(0, ge=0, description="Grows with every change of the set `layers:<box>`.")
    layer_timer_s: float = Field(86400.0, gt=0, description="A layer that nobody uses for so long goes.")
    offers_layers: bool = Field(True, description="Whether other boxes may fetch its layers.")
    filesets: list[FilesetHolding] = Field(default_factory=list)
    front: Endpoint | None = Field(None, description="Gateway and blob server.")
    filestore: Endpoint | None = Field(None, description="Where filesets are exported.")

    @classmethod
    def read(cls, text: str | bytes) -> Self:
        """The status in a record; raises pydantic's ValidationError for what is none.

        Boxes are updated one by one: what a newer one says besides is left aside.
        """
        return cls.model_validate_json(text, extra="ignore")
