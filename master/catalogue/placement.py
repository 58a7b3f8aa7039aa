"""Where instances of a service may run, as a manifest says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, StringConstraints

from common.words import LABEL, NAME, BoxId, Frozen

# A service of the same application, or one of another application of the same person.
NEIGHBOUR = rf"^({NAME[1:-1]}/)?{LABEL[1:-1]}$"

Neighbour = Annotated[str, StringConstraints(pattern=NEIGHBOUR, max_length=110)]
LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
LabelValue = Annotated[str, StringConstraints(max_length=128)]
BOX = "box"


class ManifestPlacement(Frozen):
    """Rules that boxes have to keep, and whether instances are to lie apart."""

    boxes: list[BoxId] = Field(default_factory=list, max_length=64, description="Only on one of these.")
    labels: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, max_length=16, description="Only on boxes that have all of these."
    )
    spread: LabelKey | None = Field(
        None,
        description="Instances go to different boxes (`box`), or to boxes with different values of this label, "
        "as far as there are such.",
    )
    beside: list[Neighbour] = Field(
        default_factory=list,
        max_length=8,
        description="Only where these run: a service, or application/service of the same person.",
    )
    apart: list[Neighbour] = Field(
        default_factory=list,
        max_length=8,
        description="Never where these run. The service itself may be named.",
    )


def check_placements(placements: Mapping[str, ManifestPlacement]) -> None:
    """Raises ValueError where services wait for each other, or for one that is not there."""
    beside = {
        name: [other for other in placement.beside if "/" not in other]
        for name, placement in placements.items()
    }
    for name, placement in placements.items():
        for key, others in (("beside", placement.beside), ("apart", placement.apart)):
            for other in others:
                if "/" not in other and other not in placements:
                    raise ValueError(f"services.{name}.placement.{key}: there is no service {other}")
        _follow(name, beside, [])


def _follow(name: str, beside: Mapping[str, list[str]], way: list[str]) -> None:
    if name in way:
        circle = " and ".join(sorted(set(way[way.index(name) :])))
        raise ValueError(f"services.{name}.placement.beside: {circle} would wait for each other for ever")
    for other in beside.get(name, []):
        _follow(other, beside, [*way, name])
