"""The programs of a box, as supervisord keeps them running."""

from __future__ import annotations

from importlib import import_module

from common import needs
from common.supervision import Program, Supervisor, openraas
from common.words import Role
from workers.box.config import BoxConfig, BoxPaths

# How long a worker may use to end the steps under way. Containers and mounts go on without it.
WORKER_STOP_S = 15
# glibc gives every thread an arena of its own, which a small box pays for in megabytes.
_LEAN = {"MALLOC_ARENA_MAX": "2"}


def required(config: BoxConfig) -> list[needs.Need]:
    """What must be installed for the roles of this box. Only a compute box needs a container engine."""
    wanted = [needs.SETPRIV, needs.NGINX]
    if Role.FILESTORE in config.roles:
        wanted += [needs.SSHD, needs.BUBBLEWRAP]
    if Role.COMPUTE in config.roles:
        wanted += [needs.SSHFS, needs.IPTABLES, needs.IP]
    return wanted


def ports(config: BoxConfig) -> list[needs.Port]:
    """Where the servers of this box will listen."""
    wanted = [
        needs.Port(config.address, config.front_port, "front_port", "the gateway of this box"),
        needs.Port("127.0.0.1", config.loopback_port, "loopback_port", "the container engine's pulls"),
    ]
    if Role.FILESTORE in config.roles:
        wanted.append(needs.Port(config.address, config.filestore_port, "filestore_port", "the filestore"))
    if config.metrics_port:
        wanted.append(needs.Port("127.0.0.1", config.metrics_port, "metrics_port", "the worker's metrics"))
    return wanted


def programs(config: BoxConfig) -> list[Program]:
    """Worker, front, nginx and (on a filestore) sshd; writes the configuration of the servers."""
    paths = BoxPaths(config.state_dir)
    state = ("--state-dir", str(config.state_dir))
    nginx = import_module("workers.gateway.nginx").server_command(config, paths)
    wanted = [
        Program("front", openraas("box", "front", *state), _LEAN, priority=10),
        Program("nginx", tuple(nginx), priority=20, stop_signal="QUIT", stop_wait_s=5),
        Program("worker", openraas("box", "worker", *state), _LEAN, priority=30, stop_wait_s=WORKER_STOP_S),
    ]
    if Role.FILESTORE in config.roles:
        sshd = import_module("workers.filestore.protocols.sshfs").server_command(config, paths)
        wanted.append(Program("sshd", tuple(sshd), priority=20))
    return wanted


def supervisor(config: BoxConfig) -> Supervisor:
    """The supervisord of this box."""
    paths = BoxPaths(config.state_dir)
    return Supervisor(paths.run, paths.logs)
