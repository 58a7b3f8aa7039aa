"""What a role on a box is: the interface behind which compute, filestore and depository stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from common.signing import SealKey, Verifier
from common.status import EngineFacts, FilesetHolding
from common.wishes import Wish
from common.words import Resources, Role
from workers.box.config import BoxConfig, BoxPaths
from workers.box.jobs import Jobs
from workers.box.table import Table
from workers.depository.eviction import Unpacked

if TYPE_CHECKING:  # the front shares modules with roles, and is to stay small
    import redis

    from workers.box.reporter import Reporter
    from workers.box.wishes import WishList


class EngineImages(Protocol):
    """The images that lie unpacked in the engine of this box."""

    def measure(self, keepers: dict[str, str]) -> list[Unpacked]:
        """All of them, with who needs each; `keepers` are the manifests' digests with their reasons."""

    def remove(self, name: str) -> None:
        """Remove one; the engine keeps what a container uses. Raises an OpenRaaSError."""


@dataclass
class Found:
    """What one role found on the box and all of its roles use."""

    engine_images: EngineImages | None = None  # so that every role drops images before blobs


@dataclass(frozen=True)
class BoxContext:
    """What every role gets."""

    config: BoxConfig
    paths: BoxPaths
    table: Table
    redis: redis.Redis
    wishes: WishList
    reporter: Reporter
    jobs: Jobs
    verifier: Verifier
    seal_key: SealKey
    found: Found = field(default_factory=Found)


@dataclass(frozen=True)
class RoleFacts:
    """What a role adds to the box's status."""

    used: Resources = field(default_factory=Resources)
    instances: int = 0
    blobs_bytes: int = 0
    engine_bytes: int = 0
    filesets_bytes: int = 0
    filesets: tuple[FilesetHolding, ...] = ()
    alert: str = ""  # why the box should take nothing new
    engine: EngineFacts | None = None
    prewarmed: Mapping[str, int] = field(default_factory=dict)  # how many wait, by the subject of their wish


class RoleWorker(Protocol):
    """One role. Methods are called from several threads, but never twice at once for one subject."""

    role: Role

    def start(self) -> None:
        """Adopt what a former worker left running. Raises OpenRaaSError if the role cannot work here."""

    def converge(self, wish: Wish) -> None:
        """Make facts follow the wish and report them; quick, long steps go to `jobs` and wake it again."""

    def forget(self, subject: str) -> None:
        """The master no longer lists this subject: undo everything of it, whatever its generation."""

    def facts(self) -> RoleFacts:
        """For the status record; answers within milliseconds from what is known already."""

    def tidy(self) -> None:
        """Called every few seconds: renew keys, expire layers, undo what no wish names."""
