"""Running the programs that a lab is made of: `ip`, `tc`, `nsenter`, `openraas`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workers.lab.errors import LabError

# Longest that one short command (ip, tc, losetup) may take.
COMMAND_S = 20.0
PROGRAMS = {"ip": "iproute2", "tc": "iproute2", "unshare": "util-linux", "nsenter": "util-linux"}

# The command line of this very installation, whatever stands in PATH.
OPENRAAS = (sys.executable, "-m", "common")


def require_root() -> None:
    """Raises LabError unless this process may make namespaces."""
    if os.geteuid() != 0:
        raise LabError("A lab makes network namespaces, which needs root.", remedy="Run it with sudo.")
    for program, package in PROGRAMS.items():
        if shutil.which(program) is None:
            raise LabError(f"The program {program} is missing.", remedy=f"Run: apt install {package}.")


def run(
    *argv: str,
    timeout_s: float = COMMAND_S,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> str:
    """Standard output of a command; raises LabError with its standard error if it fails or takes too long."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=timeout_s, env=env, input=stdin, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{_show(argv)} took more than {timeout_s:.0f} s.") from error
    except OSError as error:
        raise LabError(f"{argv[0]} cannot be started: {error.strerror}.") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-800:]
        raise LabError(f"{_show(argv)} failed ({done.returncode}): {said}")
    return done.stdout


def ask(*argv: str) -> list[dict[str, Any]]:
    """What an `ip -json` (or `losetup --json`) command says."""
    answer: list[dict[str, Any]] = json.loads(run(*argv) or "[]")
    return answer


def tail(path: Path, lines: int = 8) -> str:
    """The last lines of a log, for the message of an error."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return f"({path} is empty)"


def _show(argv: Sequence[str]) -> str:
    words = list(argv)
    for start in range(len(words) - 2):
        if tuple(words[start : start + 3]) == OPENRAAS:
            # The verbs only: what follows may be a token.
            return " ".join(["openraas", *words[start + 3 : start + 5]])
    return " ".join(words)
