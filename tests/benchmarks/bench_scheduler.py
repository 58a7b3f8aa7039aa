"""How many placements a second, and how that grows: `make bench-scheduler`.

The pure part: random applications, people and boxes; after each decision its reservation is applied, its layers
arrive, and instances end, so that the fleet is about as full all the time. Choices are checked, outside the
clock, against tests/support/plain_placement.py, which goes through all boxes one by one.

The whole road: through Celery, Redis, reservation and commit, with two scheduler processes and 50 producers.
"""

from __future__ import annotations

import argparse
import sys

from tests.benchmarks.lines import report
from tests.benchmarks.scheduler import pure, road


def main() -> int:
    """Run the cases; the exit code is 1 if one falls short."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--decisions", type=int, default=4000, help="per fleet")
    parser.add_argument("--checked", type=int, default=20, help="of them compared with the plain program")
    parser.add_argument("--boxes", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    parser.add_argument("--runs", type=int, default=3, help="of the whole road, on each database; 0: none")
    options = parser.parse_args()
    cases = pure.cases(options.boxes, options.decisions, options.checked) if options.boxes else []
    return report([*cases, *road.end_to_end(options.runs)])


if __name__ == "__main__":
    sys.exit(main())
