"""What must be on a machine before a part can work there, and what to install if it is not."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from common.errors import Unavailable

# Servers live in sbin, which an ordinary user's PATH does not name.
_SEARCH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))


@dataclass(frozen=True)
class Need:
    """A program, the Debian package that brings it, and what it is for."""

    command: str
    package: str
    purpose: str


REDIS = Need("redis-server", "redis-server", "queues and status")
NGINX = Need("nginx", "nginx-light", "the gateway of a box")
SSHD = Need("sshd", "openssh-server", "serving files to other boxes")
SSHFS = Need("sshfs", "sshfs", "mounting files from filestores")
BUBBLEWRAP = Need("bwrap", "bubblewrap", "keeping a file session inside its fileset")
DOCKERD = Need("dockerd", "docker.io", "running containers")
SETPRIV = Need("setpriv", "util-linux", "ending programs together with their supervisor, and dropping rights")
IPTABLES = Need("iptables", "iptables", "keeping containers away from private addresses")
IP = Need("ip", "iproute2", "networks of deployments")
# Programs that nearly every Debian has; named so that their absence gives a message and not a traceback.
FLOCK = Need("flock", "util-linux", "knowing when a file session has ended")
MOUNT = Need("mount", "mount", "mounting homes")
MKFS = Need("mkfs.ext4", "e2fsprogs", "making homes")
FSCK = Need("e2fsck", "e2fsprogs", "checking homes before they are made larger")
RESIZE = Need("resize2fs", "e2fsprogs", "making homes larger")
SSH_KEYGEN = Need("ssh-keygen", "openssh-client", "making keys")
SSH = Need("ssh", "openssh-client", "reaching filestores")


def find(need: Need) -> str | None:
    """The program's path, if it is installed."""
    return shutil.which(need.command, path=_SEARCH)


def path_of(need: Need) -> str:
    """The program's path; raises Unavailable that says what to install."""
    path = find(need)
    if path is None:
        require([need])
    return str(path)


def require(needs: Iterable[Need]) -> None:
    """Raise Unavailable that names every program that is missing and the command that installs them."""
    missing = [need for need in needs if find(need) is None]
    if not missing:
        return
    names = ", ".join(f"{need.command} (for {need.purpose})" for need in missing)
    packages = " ".join(sorted({need.package for need in missing}))
    raise Unavailable(
        f"This machine has no {names}.",
        remedy=f"Run as root: apt-get install --no-install-recommends {packages}",
    )


@dataclass(frozen=True)
class Port:
    """An address that a program is about to listen on, and the setting that chooses it."""

    host: str
    port: int
    setting: str
    purpose: str


def require_free(ports: Iterable[Port]) -> None:
    """Raise Unavailable for the first port that somebody else has."""
    for wanted in ports:
        if not is_free(wanted.host, wanted.port):
            raise Unavailable(
                f"Port {wanted.port} on {wanted.host}, which {wanted.purpose} needs, is in use.",
                field=wanted.setting,
                remedy=f"See who has it with: ss -ltnp 'sport = :{wanted.port}'. "
                f"End that program, or choose another port with {wanted.setting}.",
            )


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now; raises Unavailable for an address of another machine."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise Unavailable(
                f"Nothing can listen on {host}:{port}: {error.strerror}.",
                remedy="Give an address of this machine, and as a normal user a port above 1023.",
            ) from error
    return True
