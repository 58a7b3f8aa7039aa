"""The filestore role: makes exports and held filesets follow the wishes."""

from __future__ import annotations

import fcntl
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from common import needs
from common.logs import get_logger
from common.reports import Ended, Exported, Failed, FilesetHeld, StepDone
from common.status import FilesetHolding
from common.wishes import ExportWish, FilesetWish, Wish
from common.words import Endpoint, MountMode, Role
from workers.box.lent_space import FILESETS, LentSpace
from workers.box.role import BoxContext, RoleFacts
from workers.filestore import protocols
from workers.filestore.browsing.sessions import end as end_session
from workers.filestore.copies import Copies
from workers.filestore.errors import MissingFileset, NotPossibleHere, Refused
from workers.filestore.exports import Exports, fileset_of
from workers.filestore.volumes import Version, Volumes

log = get_logger(__name__)

# Subjects of wishes to hold a fileset; all others are `<instance>.<fileset>`.
FILESET_PREFIX = "fileset."
# A version that a newer one has followed stays for placements that were made just before.
SUPERSEDED_S = 900.0
# Between a put's directory and its lock lies a moment.
PUT_GRACE_S = 60.0


class Filestore:
    """Serves filesets to the keys of instances."""

    role = Role.FILESTORE

    def __init__(self, context: BoxContext) -> None:
        self._context = context
        self._volumes = Volumes(context.paths, context.table)
        self._server = protocols.server(protocols.DEFAULT, context.config, context.paths)
        self._exports = Exports(context.table, self._server)
        self._copies = Copies(context, self._volumes)
        self._host_key = ""
        self._locks: defaultdict[str, Lock] = defaultdict(Lock)
        self._space = LentSpace(context.config, context.table)
        self._facts = RoleFacts()

    def start(self) -> None:
        """Take over what a former worker exported. Raises OpenRaaSError if files cannot be served here."""
        if not Path("/dev/loop-control").exists():
            raise NotPossibleHere(
                "This machine has no loop devices, on which homes with a size limit lie.",
                remedy="Run: modprobe loop. In a container, start it with --privileged and /dev of the host.",
            )
        for need in (needs.MKFS, needs.RESIZE, needs.MOUNT, needs.FLOCK):
            needs.path_of(need)
        self._server.prepare()
        self._host_key = self._server.host_key()
        self._copies.recover()
        self._reopen_homes()
        self._exports.restore()
        self._refresh_facts()

    def converge(self, wish: Wish) -> None:
        """Raises StillThere, to be tried again, if a session or a reader does not end."""
        if isinstance(wish, ExportWish):
            with self._locked(wish.fileset):
                if wish.wanted == "exported":
                    self._export(wish)
                else:
                    self._end(wish)
        elif isinstance(wish, FilesetWish):
            with self._locked(wish.fileset):
                self._hold(wish) if wish.wanted == "held" else self._remove(wish)

    def forget(self, subject: str) -> None:
        """An export ends. Content stays: that a list lacks it is not enough to throw a person's files away."""
        if subject.startswith(FILESET_PREFIX):
            return
        fileset = fileset_of(subject)
        with self._locked(fileset):
            self._exports.end(subject)
            self._close_home(fileset)

    def facts(self) -> RoleFacts:
        """As of the last tidying."""
        return self._facts

    def tidy(self) -> None:
        """Tell what was put, remove what is left over, and close homes that nobody uses."""
        self._server.keep()
        for version in self._volumes.versions(untold=True):
            self._tell(version, 0)
            self._volumes.told(version)
        self._volumes.sweep(_is_being_put)
        self._remove_superseded()
        for fileset in self._volumes.open_homes():
            with self._locked(fileset):
                self._close_home(fileset)
        self._refresh_facts()

    def _export(self, wish: ExportWish) -> None:
        began = time.monotonic()
        try:
            if wish.mode is MountMode.READ_WRITE and wish.size_limit_bytes is None:
                raise Refused("Only a home can be mounted read-write.")
            self._exports.fence(wish)
            tree = self._tree(wish)
            fresh = self._exports.let_in(wish, tree, self._volumes.uid(wish.fileset))
        except (MissingFileset, Refused) as error:
            reason = "no-mount" if isinstance(error, MissingFileset) else "refused"
            self._send(
                Failed(subject=wish.subject, generation=wish.generation, reason=reason, message=str(error))
            )
            return
        config = self._context.config
        if fresh:
            self._send(
                StepDone(
                    subject=wish.subject,
                    generation=wish.generation,
                    step="export",
                    took_s=time.monotonic() - began,
                    detail=wish.fileset,
                )
            )
        self._send(
            Exported(
                subject=wish.subject,
                generation=wish.generation,
                fileset=wish.fileset,
                endpoint=Endpoint(host=config.address, port=config.filestore_port),
                host_key=self._host_key,
                public_keys=wish.public_keys,
            )
        )

    def _tree(self, wish: ExportWish) -> Path:
        if wish.size_limit_bytes is not None or self._volumes.is_home(wish.fileset):
            return self._volumes.open_home(wish.fileset, wish.size_limit_bytes or 0)
        return self._volumes.tree(wish.fileset, wish.fileset_version)

    def _end(self, wish: ExportWish) -> None:
        self._exports.end(wish.subject)
        self._close_home(wish.fileset)
        self._send(Ended(subject=wish.subject, generation=wish.generation))

    def _close_home(self, fileset: str) -> None:
        """Unmount a home that nobody is let into; one that is being read is left to `tidy`."""
        if self._volumes.is_home(fileset) and not self._exports.in_use(fileset):
            self._volumes.close_home(fileset)

    def _hold(self, wish: FilesetWish) -> None:
        self._copies.converge(wish)
        for version in self._volumes.versions():
            if (version.fileset, version.version) == (wish.fileset, wish.fileset_version):
                self._tell(version, wish.generation)

    def _remove(self, wish: FilesetWish) -> None:
        self._exports.end_all(wish.fileset)
        end_session(self._context.paths.run, wish.fileset)
        self._volumes.remove_all(wish.fileset)
        self._copies.forget(wish.fileset)
        self._send(Ended(subject=wish.subject, generation=wish.generation))

    def _tell(self, version: Version, generation: int) -> None:
        self._send(
            FilesetHeld(
                subject=FILESET_PREFIX + version.fileset,
                generation=generation,
                fileset=version.fileset,
                fileset_version=version.version,
                size_bytes=version.size_bytes,
                files=version.files,
            )
        )

    def _remove_superseded(self) -> None:
        newest: dict[str, Version] = {}
        for version in self._volumes.versions():
            newest[version.fileset] = version
        for version in self._volumes.versions():
            latest = newest[version.fileset]
            if latest.version == version.version or time.time() - latest.at < SUPERSEDED_S:
                continue
            with self._locked(version.fileset):
                if not self._exports.in_use(version.fileset, version.version):
                    self._volumes.remove(version.fileset, version.version)

    def _reopen_homes(self) -> None:
        """After a restart of the machine homes that are exported have to be mounted again."""
        for fileset in self._exports.filesets():
            if self._volumes.is_home(fileset):
                self._volumes.open_home(fileset, 0)

    def _refresh_facts(self) -> None:
        holdings = tuple(
            FilesetHolding(fileset=item.fileset, version=item.version) for item in self._volumes.versions()
        )
        used = self._space.measure(FILESETS, self._volumes.used_bytes)
        self._facts = RoleFacts(filesets_bytes=used, filesets=holdings)

    def _send(self, report: StepDone | Exported | Ended | Failed | FilesetHeld) -> None:
        self._context.reporter.send(report)

    @contextmanager
    def _locked(self, fileset: str) -> Iterator[None]:
        with self._locks[fileset]:
            yield


def _is_being_put(path: Path) -> bool:
    """Whether some process holds the lock under which content is put."""
    try:
        if time.time() - path.stat().st_mtime < PUT_GRACE_S:
            return True
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
