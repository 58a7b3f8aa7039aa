"""What one service of an application needs, as the manifest says it and as the box gets it."""

from __future__ import annotations

import posixpath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from common.access import WEB, Access
from common.readiness import Readiness
from common.words import Frozen, Resources

ContainerPath = Annotated[str, StringConstraints(pattern=r"^/([^/\x00]+/?)*$", max_length=255)]
# What the kernel and the engine put there is not to be hidden, and nothing of it to be reached another way.
SYSTEM_PATHS = ("/proc", "/sys", "/dev")


def is_below(path: str, top: str) -> bool:
    """Whether a mount point is `top` or lies below it."""
    return path == top or path.startswith(f"{top}/")


def _mount_point(path: str) -> str:
    """The one spelling of a path; POSIX lets two slashes at its start mean something else, Linux does not."""
    if ".." in path.split("/"):
        raise ValueError("a mount point has no step ..")
    normal = "/" + posixpath.normpath(path).lstrip("/")
    if normal == "/":
        raise ValueError("a mount point is below /")
    if any(is_below(normal, top) for top in SYSTEM_PATHS):
        raise ValueError(f"a mount point is not below {', '.join(SYSTEM_PATHS)}")
    return normal


MountPoint = Annotated[
    str, StringConstraints(pattern=r"^/[^\x00]*$", max_length=255), AfterValidator(_mount_point)
]
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)]
Capability = Literal["CHOWN", "SETUID", "SETGID", "NET_BIND_SERVICE", "DAC_OVERRIDE", "FOWNER", "KILL"]


class Egress(Frozen):
    """What the container may reach besides its own deployment."""

    internet: bool = Field(True, description="Public addresses.")
    private: bool = Field(False, description="Private addresses; also needs the box owner's permission.")


class Warming(Frozen):
    """How a container is brought up to the point before it needs to know whose it is, and waits there."""

    command: list[str] | None = Field(
        None,
        description=(
            "Loads what takes long, then tells $OPENRAAS_HANDOVER/ready and waits for $OPENRAAS_HANDOVER/go; "
            "none: a shell waits, and then runs the service's own command."
        ),
    )


class ServiceSpec(Frozen):
    """One service with its options filled in: everything a compute box needs to launch it."""

    name: str
    image: str = Field(description="Repository and tag, for people; the digest travels beside it.")
    command: list[str] | None = None
    environment: dict[VariableName, str] = Field(default_factory=dict)
    user: str | None = Field(
        None, description="User (and group) in the container, as in the OCI image config."
    )
    working_dir: ContainerPath | None = None
    resources: Resources
    pids: int = Field(512, ge=1, le=65536)
    port: int | None = Field(
        None, ge=1, le=65535, description="Where the application answers; none: access job."
    )
    access: Access = WEB
    readiness: Readiness = Readiness()
    read_only_root: bool = False
    writable: list[MountPoint] = Field(default_factory=list, description="tmpfs in a read-only root.")
    capabilities: list[Capability] = Field(
        default_factory=list, description="Given back after all were dropped."
    )
    egress: Egress = Egress()
    prewarm: Warming | None = Field(None, description="None: every container of it starts from nothing.")
