"""The lines that benchmarks print, one per case, so that a program can read them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One measured figure; `at_least` or `at_most` is what it must reach, if anything."""

    name: str
    value: float
    unit: str
    rival: str
    spread: Sequence[float]
    at_least: float | None = None
    at_most: float | None = None

    @property
    def is_good(self) -> bool:
        """Whether it reaches what it must."""
        enough = self.at_least is None or self.value >= self.at_least
        return enough and (self.at_most is None or self.value <= self.at_most)

    @property
    def must(self) -> str | None:
        """What it must reach, in words."""
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return None if self.at_most is None else f"<= {self.at_most:g}"

    def line(self) -> str:
        """As printed."""
        values = {
            "case": self.name, "value": round(self.value, 3), "unit": self.unit, "must": self.must,
            "rival": self.rival, "spread": [round(min(self.spread), 3), round(max(self.spread), 3)],
            "ok": self.is_good,
        }  # fmt: skip
        return f"BENCH {json.dumps(values)}"


def report(cases: Sequence[Case]) -> int:
    """Print all lines; the exit code is 1 if a case falls short."""
    for case in cases:
        print(case.line(), flush=True)
    return 0 if all(case.is_good for case in cases) else 1
