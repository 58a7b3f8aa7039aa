"""Wishes: what the master wants a box to do, signed and versioned.

`wish:<box>` in Redis is a hash from `<role>/<subject>` to a signed token; the box keeps a copy on its disk.
A task only wakes the box, which then makes facts follow the wish. Of two wishes for one subject the one
with the higher (generation, version) counts; the box never goes back.

| role | subject | wanted |
| --- | --- | --- |
| compute | instance id | running, stopped |
| compute | `warm.<application id>` | kept, dropped |
| filestore | `<instance>.<fileset>` | exported, ended |
| filestore | `fileset.<fileset>` | held, removed |
| depository | instance id | offered, released |
| depository | `image.<first 12 hex of its digest>` | held, removed |
| depository | `layers.<first 12 hex of a digest>` | kept, evicted |
| depository | `mirror.<id>` | mirrored, dropped |
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, TypeAdapter, ValidationError

from common.errors import Unauthorized
from common.service import MountPoint, ServiceSpec, VariableName
from common.signing import Signer, Verifier
from common.words import BoxId, DeploymentId, Digest, Endpoint, FilesetId, Frozen, InstanceId, MountMode

PURPOSE = "wish"
# Characters of the certificates of a private registry's authority.
MOST_CA = 64_000


class _Wish(Frozen):
    subject: str = Field(max_length=128, pattern=r"^[a-z0-9.-]+$")
    generation: int = Field(ge=0)
    version: int = Field(ge=0, description="Grows with every change of this subject's wish.")
    lease_end: float | None = Field(
        None, description="Unix time after which the box undoes it by itself; none: never."
    )

    @property
    def order(self) -> tuple[int, int]:
        """Which of two wishes for one subject is the newer."""
        return (self.generation, self.version)

    def undone(self) -> Self:
        """The same wish, but wanting that nothing of it is left: what a box does when the lease ends."""
        return self.model_copy(update={"wanted": UNDONE[self.__class__.__name__]})


UNDONE = {
    "ComputeWish": "stopped",
    "WarmWish": "dropped",
    "ExportWish": "ended",
    "FilesetWish": "removed",
    "OfferWish": "released",
    "HoldWish": "removed",
    "LayersWish": "kept",  # it has no lease; what somebody pinned is not dropped by a clock
    "MirrorWish": "dropped",
}


class ChunkList(Frozen):
    """The sha256 of every chunk of a blob, vouched for by the master."""

    blob: Digest
    size_bytes: int = Field(ge=0)
    chunk_bytes: int = Field(gt=0)
    chunks: list[str] = Field(description="Hexadecimal sha256 of each chunk, in order.")


class BlobSource(Frozen):
    """A blob that an image needs, and where it can be had."""

    digest: Digest
    size_bytes: int = Field(ge=0)
    media_type: str
    boxes: list[BoxId] = Field(description="Depositories of the placement, all of which hold it.")
    chunk_list: ChunkList | None = Field(
        None, description="None: not verified by two boxes yet; use one source at a time."
    )


class ImageSource(Frozen):
    """An image, its blobs in the order in which an engine unpacks them, and the depositories."""

    name: str = Field(description="Repository and tag, for people.")
    manifest: Digest
    blobs: list[BlobSource] = Field(description="Manifest first, then config, then layers.")
    endpoints: dict[BoxId, Endpoint]
    fetching: list[BoxId] = Field(
        default_factory=list, description="Boxes among the endpoints that are fetching this image too."
    )
    ticket: str = Field(description="A LayerTicket for these blobs.")


class MountWish(Frozen):
    """A fileset to be mounted into the container."""

    fileset: FilesetId
    version: int
    target: MountPoint
    mode: MountMode
    filestore: BoxId
    protocol: str = "sshfs"
    endpoint: Endpoint | None = Field(None, description="None: the filestore has not exported it yet.")
    host_key: str | None = Field(None, description="The server's public key in OpenSSH format.")
    public_keys: list[str] = Field(
        default_factory=list, description="The instance's keys that are let in now."
    )


class ComputeWish(_Wish):
    """One instance on this box."""

    role: Literal["compute"] = "compute"
    kind: Literal["instance"] = "instance"
    wanted: Literal["running", "stopped"]
    instance: InstanceId
    deployment: DeploymentId
    service: ServiceSpec
    image: ImageSource
    mounts: list[MountWish] = Field(default_factory=list)
    sealed: dict[VariableName, str] = Field(
        default_factory=dict, description="Secret environment, sealed for this box."
    )
    ended_shares: list[str] = Field(
        default_factory=list, description="Invitations by which nobody may be in a session any more."
    )


class Target(Frozen):
    """A place in a container where files will appear."""

    target: MountPoint
    mode: MountMode


class WarmWish(_Wish):
    """Have the image here, and so many containers of it that wait for whoever comes first."""

    role: Literal["compute"] = "compute"
    kind: Literal["warm"] = "warm"
    wanted: Literal["kept", "dropped"]
    service: ServiceSpec
    image: ImageSource
    targets: list[Target] = Field(default_factory=list)
    count: int = Field(ge=0, le=1000, description="None: only the image is to be here.")


class ExportWish(_Wish):
    """Let one instance's key into a fileset (exported), or no longer (ended)."""

    role: Literal["filestore"] = "filestore"
    kind: Literal["export"] = "export"
    wanted: Literal["exported", "ended"]
    instance: InstanceId
    compute: BoxId
    fileset: FilesetId
    fileset_version: int
    mode: MountMode
    fence: int = Field(description="A read-write export ends and refuses every one with a lower fence.")
    public_keys: list[str] = Field(
        description="The instance's keys in OpenSSH format; two while one is renewed."
    )
    size_limit_bytes: int | None = Field(None, description="Set for a home; made empty if it is not there.")


class FilesetSource(Frozen):
    """A filestore from which the content of a fileset can be had, and the ticket that says so."""

    box: BoxId
    endpoint: Endpoint
    ticket: str = Field(description="A FilesetTicket to get this version from this box.")


class FilesetWish(_Wish):
    """Hold a fileset (fetching it where there is a source), follow a home as its copy, or remove it."""

    role: Literal["filestore"] = "filestore"
    kind: Literal["fileset"] = "fileset"
    wanted: Literal["held", "removed"]
    fileset: FilesetId
    fileset_version: int
    source: FilesetSource | None = Field(None, description="None: what is there was put there.")
    follows: bool = Field(
        False,
        description="A copy of a home that is written elsewhere: read it from the source again and again.",
    )
    size_limit_bytes: int | None = Field(None, description="Set for a home.")
    every_s: float = Field(0.0, ge=0, description="How often a home that is followed is read again.")


class OfferWish(_Wish):
    """Keep these layers for an instance that is about to fetch them, and reset their timers."""

    role: Literal["depository"] = "depository"
    kind: Literal["offer"] = "offer"
    wanted: Literal["offered", "released"]
    blobs: list[Digest]


class HoldWish(_Wish):
    """Hold an image (fetching what is missing from the sources), or drop the blobs named."""

    role: Literal["depository"] = "depository"
    kind: Literal["hold"] = "hold"
    wanted: Literal["held", "removed"]
    image: ImageSource


class LayersWish(_Wish):
    """Keep blobs whatever their timers say (kept: a pin), or drop them now (evicted).

    Every box with layers follows it, whatever its roles; it is read with the wish list and sent by no task.
    """

    role: Literal["depository"] = "depository"
    kind: Literal["layers"] = "layers"
    wanted: Literal["kept", "evicted"]
    blobs: list[Digest]


class MirrorWish(_Wish):
    """Fetch an image from a registry elsewhere."""

    role: Literal["depository"] = "depository"
    kind: Literal["mirror"] = "mirror"
    wanted: Literal["mirrored", "dropped"]
    source: str = Field(max_length=400, description="Registry, repository and tag or digest.")
    repository: str = Field(max_length=128, description="What it is called here.")
    architectures: list[str] = Field(description="Which images of an index; empty: all.")
    sealed: str | None = Field(None, description="JSON list of name and password there, sealed for this box.")
    ca: str | None = Field(
        None,
        max_length=MOST_CA,
        description="Certificates (PEM) by which the registry is trusted too; with them it is asked by TLS only.",
    )


def _kind_of_compute(value: Any) -> str:  # Any: what comes from outside, or a wish
    """A wish of a former version says no kind, and is for an instance."""
    kind = value.get("kind", "instance") if isinstance(value, dict) else getattr(value, "kind", "instance")
    return str(kind)


InstanceOrWarm = Annotated[
    Annotated[ComputeWish, Tag("instance")] | Annotated[WarmWish, Tag("warm")],
    Discriminator(_kind_of_compute),
]
FilestoreWish = Annotated[ExportWish | FilesetWish, Field(discriminator="kind")]
DepositoryWish = Annotated[OfferWish | HoldWish | LayersWish | MirrorWish, Field(discriminator="kind")]
Wish = ComputeWish | WarmWish | ExportWish | FilesetWish | OfferWish | HoldWish | LayersWish | MirrorWish
_ADAPTER: TypeAdapter[Wish] = TypeAdapter(
    Annotated[InstanceOrWarm | FilestoreWish | DepositoryWish, Field(discriminator="role")]
)


def wish_field(role: str, subject: str) -> str:
    """The field of the hash `wish:<box>`."""
    return f"{role}/{subject}"


def sign_wish(signer: Signer, box: str, wish: Wish) -> str:
    """The wish as a token that only `box` takes."""
    return signer.sign(f"{PURPOSE}:{box}", wish.model_dump_json().encode())


def read_wish(verifier: Verifier, box: str, token: str) -> Wish:
    """The wish in a token; raises Unauthorized if the master did not sign it for this box."""
    try:
        return _ADAPTER.validate_json(verifier.verify(f"{PURPOSE}:{box}", token))
    except ValidationError as error:
        raise Unauthorized(f"A signed wish has an unknown form ({error.error_count()} errors).") from error
