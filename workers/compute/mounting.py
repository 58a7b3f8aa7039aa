"""Mounts of instances that are being prepared, all at once and in threads of their own.

A filestore that does not answer holds a thread for as long as one mount attempt may take; in the lane of
short steps it would hold up exports and stops of others.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import OpenRaaSError
from common.logs import bind, get_logger
from common.wishes import ComputeWish, MountWish
from workers.compute.instances import InstanceRow
from workers.compute.tools import Tools

log = get_logger(__name__)

AT_ONCE = 16
_Start = tuple[str, int]
_Place = tuple[str, str]


@dataclass
class _Progress:
    since: float
    begun: set[_Place] = field(default_factory=set)
    busy: int = 0
    paths: dict[_Place, Path] = field(default_factory=dict)
    told: bool = False


class Mounting:
    """Progress of the mounts of each start; forgotten when the worker restarts, then they are asked again."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="mount")
        self._lock = threading.Lock()
        self._progress: dict[_Start, _Progress] = {}

    def begin(self, wish: ComputeWish, row: InstanceRow) -> None:
        """Start every mount whose filestore is ready for it; the instance is woken as each is done."""
        with self._lock:
            progress = self._progress.setdefault(_start(row), _Progress(time.monotonic()))
            fresh = [
                mount
                for mount in wish.mounts
                if mount.endpoint is not None and _place(mount) not in progress.begun
            ]
            progress.begun.update(map(_place, fresh))
            progress.busy += len(fresh)
        for mount in fresh:
            self._pool.submit(self._mount, wish, row, mount, progress)

    def done(self, wish: ComputeWish, row: InstanceRow) -> list[tuple[MountWish, Path]] | None:
        """Every mount with its path on the box, or none while one is missing."""
        with self._lock:
            progress = self._progress[_start(row)]
            if any(_place(mount) not in progress.paths for mount in wish.mounts):
                return None
            first, progress.told = not progress.told, True
            found = [(mount, progress.paths[_place(mount)]) for mount in wish.mounts]
        if first and found:
            self._tools.step(row, "mount", progress.since)
        return found

    def release(self, row: InstanceRow) -> bool:
        """Unmount; False while a mount is still under way, which then wakes the instance again."""
        with self._lock:
            progress = self._progress.get(_start(row))
            if progress is not None and progress.busy:
                return False
            self._progress.pop(_start(row), None)
        self._tools.mounter.release(row.instance, row.generation)
        return True

    def _mount(self, wish: ComputeWish, row: InstanceRow, mount: MountWish, progress: _Progress) -> None:
        path = None
        with bind(instance=row.instance, generation=row.generation, fileset=mount.fileset):
            try:
                path = self._tools.mounter.mount(wish, mount)
            except OpenRaaSError as error:
                self._fail(row, str(error))
            except Exception:
                log.exception("mount failed")
                self._fail(row, f"Fileset {mount.fileset} could not be mounted; the box's log says why.")
            finally:
                with self._lock:
                    progress.busy -= 1
                    if path is not None:
                        progress.paths[_place(mount)] = path
                self._tools.wake(row.instance)

    def _fail(self, row: InstanceRow, message: str) -> None:
        self._tools.instances.end(row, reason="no-mount", message=message)


def _start(row: InstanceRow) -> _Start:
    return (row.instance, row.generation)


def _place(mount: MountWish) -> _Place:
    return (mount.fileset, mount.target)
