"""Reports: what a box tells the master of its facts, on `report.<box>`.

Reports may be lost, late or doubled: each states a fact, not a change, and is repeated when a converged
subject is woken again.
"""

from __future__ import annotations

import time
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from common.images import DescribedImage, PlatformImage
from common.wishes import ChunkList
from common.words import MOST, BoxId, Digest, Endpoint, FilesetId, Frozen, InstanceId

StepName = Literal[
    "offer",
    "fetch",
    "unpack",
    "export",
    "network",
    "mount",
    "create",
    "launch",
    "wake",
    "ready",
    "stop",
    "unmount",
]
# `no-room`: place it elsewhere; everything else ends the instance.
Reason = Literal[
    "no-room", "no-source", "bad-image", "no-mount", "engine", "not-ready", "exited", "interrupted", "refused"
]


class _Report(Frozen):
    subject: str = Field(max_length=128)
    generation: int = Field(ge=0, le=MOST)
    at: float = Field(default_factory=time.time, description="Unix time on the box.")


class StepDone(_Report):
    """One step of a start or stop is done; becomes a row of the timeline."""

    kind: Literal["step"] = "step"
    step: StepName
    took_s: float = Field(ge=0)
    size_bytes: int = Field(
        0, ge=0, le=MOST, description="Bytes that came over the network; of unpack: of the layers, packed."
    )
    sources: dict[str, int] = Field(default_factory=dict, description="Bytes by box that they came from.")
    detail: str = Field("", max_length=500)


class Preparing(_Report):
    """The compute box has begun."""

    kind: Literal["preparing"] = "preparing"


class KeyMade(_Report):
    """The compute box made (or renewed) the key with which an instance reaches a fileset."""

    kind: Literal["key"] = "key"
    fileset: FilesetId
    public_key: str = Field(max_length=400, description="OpenSSH format.")


class Exported(_Report):
    """The filestore lets the instance's key in; older generations are fenced off."""

    kind: Literal["exported"] = "exported"
    fileset: FilesetId
    endpoint: Endpoint
    host_key: str = Field(max_length=400)
    public_keys: list[str] = Field(description="The keys that are let in now.")


class Ended(_Report):
    """Nothing of this subject is left on this box."""

    kind: Literal["ended"] = "ended"


class Running(_Report):
    """The instance is ready."""

    kind: Literal["running"] = "running"


class Activity(_Report):
    """How long nobody has used what runs on this box; the subject is the box itself."""

    kind: Literal["activity"] = "activity"
    idle_s: dict[InstanceId, Annotated[float, Field(ge=0, le=MOST)]] = Field(max_length=2000)


class Stopped(_Report):
    """No container, mount, network or key of the instance is left; `exit_code` if it ended by itself."""

    kind: Literal["stopped"] = "stopped"
    exit_code: int | None = Field(None, ge=-MOST, le=MOST)


class Failed(_Report):
    """The box cannot do it."""

    kind: Literal["failed"] = "failed"
    reason: Reason
    message: str = Field(max_length=1000, description="What happened, to what, and what to do next.")


class BlobHeld(Frozen):
    """A blob that was verified whole on this box, with the chunk list that the box computed itself."""

    digest: Digest
    size_bytes: int = Field(ge=0, le=MOST)
    chunk_list: ChunkList


class Held(_Report):
    """Blobs that this box has verified and holds."""

    kind: Literal["held"] = "held"
    blobs: list[BlobHeld]


class Referred(_Report):
    """Manifests that refer to images (signatures, bills of materials) were pushed to this box."""

    kind: Literal["referred"] = "referred"
    referrers: list[PlatformImage] = Field(max_length=20)


class Lied(_Report):
    """These boxes sent bytes of a layer that were not those that the master had vouched for."""

    kind: Literal["lied"] = "lied"
    boxes: list[BoxId] = Field(max_length=100)


class MirrorProgress(_Report):
    """How far the fetch of an image from elsewhere came."""

    kind: Literal["mirroring"] = "mirroring"
    size_bytes: int = Field(ge=0, le=MOST)
    done_bytes: int = Field(ge=0, le=MOST)


class Mirrored(_Report):
    """An image from elsewhere lies whole on this box."""

    kind: Literal["mirrored"] = "mirrored"
    image: DescribedImage


class FilesetHeld(_Report):
    """A version of a fileset lies whole on this box."""

    kind: Literal["fileset"] = "fileset"
    fileset: FilesetId
    fileset_version: int = Field(ge=0, le=MOST)
    size_bytes: int = Field(ge=0, le=MOST)
    files: int = Field(ge=0, le=MOST)
    as_of: float | None = Field(
        None, description="Unix time at which a copy of a home was read; none: it is no copy of a home."
    )
    settled: bool = Field(True, description="Nothing of the home changed while it was read.")


class CertificateAsked(_Report):
    """The box's certificate is to be renewed."""

    kind: Literal["certificate"] = "certificate"
    certificate_request: str = Field(max_length=10_000, description="PKCS #10, PEM.")


Report = (
    StepDone
    | Preparing
    | KeyMade
    | Exported
    | Ended
    | Running
    | Activity
    | Stopped
    | Failed
    | Held
    | Referred
    | Lied
    | FilesetHeld
    | MirrorProgress
    | Mirrored
    | CertificateAsked
)
_ADAPTER: TypeAdapter[Report] = TypeAdapter(Annotated[Report, Field(discriminator="kind")])


def read_report(text: str) -> Report:
    """The report in a message; raises pydantic's ValidationError for anything else.

    Boxes are updated one by one: what a newer one says besides is left aside.
    """
    return _ADAPTER.validate_json(text, extra="ignore")
