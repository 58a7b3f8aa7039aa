"""How fast images come from several depositories, beside `docker pull` from Debian's docker-registry.

Real boxes (front and nginx, TLS) and engines in network namespaces with shaped links; the rival serves the same
blobs over the same links without TLS, taking turns. Two times count: the last byte, and the image ready in the
engine; what the engine itself needs is measured in the same run. Run by `make bench-layers`, case by case with
`make bench-layers ARGS="--case 3x100 --runs 3"`; needs root.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.benchmarks.layers.cases import CASES
from tests.benchmarks.layers.image import load
from tests.benchmarks.layers.world import find_registry, world
from tests.benchmarks.lines import Case, report
from workers.lab.commands import require_root

CACHE = Path("/var/tmp/openraas-bench")


def main() -> int:
    """Exit code 1 if a case falls short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", action="append", choices=sorted(CASES), help="which one; all by default")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=CACHE, help="where the image is kept between runs")
    options = parser.parse_args()
    require_root()
    images, registry = load(options.cache / "image"), find_registry(options.cache)
    print(f"image: {images.files} files, {images.whole.wire_bytes / 1e6:.0f} MB on the wire", flush=True)
    measured: list[Case] = []
    for name in options.case or CASES:
        print(f"{name}:", flush=True)
        with world(images, registry) as machines:
            measured += CASES[name](machines, options.runs)
    return report(measured)


if __name__ == "__main__":
    sys.exit(main())
