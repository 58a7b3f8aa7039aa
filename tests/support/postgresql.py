"""A private PostgreSQL server for tests and benchmarks."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.redis import free_port, wait_until

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
LIMIT_S = 60


def is_there() -> bool:
    """Whether a server can be started: it refuses to run as root, so only root can start it as `postgres`."""
    return bool(PROGRAMS) and os.geteuid() == 0


@contextmanager
def run_postgresql(*, durable: bool = False) -> Iterator[str]:
    """The URL of a server on a free port; what it keeps goes with it. `durable`: it waits for the disk."""
    programs, owner = PROGRAMS[-1], pwd.getpwnam("postgres")
    directory = Path(tempfile.mkdtemp(prefix="orspg-"))
    os.chown(directory, owner.pw_uid, owner.pw_gid)
    port = free_port()
    run = ["runuser", "-u", "postgres", "--"]
    subprocess.run(
        [*run, str(programs / "initdb"), "-D", str(directory / "data"), "-A", "trust", "--no-sync"],
        check=True, capture_output=True, timeout=LIMIT_S, cwd="/",
    )  # fmt: skip
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={directory}"
    options += "" if durable else " -c fsync=off"
    server = [
        *run,
        "setpriv",
        "--pdeathsig",
        "KILL",
        str(programs / "postgres"),
        "-D",
        str(directory / "data"),
    ]
    process = subprocess.Popen(
        [*server, *options.split()], cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    ready = [str(programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(port), "-q"]
    try:
        wait_until(lambda: subprocess.run(ready, check=False).returncode == 0, LIMIT_S, "PostgreSQL's answer")
        yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run(
            [*run, str(programs / "pg_ctl"), "stop", "-m", "immediate", "-D", str(directory / "data")],
            check=False, capture_output=True, timeout=LIMIT_S, cwd="/",
        )  # fmt: skip
        process.wait(LIMIT_S)
        shutil.rmtree(directory, ignore_errors=True)
