"""What a container engine is to this project: the few things that every engine can do.

An engine is one module in `workers/compute/engines/`; all of them pass one conformance test.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from common.status import EngineFacts


@dataclass(frozen=True)
class Bind:
    """A directory of the box in a container; mounts that come and go below one that is `live` are seen inside."""

    source: str
    target: str
    read_only: bool
    live: bool = True


@dataclass(frozen=True)
class ContainerSpec:
    """A container with all its limits. `environment` may hold secrets, so it is never shown."""

    name: str
    image: str
    hostname: str
    labels: Mapping[str, str]
    network: str
    address: str
    aliases: tuple[str, ...]
    cpu: float
    memory_bytes: int
    pids: int
    disk_bytes: int = 0
    gpu: int = 0
    command: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    user: str | None = None
    working_dir: str | None = None
    binds: tuple[Bind, ...] = ()
    read_only_root: bool = False
    writable: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    terminal: bool = False


@dataclass(frozen=True)
class ContainerFacts:
    """A container as the engine knows it now."""

    id: str
    labels: Mapping[str, str]
    running: bool
    exit_code: int | None = None
    out_of_memory: bool = False
    ended_at: float | None = None


@dataclass(frozen=True)
class NetworkSpec:
    """A bridge for one deployment."""

    name: str
    bridge: str
    subnet: str
    gateway: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class ImageLayer:
    """A layer as it lies unpacked in the engine; equal layers of two images have equal keys."""

    key: str
    size_bytes: int


@dataclass(frozen=True)
class StoredImage:
    """An image in the engine: its names (`<registry>/<repository>@<digest>`) and what it is made of."""

    id: str
    names: tuple[str, ...]
    layers: tuple[ImageLayer, ...]


class Pull(Protocol):
    """An image on its way into the engine."""

    def wait(self) -> None:
        """Until it is there. Raises PullFailed, BadImage or PullCancelled."""

    def cancel(self) -> None:
        """End it, from any thread; returns at once."""

    def unpacked(self, digests: Iterable[str]) -> list[str]:
        """Those of an image's layers that the engine had to unpack; all, where it does not tell."""


class Engine(Protocol):
    """A container engine. Every method raises EngineError, may be called from any thread and is bounded."""

    name: str
    # Whether containers ask a name server on their bridge's own address.
    gateway_resolves_names: bool

    def facts(self) -> EngineFacts:
        """Which engine it is and what it can; asked once."""

    def has_image(self, reference: str) -> bool:
        """Whether an image is there; `reference` is `<registry>/<repository>@<digest>`."""

    def pull(self, reference: str) -> Pull:
        """Begin to fetch an image."""

    def images(self, registry: str) -> list[StoredImage]:
        """The images that came from `registry` (host and port), each with its names there."""

    def remove_image(self, name: str) -> bool:
        """Take a name from an image; it goes with its last one. False: a container uses it, so it stays."""

    def create(self, spec: ContainerSpec) -> str:
        """Make a container and return its id; one of the same name that is left over is replaced.

        Raises ImageMissing, BadImage.
        """

    def start(self, container: str) -> None:
        """Raises BadImage if the image has no such user, or is for another processor."""

    def stop(self, container: str, *, grace_s: float) -> None:
        """Ask the container to end, and end it after `grace_s`; one that is not there is no error."""

    def cpu_s(self, container: str) -> float:
        """Processor time that it has used so far."""

    def pause(self, container: str) -> None:
        """Freeze everything in the container; it keeps its memory and uses no processor."""

    def wake(self, container: str) -> None:
        """Let it go on; one that is not paused is no error."""

    def remove(self, container: str) -> None:
        """Remove the container, whatever it does, with its anonymous volumes; absent is no error."""

    def inspect(self, container: str) -> ContainerFacts | None:
        """The container of this id or name, if there is one."""

    def containers(self, labels: Mapping[str, str]) -> list[ContainerFacts]:
        """All containers that carry these labels, running or not; without exit codes."""

    def exits(self, labels: Mapping[str, str]) -> Iterator[str]:
        """Ids of containers with these labels, as they end; ends itself when the engine goes away."""

    def logs(self, container: str, *, lines: int) -> bytes:
        """The last lines of both outputs; nothing for a container that is not there."""

    def writable_bytes(self, container: str) -> int:
        """What the container has written into its own layer; takes as long as counting it takes."""

    def limits_disk(self) -> bool:
        """Whether the engine enforces `disk_bytes` itself."""

    def create_network(self, spec: NetworkSpec) -> str:
        """Make a bridge and return its id. Raises NetworkTaken if the addresses are in use."""

    def remove_network(self, network: str) -> None:
        """Remove a network; absent is no error."""

    def networks(self, labels: Mapping[str, str]) -> dict[str, str]:
        """Id by name of all networks that carry these labels."""
