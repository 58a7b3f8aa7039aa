"""File protocols: how a fileset travels from a filestore to a compute box.

One protocol is one module with a server side and a client side behind the two interfaces below, and one line
in the table. Every protocol passes the conformance test (`tests/integration/workers/filestore/test_protocols.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from common.words import Endpoint, MountMode
from workers.box.config import BoxConfig, BoxPaths
from workers.filestore.errors import Refused
from workers.filestore.processes import Process

DEFAULT = "sshfs"
_TABLE = {
    "sshfs": (
        "workers.filestore.protocols.sshfs:SshServer",
        "workers.filestore.protocols.sshfs_client:SshClient",
    ),
}

# An ed25519 key is 51 bytes (RFC 8709, section 4); anything else could smuggle options into a server's file.
PUBLIC_KEY = re.compile(r"ssh-ed25519 [A-Za-z0-9+/]{68}")


@dataclass(frozen=True)
class Grant:
    """Leave to use one tree of files. A name is used once and never again, so that what ended stays ended."""

    name: str
    tree: Path
    uid: int
    mode: MountMode


@dataclass(frozen=True)
class Admission:
    """A key that opens a grant until `expires_at` (Unix time; none: until it is taken away)."""

    grant: str
    public_key: str
    expires_at: float | None


class FileServer(Protocol):
    """The side of the filestore. Other programs of the box may use the same files at the same time."""

    def prepare(self) -> None:
        """Make what the server needs; raises OpenRaaSError if it cannot work on this machine."""

    def command(self) -> list[str]:
        """The program that serves, in the foreground; somebody else keeps it running."""

    def keep(self) -> None:
        """Called every few seconds: put back what others on this machine may have taken away."""

    def host_key(self) -> str:
        """The server's public key, by which clients know it."""

    def open(self, grant: Grant) -> None:
        """Make a grant usable by the keys that will be admitted to it."""

    def admit(self, admissions: Iterable[Admission]) -> None:
        """Let these keys in, and no others; not to be called twice at once.

        Sessions that run go on, whatever key they came with.
        """

    def close(self, grant: str) -> None:
        """End a grant for good. When this returns no session of it lives and none can begin.

        Raises StillThere if a session could not be ended in time.
        """


@dataclass(frozen=True)
class Remote:
    """What a client needs to know to mount a fileset. `keys` are private keys, the newest first."""

    endpoint: Endpoint
    host_key: str
    mode: MountMode
    keys: Sequence[Path]
    owner: tuple[int, int] = (0, 0)


class FileClient(Protocol):
    """The side of the compute box."""

    def prepare(self) -> None:
        """Raises OpenRaaSError if it cannot work on this machine."""

    def configure(self, remote: Remote, directory: Path) -> None:
        """Write what `mount` and every later reconnection read to `directory`."""

    def mount(self, remote: Remote, directory: Path, target: Path, *, limit_s: float) -> Process:
        """Mount at `target` and return the process behind it, which outlives this one.

        Returns when files can be read; raises MountError within `limit_s`.
        """


def server(name: str, config: BoxConfig, paths: BoxPaths) -> FileServer:
    """The server side of a protocol in the table."""
    made: FileServer = _load(_TABLE[name][0])(config, paths)
    return made


def client(name: str) -> FileClient:
    """The client side of a protocol in the table; raises KeyError for an unknown one."""
    made: FileClient = _load(_TABLE[name][1])()
    return made


def check_keys(public_keys: Iterable[str]) -> None:
    """Raises Refused for the first that is not an ed25519 key in OpenSSH's format without a comment."""
    for public_key in public_keys:
        if not PUBLIC_KEY.fullmatch(public_key):
            raise Refused(f"{public_key[:40]!r} is not an ed25519 key in OpenSSH's format.")


def names() -> list[str]:
    """All protocols."""
    return list(_TABLE)


def _load(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
