"""Runs the small programs that files need, each with a limit."""

from __future__ import annotations

import errno
import shutil
import subprocess
from collections.abc import Sequence

from common import needs
from workers.filestore.errors import ProgramFailed

# Everything here works on local files and devices, in milliseconds; a program that needs longer is stuck.
LIMIT_S = 10.0
# How often a directory is emptied again into which somebody has put something meanwhile.
REMOVE_TRIES = 10


def run(command: Sequence[str], *, limit_s: float = LIMIT_S, good: Sequence[int] = (0,)) -> str:
    """Run a program to its end and return what it printed (to standard error, if nothing else).

    Raises ProgramFailed, with the program's last line of complaint, if its exit code is not one of `good` or if
    it needs longer than `limit_s`.
    """
    name = command[0].rpartition("/")[2]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ProgramFailed(f"{name} timed out after {limit_s:g} s.") from error
    except OSError as error:
        raise ProgramFailed(f"{name} could not be started: {error.strerror}.") from error
    if done.returncode not in good:
        lines = (done.stderr or done.stdout).strip().splitlines()
        reason = lines[-1] if lines else f"exit code {done.returncode}"
        raise ProgramFailed(f"{name} failed: {reason}.")
    return done.stdout or done.stderr


def make_key(path: str) -> None:
    """Write a fresh ed25519 key pair in OpenSSH's format to `path` (0600) and `path`.pub."""
    run([needs.path_of(needs.SSH_KEYGEN), "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path])


def public_half(path: str) -> str:
    """The public half of a private key, in OpenSSH's format without a comment."""
    return " ".join(run([needs.path_of(needs.SSH_KEYGEN), "-y", "-P", "", "-f", path]).split()[:2])


def remove_tree(path: str) -> None:
    """Remove a directory and all in it; it may be gone already, and what is put there meanwhile goes too."""
    for tries_left in reversed(range(REMOVE_TRIES)):
        try:
            shutil.rmtree(path, ignore_errors=False, onerror=_unless_gone)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or not tries_left:
                raise
        else:
            return


def _unless_gone(_: object, __: str, info: tuple[type[BaseException], BaseException, object]) -> None:
    if not isinstance(info[1], FileNotFoundError):
        raise info[1]
