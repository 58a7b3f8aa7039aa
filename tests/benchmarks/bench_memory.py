"""How much memory a box with all roles takes when it is idle: its worker and its servers together.

Resident sizes are summed, so pages that processes share count several times; the proportional size counts them
once and is printed too. Run by `make bench-memory`; needs root and a container engine.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.benchmarks.lines import Case, report
from tests.support.platform import RunningPlatform, running_platform

MOST_MB = 150.0
SETTLE_S = 10.0
SAMPLES = 5


def servers_of_box(platform: RunningPlatform) -> list[psutil.Process]:
    """Every process below the box's supervisor."""
    config = str(platform.state_dir / "box" / "run" / "supervisord.conf")
    found = psutil.process_iter(["cmdline"])  # attributes of those that ended meanwhile are none
    supervisor = next(item for item in found if config in (item.info["cmdline"] or ()))
    return supervisor.children(recursive=True)


def main() -> None:
    """Start a platform of its own, let it settle, sum up."""
    with (
        tempfile.TemporaryDirectory(prefix="openraas-bench-") as name,
        running_platform(Path(name)) as platform,
    ):
        time.sleep(SETTLE_S)
        resident, proportional = [], []
        for _ in range(SAMPLES):
            sizes = [(item, item.memory_full_info()) for item in servers_of_box(platform)]
            resident.append(sum(size.rss for _, size in sizes) / 1e6)
            proportional.append(sum(size.pss for _, size in sizes) / 1e6)
            time.sleep(1)
        for item, size in sizes:
            command = " ".join(item.cmdline())[:80]
            print(f"{size.rss / 1e6:6.1f} MB resident {size.pss / 1e6:6.1f} MB proportional  {command}")
    sys.exit(
        report(
            [
                Case("idle-box-resident", max(resident), "MB", "limit", resident, at_most=MOST_MB),
                Case("idle-box-proportional", max(proportional), "MB", "limit", proportional),
            ]
        )
    )


if __name__ == "__main__":
    main()
