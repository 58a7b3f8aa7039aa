"""What a fleet learns from starts, drawn by chance: told to a fleet, and kept plainly to be looked up box by box."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from common.words import BoxKind
from master.scheduling.facts import BoxFacts
from master.scheduling.fleet import KINDS, Fleet
from master.scheduling.generate import Application
from master.scheduling.request import PlacementRequest

_MIB = 2**20


@dataclass(frozen=True)
class Learnt:
    """Paces are seconds per byte; what is not in a mapping is not known."""

    launches: dict[tuple[str, BoxKind], float]
    there_s: float  # to unpack what lies on the box
    fetched_s: float  # to unpack the rest, after what was fetched
    unpacked: set[tuple[str, str]]  # image, box
    rates_bps: dict[str, float]
    distrust: dict[str, float]

    @classmethod
    def nothing(cls) -> Learnt:
        """A young platform."""
        return cls({}, 0.0, 0.0, set(), {}, {})

    @classmethod
    def draw(
        cls, rng: np.random.Generator, catalogue: Iterable[Application], boxes: Iterable[BoxFacts]
    ) -> Learnt:
        """Most images were launched somewhere; engines have two images each; every fourth box has a record."""
        images = [variant.image for one in catalogue for variant in one.variants]
        known = [image for image in images if rng.random() < 0.8]
        names = [box.name for box in boxes]
        there_s, fetched_s = (rng.random(2) * (0.02, 0.005) / _MIB).tolist()
        return cls(
            {(image, kind): float(rng.uniform(0.2, 4.0)) for image in known for kind in KINDS},
            there_s,
            fetched_s,
            {(images[int(number)], name) for name in names for number in rng.integers(len(images), size=2)},
            {name: float(rng.uniform(10e6, 400e6)) for name in names if rng.random() < 0.25},
            {name: float(rng.random()) for name in names if rng.random() < 0.25},
        )

    def tell(self, fleet: Fleet) -> None:
        """Let a fleet know it all."""
        for image in {image for image, _ in self.launches}:
            fleet.set_launch(image, np.array([self.launches[image, kind] for kind in KINDS]))
        fleet.unpacking.set_pace(self.there_s, self.fetched_s)
        for image, box in sorted(self.unpacked):
            fleet.unpacking.note(image, fleet.row_of[box])
        for box, rate_bps in self.rates_bps.items():
            fleet.set_rate(fleet.row_of[box], rate_bps)
        for box, distrust in self.distrust.items():
            fleet.set_distrust(fleet.row_of[box], distrust)


def with_prewarmed(
    rng: np.random.Generator, boxes: Iterable[BoxFacts], catalogue: Sequence[Application]
) -> list[BoxFacts]:
    """Every fifth box has an instance of some application waiting."""
    return [
        replace(box, prewarmed={_name(catalogue[int(rng.integers(len(catalogue)))]): 1})
        if rng.random() < 0.2
        else box
        for box in boxes
    ]


def wanting(rng: np.random.Generator, request: PlacementRequest) -> PlacementRequest:
    """The same, by somebody who takes one that waits, or sends something first, or both."""
    return replace(
        request,
        warm=request.variants[0].image if rng.random() < 0.5 else "",
        input_bytes=int(rng.integers(10**6, 10**9)) if rng.random() < 0.2 else 0,
    )


def _name(application: Application) -> str:
    return application.variants[0].image
