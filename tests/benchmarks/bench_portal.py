"""What a person feels at the portal: starts, the surge, live pages, terminals and desktops.

Each part is a module of `tests/benchmarks/portal` with `measure(platform)`; all share one platform on this machine,
but for the surge, which makes a lab of four boxes. Run by `make bench-portal`; `--only start surge` picks parts.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from tests.benchmarks.lines import Case, report
from tests.support.platform import SAMPLES, running_platform

# In this order. One whose module is not there is left out.
PARTS = ("pages", "start", "streams", "terminal", "desktop", "surge")
WITHOUT_PLATFORM = frozenset({"surge"})
PACKAGE = "tests.benchmarks.portal"


def parts() -> list[str]:
    """Those that there are."""
    return [name for name in PARTS if find_spec(f"{PACKAGE}.{name}") is not None]


def measure(names: list[str]) -> list[Case]:
    """Each part for itself."""
    cases: list[Case] = []
    on_platform = [name for name in names if name not in WITHOUT_PLATFORM]
    if on_platform:
        with (
            tempfile.TemporaryDirectory(prefix="openraas-bench-") as directory,
            running_platform(Path(directory), "--demo", samples_dir=str(SAMPLES)) as platform,
        ):
            for name in on_platform:
                print(f"--- {name}", flush=True)
                cases += importlib.import_module(f"{PACKAGE}.{name}").measure(platform)
    for name in names:
        if name in WITHOUT_PLATFORM:
            print(f"--- {name}", flush=True)
            cases += importlib.import_module(f"{PACKAGE}.{name}").measure()
    return cases


def main() -> None:
    """Start what is needed, measure, print BENCH lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=parts(), default=parts())
    chosen = parser.parse_args().only
    sys.exit(report(measure([name for name in parts() if name in chosen])))


if __name__ == "__main__":
    main()
