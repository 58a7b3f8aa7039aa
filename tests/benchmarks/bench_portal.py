"""What a person feels at the portal: starts, the surge, live pages, terminals and desktops.

Each part is a module of `tests/benchmarks/portal`. Some share one platform on this machine, others make what they
need: the surge a lab of four boxes. Run by `make bench-portal`; `ARGS="--only start surge"` picks parts.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from tests.benchmarks.lines import Case, report
from tests.support.platform import SAMPLES, running_platform

PACKAGE = "tests.benchmarks.portal"
Alone = Callable[[ModuleType], list[Case]]

# In this order; a part whose module is not there is left out.
ON_PLATFORM = ("pages", "start", "terminal", "desktop")
ALONE: dict[str, Alone] = {
    "streams": lambda part: list(part.cases(part.measure())),
    "surge": lambda part: list(part.measure()),
}


def parts() -> list[str]:
    """Those that there are."""
    return [name for name in (*ON_PLATFORM, *ALONE) if find_spec(f"{PACKAGE}.{name}") is not None]


def measure(names: list[str]) -> list[Case]:
    """Each part for itself."""
    cases: list[Case] = []
    if on_platform := [name for name in names if name in ON_PLATFORM]:
        with (
            tempfile.TemporaryDirectory(prefix="openraas-bench-") as directory,
            running_platform(Path(directory), "--demo", samples_dir=str(SAMPLES)) as platform,
        ):
            for name in on_platform:
                cases += _begin(name).measure(platform)
    for name in names:
        if name in ALONE:
            cases += ALONE[name](_begin(name))
    return cases


def _begin(name: str) -> ModuleType:
    print(f"--- {name}", flush=True)
    return importlib.import_module(f"{PACKAGE}.{name}")


def main() -> None:
    """Start what is needed, measure, print BENCH lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=parts(), default=parts())
    chosen = parser.parse_args().only
    sys.exit(report(measure([name for name in parts() if name in chosen])))


if __name__ == "__main__":
    main()
