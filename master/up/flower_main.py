"""Flower on a Unix socket that only the web reaches; it shows the queues and the master's task events."""

from __future__ import annotations

import sys

from common.celery_app import make_celery
from common.settings import settings
from master.context import OWNER, MasterPaths, redis_url

MAX_TASKS = 2000


def main() -> None:
    """Run until ended. The broker's URL stays out of the command line, which everybody can read."""
    conf = settings()
    paths = MasterPaths(conf.state_dir)
    app = make_celery(
        "flower",
        redis_url(conf),
        owner=OWNER,
        ca_file=str(paths.authority),
        timeout_s=conf.redis_timeout_s,
        events=True,
    )
    # Flower reads the program's own arguments too, and takes ours for unknown ones of its own.
    sys.argv = [sys.argv[0]]
    app.start(
        [
            "flower",
            f"--unix-socket={paths.flower_socket}",
            "--url-prefix=flower",
            f"--max-tasks={MAX_TASKS}",
            # Boxes take no remote control, so asking them always fails.
            "--logging=error",
        ]
    )


if __name__ == "__main__":
    main()
