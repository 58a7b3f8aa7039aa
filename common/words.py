"""The words of this project as types. The table in docs/architecture.md defines each of them."""

from __future__ import annotations

import math
import re
import secrets
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

# DNS labels: ids appear in host names, queue names and Redis keys.
LABEL = r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$"
NAME = r"^[a-z0-9]+([._-][a-z0-9]+)*$"
DIGEST = r"^sha256:[0-9a-f]{64}$"
# The grammar of the OCI distribution specification ("Pulling manifests"): repositories may have slashes.
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
REPOSITORY = rf"^{_COMPONENT}(?:/{_COMPONENT})*$"
TAG = r"^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$"

BoxId = Annotated[str, StringConstraints(pattern=LABEL)]
InstanceId = Annotated[str, StringConstraints(pattern=LABEL)]
DeploymentId = Annotated[str, StringConstraints(pattern=LABEL)]
FilesetId = Annotated[str, StringConstraints(pattern=LABEL)]
Name = Annotated[str, StringConstraints(pattern=NAME, max_length=64)]
Digest = Annotated[str, StringConstraints(pattern=DIGEST)]
# A name or an address: it gets into other programs' files (ssh's, nginx's), where a space or a line would be more.
HostName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9:][A-Za-z0-9.:_-]*$", max_length=253)]
# What SQL, Lua and NumPy can still count with.
MOST = 2**62
# A round trip longer than this says that something was broken, not far.
MOST_ROUND_TRIP_MS = 10_000.0
# Far beyond every round trip, and near enough for sums and squares to stay finite.
MOST_COORDINATE_MS = 1e6
RoundTripMs = Annotated[float, Field(gt=0, le=MOST_ROUND_TRIP_MS, allow_inf_nan=False)]
RepositoryName = Annotated[str, StringConstraints(pattern=REPOSITORY, max_length=128)]
TagName = Annotated[str, StringConstraints(pattern=TAG)]

_DIGEST = re.compile(DIGEST)


def is_digest(text: str) -> bool:
    """Whether `text` is a sha256 digest as in the OCI image specification ("Digests")."""
    return bool(_DIGEST.match(text)) and not text.endswith("\n")


def new_id(prefix: str) -> str:
    """A fresh id that is a DNS label, such as `i-3f9c2a7be1`: 40 random bits behind the prefix."""
    return f"{prefix}-{secrets.token_hex(5)}"


class Role(StrEnum):
    """What a box does for others."""

    COMPUTE = "compute"
    FILESTORE = "filestore"
    DEPOSITORY = "depository"


class BoxKind(StrEnum):
    """What sort of machine a box is."""

    SERVER = "server"
    DESKTOP = "desktop"
    MOBILE = "mobile"
    IOT = "iot"


class SessionMode(StrEnum):
    """What a browser's session on an instance may do."""

    CONTROL = "control"
    WATCH = "watch"


class MountMode(StrEnum):
    """How a fileset is mounted."""

    READ_ONLY = "ro"
    READ_WRITE = "rw"


class InstanceState(StrEnum):
    """The life of an instance; `master.lifecycle.states` holds the allowed steps."""

    REQUESTED = "requested"
    QUEUED = "queued"
    PLACED = "placed"
    PREPARING = "preparing"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    LOST = "lost"

    @property
    def is_over(self) -> bool:
        """Whether nothing of this instance is left anywhere (`lost`: nobody can tell)."""
        return self in (InstanceState.STOPPED, InstanceState.FAILED, InstanceState.LOST)


class Frozen(BaseModel):
    """Base of every value that crosses a boundary: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Resources(Frozen):
    """An amount of what a box can give. All zero means nothing."""

    cpu: float = Field(0.0, ge=0, description="Processor cores.")
    memory_bytes: int = Field(0, ge=0, le=MOST)
    disk_bytes: int = Field(0, ge=0, le=MOST, description="Room in the lent space.")
    bandwidth_bps: int = Field(0, ge=0, le=MOST, description="Bits per second held while running.")
    gpu: int = Field(0, ge=0, le=MOST, description="Whole graphics processors.")

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            cpu=self.cpu + other.cpu,
            memory_bytes=self.memory_bytes + other.memory_bytes,
            disk_bytes=self.disk_bytes + other.disk_bytes,
            bandwidth_bps=self.bandwidth_bps + other.bandwidth_bps,
            gpu=self.gpu + other.gpu,
        )

    def fits(self, room: Resources) -> bool:
        """Whether this amount fits into `room`."""
        return (
            self.cpu <= room.cpu + 1e-9
            and self.memory_bytes <= room.memory_bytes
            and self.disk_bytes <= room.disk_bytes
            and self.bandwidth_bps <= room.bandwidth_bps
            and self.gpu <= room.gpu
        )


class Coordinate(Frozen):
    """A place in network space; the distance between two is a round trip in milliseconds."""

    x_ms: float = Field(0.0, ge=-MOST_COORDINATE_MS, le=MOST_COORDINATE_MS)
    y_ms: float = Field(0.0, ge=-MOST_COORDINATE_MS, le=MOST_COORDINATE_MS)
    height_ms: float = Field(
        0.0, ge=0, le=MOST_COORDINATE_MS, description="The access link's own share, added to every distance."
    )


def distance_ms(one: Coordinate, other: Coordinate) -> float:
    """The round trip between two places: plane distance plus both heights (Vivaldi)."""
    return math.hypot(one.x_ms - other.x_ms, one.y_ms - other.y_ms) + one.height_ms + other.height_ms


class Endpoint(Frozen):
    """Where a server of a box answers. `tls` is false on loopback only."""

    host: HostName
    port: int = Field(ge=1, le=65535)
    tls: bool = False

    @property
    def url(self) -> str:
        """The endpoint as the start of a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"
