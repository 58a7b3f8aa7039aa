"""Filesets mounted on this box for its instances.

A home is mounted for each instance with a key of its own; a read-only version once for all instances that get it
from the same filestore. A mount lives as long as somebody uses it, outlives the worker, and is laid over anew when
its daemon has died.
"""

from __future__ import annotations

import signal
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from common.logs import get_logger
from common.reports import KeyMade
from common.wishes import ComputeWish, MountWish
from common.words import Endpoint, MountMode
from workers.box.jobs import Lane
from workers.box.role import BoxContext
from workers.compute import mount_points
from workers.compute.mount_keys import KeyDirectory
from workers.filestore import protocols
from workers.filestore.errors import MountError, ProgramFailed
from workers.filestore.processes import Process, kill
from workers.filestore.protocols import Remote

log = get_logger(__name__)

# A key that the filestore does not know yet is told again after this: reports may be lost.
TELL_AGAIN_S = 30.0
# A daemon ends with its mount, in milliseconds, unless a mount namespace that was made meanwhile has a copy.
END_LIMIT_S = 0.5
END_POLL_S = 0.01

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS mounts (
        name TEXT PRIMARY KEY, protocol TEXT NOT NULL, mode TEXT NOT NULL, endpoint TEXT NOT NULL,
        host_key TEXT NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL,
        pid INTEGER NOT NULL, started INTEGER NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS mount_users (
        name TEXT NOT NULL, instance TEXT NOT NULL, generation INTEGER NOT NULL,
        told TEXT NOT NULL DEFAULT '', told_at REAL NOT NULL DEFAULT 0,
        PRIMARY KEY (name, instance, generation))""",
)


@dataclass(frozen=True)
class _Mounted:
    """A row of the table: what is mounted, from where, and the process behind it."""

    name: str
    protocol: str
    mode: MountMode
    endpoint: Endpoint
    host_key: str
    owner: tuple[int, int]
    daemon: Process


class Mounts:
    """Mounts by name. Methods may be called from several threads."""

    def __init__(self, context: BoxContext) -> None:
        self._context = context
        self._table = context.table
        self._root = context.paths.mounts
        self._locks: defaultdict[str, Lock] = defaultdict(Lock)
        self._parent = Lock()
        self._table.create(*_SCHEMA)

    def key(self, wish: ComputeWish, mount: MountWish) -> str:
        """The public key with which the instance will come; made on first use."""
        name = _name(wish, mount)
        with self._locks[name]:
            self._table.write(
                "INSERT OR IGNORE INTO mount_users (name, instance, generation) VALUES (?, ?, ?)",
                (name, wish.instance, wish.generation),
            )
            public_key = self._keys(name).newest()
            self._told(wish, name, public_key)
        return public_key

    def mount(self, wish: ComputeWish, mount: MountWish) -> Path:
        """Mount what the filestore has exported and return the directory to bind (rslave) into the container.

        Blocks for `mount_timeout_s` at most; raises MountError.
        """
        if mount.endpoint is None or mount.host_key is None:
            raise MountError(f"The fileset {mount.fileset} is not exported yet.")
        name = _name(wish, mount)
        owner = _owner(wish) if mount.mode is MountMode.READ_WRITE else (0, 0)
        wanted = _Mounted(
            name, mount.protocol, mount.mode, mount.endpoint, mount.host_key, owner, Process(0, 0)
        )
        point = self._root / name
        with self._locks[name]:
            found = self._find(name)
            if found is not None and found.daemon.lives and mount_points.layers(point):
                if found.endpoint == wanted.endpoint:
                    return point
                self._unmount(found)
            self._attach(wanted, point)
        return point

    def release(self, instance: str, generation: int) -> None:
        """Undo every mount and key of an instance; a shared mount goes with its last user."""
        rows = self._table.all(
            "SELECT name FROM mount_users WHERE instance = ? AND generation <= ?", (instance, generation)
        )
        for row in rows:
            with self._locks[row["name"]]:
                self._table.write(
                    "DELETE FROM mount_users WHERE name = ? AND instance = ? AND generation <= ?",
                    (row["name"], instance, generation),
                )
                self._drop_unused(row["name"])

    def renew(self, wish: ComputeWish) -> list[KeyMade]:
        """Look after the mounts of a running instance: to be called every few seconds.

        Returns the keys that filestores have to learn: renewed in time, and told until they are let in. A mount
        whose daemon has died is made anew, and the container sees it come back.
        """
        told = []
        for mount in wish.mounts:
            name = _name(wish, mount)
            self._look_after(name)
            with self._locks[name]:
                public_key = self._renewed(wish, mount, name)
            if public_key is not None:
                told.append(
                    KeyMade(
                        subject=wish.instance,
                        generation=wish.generation,
                        fileset=mount.fileset,
                        public_key=public_key,
                    )
                )
        return told

    def adopt(self) -> None:
        """Keep what a former worker mounted. Raises OpenRaaSError if nothing can be mounted here."""
        for protocol in protocols.names():
            protocols.client(protocol).prepare()
        known = {row["name"] for row in self._table.all("SELECT name FROM mounts")}
        for point in set(mount_points.mounted(self._root)) - {self._root}:
            if point.name not in known:
                mount_points.detach(point)
                point.rmdir()
        for name in known:
            self._look_after(name)

    def _look_after(self, name: str) -> None:
        """Lay a mount whose daemon has died over anew, in a lane where it may take its time."""
        found = self._find(name)
        if found is not None and not found.daemon.lives:
            self._context.jobs.submit(Lane.PROBE, ("mount", name), lambda: self._heal(name))

    def _heal(self, name: str) -> None:
        with self._locks[name]:
            found = self._find(name)
            if found is None or found.daemon.lives:
                return
            try:
                self._attach(found, self._root / name)
            except MountError as error:
                log.warning("mount not healed", mount=name, error=str(error))
            else:
                log.info("mount healed", mount=name)

    def _attach(self, wanted: _Mounted, point: Path) -> None:
        client = protocols.client(wanted.protocol)
        remote, keys = self._remote(wanted), self._keys(wanted.name)
        limit_s = self._context.config.mount_timeout_s
        try:
            with self._parent:
                mount_points.share(self._root)
                if not mount_points.layers(point):  # what is dead cannot even be looked at
                    point.mkdir(exist_ok=True)
                self._save(wanted)
            if not mount_points.layers(point):
                daemon = client.mount(remote, keys.path, point, limit_s=limit_s)
            else:
                staging = self._root / f"{wanted.name}.{time.monotonic_ns()}"
                staging.mkdir()
                try:
                    daemon = client.mount(remote, keys.path, staging, limit_s=limit_s)
                    mount_points.cover(staging, point)
                finally:
                    mount_points.detach(staging)
                    staging.rmdir()
        except ProgramFailed as error:
            raise MountError(f"The fileset cannot be mounted: {error}") from error
        self._table.write(
            "UPDATE mounts SET pid = ?, started = ? WHERE name = ?", (daemon.pid, daemon.started, wanted.name)
        )

    def _drop_unused(self, name: str) -> None:
        if self._table.one("SELECT 1 FROM mount_users WHERE name = ?", (name,)) is not None:
            return
        found = self._find(name)
        if found is not None:
            self._unmount(found)
        self._keys(name).remove()

    def _unmount(self, found: _Mounted) -> None:
        """Take the mount away and end its daemon: the container is gone, and what was written went through."""
        point = self._root / found.name
        mount_points.detach(point)
        if not _ended(found.daemon, END_LIMIT_S):
            kill(found.daemon, signal.SIGKILL)
        with self._parent:
            if point.exists():
                point.rmdir()
            self._table.write("DELETE FROM mounts WHERE name = ?", (found.name,))
            if self._table.one("SELECT 1 FROM mounts") is None:
                mount_points.detach(self._root)

    def _renewed(self, wish: ComputeWish, mount: MountWish, name: str) -> str | None:
        """The public key that the filestore of a mount has to learn now, if any."""
        user = self._table.one(
            "SELECT told, told_at FROM mount_users WHERE name = ? AND instance = ? AND generation = ?",
            (name, wish.instance, wish.generation),
        )
        if user is None:
            return None
        keys = self._keys(name)
        newest = keys.newest()
        known = newest in mount.public_keys
        if known and keys.age_s() >= self._context.config.key_renewal_s:
            newest, known = keys.add(), False
            self._reconfigure(name)
        if known or (user["told"] == newest and time.time() - user["told_at"] < TELL_AGAIN_S):
            return None
        self._told(wish, name, newest)
        return newest

    def _reconfigure(self, name: str) -> None:
        """Let the next reconnection use the keys as they are now; the running one needs none."""
        found = self._find(name)
        if found is not None:
            protocols.client(found.protocol).configure(self._remote(found), self._keys(name).path)

    def _remote(self, mounted: _Mounted) -> Remote:
        return Remote(
            mounted.endpoint,
            mounted.host_key,
            mounted.mode,
            self._keys(mounted.name).private(),
            mounted.owner,
        )

    def _keys(self, name: str) -> KeyDirectory:
        return KeyDirectory(self._context.paths.keys / name)

    def _told(self, wish: ComputeWish, name: str, public_key: str) -> None:
        self._table.write(
            "UPDATE mount_users SET told = ?, told_at = ? WHERE name = ? AND instance = ? AND generation = ?",
            (public_key, time.time(), name, wish.instance, wish.generation),
        )

    def _find(self, name: str) -> _Mounted | None:
        row = self._table.one("SELECT * FROM mounts WHERE name = ?", (name,))
        if row is None:
            return None
        return _Mounted(
            name,
            row["protocol"],
            MountMode(row["mode"]),
            Endpoint.model_validate_json(row["endpoint"]),
            row["host_key"],
            (row["uid"], row["gid"]),
            Process(row["pid"], row["started"]),
        )

    def _save(self, mounted: _Mounted) -> None:
        self._table.write(
            "INSERT OR REPLACE INTO mounts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                mounted.name,
                mounted.protocol,
                mounted.mode.value,
                mounted.endpoint.model_dump_json(),
                mounted.host_key,
                *mounted.owner,
                mounted.daemon.pid,
                mounted.daemon.started,
            ),
        )


def _name(wish: ComputeWish, mount: MountWish) -> str:
    """Who shares a name shares a mount and its key."""
    if mount.mode is MountMode.READ_ONLY:
        return f"{mount.fileset}.{mount.version}.{mount.filestore}.ro"
    return f"{wish.instance}.{wish.generation}.{mount.fileset}.rw"


def _owner(wish: ComputeWish) -> tuple[int, int]:
    """Whose a home's files are in the container: its user, where the manifest gives a number, else root."""
    user, _, group = (wish.service.user or "0").partition(":")
    if not user.isdecimal():
        return (0, 0)
    return (int(user), int(group) if group.isdecimal() else int(user))


def _ended(process: Process, limit_s: float) -> bool:
    end = time.monotonic() + limit_s
    while process.lives:
        if time.monotonic() > end:
            return False
        time.sleep(END_POLL_S)
    return True
