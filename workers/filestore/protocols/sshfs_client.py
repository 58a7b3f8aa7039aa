"""SSHFS, the compute box's side.

A server that goes away gives errors after `ALIVE_EVERY_S * (ALIVE_COUNT + 1)` seconds at the latest and never a
hang; the next access tries to connect anew, so that the mount heals by itself. The daemon has a session of
its own and outlives the worker.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path

from common import needs
from common.errors import Unavailable
from common.files import write_atomically
from common.logs import get_logger
from common.words import MountMode
from workers.filestore import programs
from workers.filestore.errors import MountError, ProgramFailed
from workers.filestore.processes import Process, running
from workers.filestore.protocols import Remote

log = get_logger(__name__)

ALIVE_EVERY_S, ALIVE_COUNT = 2, 2
CONNECT_LIMIT_S = 3
RETRY_PAUSE_S = 0.2
# The kernel's default of 128 KiB waits for the server after each; this covers 20 ms at 1.6 Gbit/s.
READ_AHEAD_KIB = 4096

_CONFIG = """\
# Written by openraas; read by every reconnection.
Host fileset
    HostName {host}
    Port {port}
    User root
    HostKeyAlias fileset
    HostKeyAlgorithms ssh-ed25519
    UserKnownHostsFile {directory}/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    UpdateHostKeys no
    PreferredAuthentications publickey
    IdentitiesOnly yes
    IdentityAgent none
{identities}    BatchMode yes
    ControlMaster no
    ControlPath none
    ForwardAgent no
    ForwardX11 no
    ClearAllForwardings yes
    Compression no
    Ciphers {ciphers}
    KexAlgorithms curve25519-sha256
    ConnectTimeout {connect}
    ConnectionAttempts 1
    ServerAliveInterval {alive_every}
    ServerAliveCountMax {alive_count}
    TCPKeepAlive yes
    LogLevel ERROR
"""

# What ssh complains of, and what it means to a person. The first three do not change by trying again.
_HOPELESS = (
    ("Permission denied", "the filestore does not let this key in"),
    ("Host key verification failed", "the server there is not the filestore that the master named"),
    ("no longer opens anything", "its export has ended"),
)
_PASSING = (
    ("Connection refused", "no filestore listens there"),
    ("timed out", "it does not answer"),
    ("No route to host", "there is no road to it"),
)


class SshClient:
    """Stateless; what belongs to one mount lies in its directory."""

    def prepare(self) -> None:
        """FUSE and the programs have to be there."""
        if not Path("/dev/fuse").exists():
            raise Unavailable(
                "This machine has no /dev/fuse, without which no fileset can be mounted.",
                remedy="Run: modprobe fuse. In a container, start it with --device /dev/fuse and --privileged.",
            )
        for need in (needs.SSHFS, needs.SSH, needs.SSH_KEYGEN, needs.MOUNT):
            needs.path_of(need)

    def configure(self, remote: Remote, directory: Path) -> None:
        """Any of the keys will do: while one is renewed the server may know the old one only."""
        identities = "".join(f"    IdentityFile {key}\n" for key in remote.keys)
        text = _CONFIG.format(
            host=remote.endpoint.host,
            port=remote.endpoint.port,
            directory=directory,
            identities=identities,
            ciphers=_ciphers(),
            connect=CONNECT_LIMIT_S,
            alive_every=ALIVE_EVERY_S,
            alive_count=ALIVE_COUNT,
        )
        write_atomically(directory / "known_hosts", f"fileset {remote.host_key}\n", mode=0o600)
        write_atomically(directory / "ssh_config", text, mode=0o600)

    def mount(self, remote: Remote, directory: Path, target: Path, *, limit_s: float) -> Process:
        """A server that is just being restarted is tried again until the limit."""
        end = time.monotonic() + limit_s
        self.configure(remote, directory)
        command = [
            needs.path_of(needs.SSHFS),
            "-F",
            str(directory / "ssh_config"),
            "fileset:/data",
            str(target),
        ]
        command += ["-o", ",".join(_options(remote))]
        while True:
            complaint = _start(command, max(0.1, end - time.monotonic()))
            if complaint is None:
                break
            complaint = _ask_ssh(directory, end - time.monotonic()) or complaint
            hopeless = any(sign in complaint for sign, _ in _HOPELESS)
            if hopeless or time.monotonic() + RETRY_PAUSE_S >= end:
                raise MountError(_explain(remote, complaint))
            time.sleep(RETRY_PAUSE_S)
        daemon = running("sshfs", str(target))
        if daemon is None:
            raise MountError(_explain(remote, "sshfs ended at once"))
        _read_ahead(target)
        return daemon


def _options(remote: Remote) -> list[str]:
    uid, gid = remote.owner
    options = [
        "reconnect",
        "allow_other",
        "nosuid",
        "nodev",
        # The fileset has one user id on the filestore; in the container its files belong to who runs there.
        "idmap=user",
        f"uid={uid}",
        f"gid={gid}",
        # Pages stay cached while a file's size and time stay; names no longer than two mounts of one home
        # may differ.
        "auto_cache",
        "dcache_timeout=2",
        "dcache_stat_timeout=2",
        "dcache_dir_timeout=2",
        "dcache_link_timeout=2",
    ]
    if remote.mode is MountMode.READ_ONLY:
        options.append("ro")
    return options + _symlinks()


@cache
def _symlinks() -> list[str]:
    """Keep symlinks as they are, absolute ones too: a home would not be one without them.

    Since CVE-2026-47187 sshfs refuses those that lead out of the mount unless told otherwise, because a server
    could have programs of this machine follow them to its own files. Nothing of this machine follows them here:
    the mounts lie in a directory of root's that the worker never reads from, and a container resolves them
    against its own root.
    """
    option = "no_contain_symlinks"
    return [option] if option in programs.run([needs.path_of(needs.SSHFS), "--help"]) else []


def _start(command: list[str], limit_s: float) -> str | None:
    """Run sshfs until it has mounted and gone to the background; returns its complaint if it has not."""
    # A file and not a pipe: the ssh below keeps standard error open for as long as the mount lives.
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return "timed out"
        output.seek(0)
        return None if code == 0 else output.read(4000).decode(errors="replace") or "sshfs failed"


def _ask_ssh(directory: Path, limit_s: float) -> str:
    """Why ssh does not get through, which sshfs keeps to itself; empty if it does."""
    try:
        programs.run(
            [needs.path_of(needs.SSH), "-F", str(directory / "ssh_config"), "fileset"],
            limit_s=max(0.5, limit_s),
        )
    except ProgramFailed as error:
        return str(error)
    return ""


def _explain(remote: Remote, complaint: str) -> str:
    where = f"{remote.endpoint.host}:{remote.endpoint.port}"
    for sign, reason in _HOPELESS + _PASSING:
        if sign in complaint:
            return f"The filestore at {where} cannot be mounted: {reason}."
    lines = complaint.strip().splitlines()
    return f"The filestore at {where} cannot be mounted: {lines[0] if lines else 'sshfs does not say why'}."


def _ciphers() -> str:
    """AES where the processor computes it, ChaCha20 on the small ones that do not (many ARM boards)."""
    names = ["aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com"]
    words = Path("/proc/cpuinfo").read_text().split()
    return ",".join(names if "aes" in words else reversed(names))


def _read_ahead(target: Path) -> None:
    device = target.stat().st_dev
    place = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
    try:
        place.write_text(str(READ_AHEAD_KIB))
    except OSError as error:  # a read-only /sys: slower over long roads, and right all the same
        log.warning("read-ahead not set", mount=str(target), error=str(error))
