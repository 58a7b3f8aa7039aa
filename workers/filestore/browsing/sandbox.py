"""How a session's process is shut in: a mount namespace with one home, the interpreter and this code, and no network.

The same shape as the sessions of the file protocol (`protocols/sshfs.py`): bubblewrap, then setpriv to the fileset's
uid without any capability.
"""

from __future__ import annotations

import contextlib
import os
import sys
import sysconfig
from functools import cache
from pathlib import Path

import common
import workers
from common import needs
from workers.filestore.browsing import ASIDE, DATA

VOLUME = "/volume"


def command(listener: int, point: Path, uid: int) -> list[str]:
    """What runs a session on the home whose file system is mounted at `point`; `listener` is inherited."""
    inside = Path(VOLUME)
    shared = [
        f"--{word}"
        for word in ("unshare-pid", "unshare-ipc", "unshare-uts", "unshare-net", "die-with-parent")
    ]
    binds = [
        *_read_only(),
        *("--perms", "0755", "--dir", VOLUME, "--bind", str(point), VOLUME),
        *("--dev-bind", "/dev/null", "/dev/null", "--dev-bind", "/dev/urandom", "/dev/urandom"),
        *("--remount-ro", "/", "--chdir", str(inside / DATA), "--clearenv"),
    ]
    environment = {
        "PYTHONPATH": os.pathsep.join(_code()),
        "PYTHONDONTWRITEBYTECODE": "1",
        "MALLOC_ARENA_MAX": "2",
        "LANG": "C.UTF-8",
    }
    drop = [
        *(needs.path_of(needs.SETPRIV), "--reuid", str(uid), "--regid", str(uid), "--clear-groups"),
        *("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"),
    ]
    variables = [word for name, value in environment.items() for word in ("--setenv", name, value)]
    agent = [_interpreter(), "-s", "-m", "workers.filestore.browsing.agent", str(listener), VOLUME]
    return [needs.path_of(needs.BUBBLEWRAP), *shared, *binds, *variables, *drop, *agent]


def make_aside(point: Path, uid: int) -> None:
    """Where uploads lie; beside the person's files, so that a rename brings them there."""
    aside = point / ASIDE
    with contextlib.suppress(FileExistsError):
        aside.mkdir(mode=0o700)
    # Each time: a front that was killed in between would have left one that nobody may write to.
    os.chown(aside, uid, uid, follow_symlinks=False)


def _interpreter() -> str:
    """The interpreter itself, not a link of a virtual environment to it."""
    return str(Path(sys.executable).resolve())


def _code() -> list[str]:
    """Where this project and what it imports lie."""
    own = [str(Path(module.__file__ or "").parent.parent) for module in (workers, common)]
    return list(dict.fromkeys([*own, sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]))


@cache
def _read_only() -> tuple[str, ...]:
    """Words for bubblewrap: the system's libraries, the interpreter and the code, each where it is outside.

    Of this project only its packages come along, not what may lie beside them.
    """
    wanted = [Path("/usr/lib"), Path("/usr/lib64"), Path("/usr/libexec"), Path(needs.path_of(needs.SETPRIV))]
    wanted += [Path(_interpreter()), Path(sysconfig.get_path("stdlib")), Path(sys.base_prefix) / "lib"]
    wanted += [Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")]
    wanted += [Path(module.__file__ or "").parent for module in (workers, common)]
    words: list[str] = []
    made: set[Path] = set()
    for path in sorted({path for path in wanted if path.exists()}):
        if any(parent in made for parent in path.parents if parent in wanted):
            continue
        for parent in reversed(path.parents):
            if parent not in made and parent != Path("/"):
                words += ["--perms", "0755", "--dir", str(parent)]
                made.add(parent)
        words += ["--ro-bind", str(path), str(path)]
        made.add(path)
    for name in ("lib", "lib64"):
        link = Path("/") / name
        words += ["--symlink", str(link.readlink()), str(link)] if link.is_symlink() else []
        words += ["--ro-bind", str(link), str(link)] if link.is_dir() and not link.is_symlink() else []
    return tuple(words)
