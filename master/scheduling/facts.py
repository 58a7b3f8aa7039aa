"""One box as the fleet takes it in: what its status says, and what the master adds."""

from __future__ import annotations

from dataclasses import dataclass, field

from common.status import BoxStatus
from common.words import BoxKind, Resources, Role
from master.scheduling.request import Place


@dataclass(frozen=True, slots=True)
class BoxFacts:
    """Plain data; the defaults are a roomless box that takes everything.

    `capacity.disk_bytes` is what is free of the lent space now. `paused` is why the owner's rules take no new
    placements now. A `central` box belongs to a baseline's cloud and is not part of the edge.
    """

    name: str
    roles: frozenset[Role] = frozenset(Role)
    kind: BoxKind = BoxKind.DESKTOP
    open: bool = True
    fixed: bool = True
    architecture: str = "amd64"
    zstd: bool = False
    full: bool = False
    paused: str = ""
    cordoned: bool = False
    central: bool = False
    offers: bool = True
    labels: dict[str, str] = field(default_factory=dict)
    place: Place = Place()
    capacity: Resources = Resources()
    reserved: Resources = Resources()
    layers: frozenset[str] = frozenset()
    filesets: frozenset[tuple[str, int]] = frozenset()
    prewarmed: dict[str, int] = field(default_factory=dict)  # how many instances wait, by their name


def facts_of(
    status: BoxStatus, reserved: Resources, layers: frozenset[str], *, cordoned: bool = False
) -> BoxFacts:
    """The facts in a status record."""
    return BoxFacts(
        name=status.box,
        roles=status.roles,
        kind=status.kind,
        open=status.open,
        fixed=status.fixed,
        architecture=status.architecture,
        zstd=status.engine is not None and status.engine.zstd,
        full=bool(status.alert),
        paused=status.paused,
        cordoned=cordoned,
        offers=status.offers_layers,
        labels=status.labels,
        place=Place.of(status.coordinate),
        capacity=status.capacity.model_copy(update={"disk_bytes": status.disk.free_bytes}),
        reserved=reserved,
        layers=layers,
        prewarmed=status.prewarmed,
        filesets=frozenset((held.fileset, held.version) for held in status.filesets),
    )
