"""Fleets and requests drawn by chance, for the conformance test, benchmarks and scenarios."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.words import BoxKind, MountMode, Resources, Role
from master.scheduling.facts import BoxFacts
from master.scheduling.request import FilesetNeed, Layer, Place, PlacementRequest, Variant

GIB = 2**30
MIB = 2**20
_KINDS = (BoxKind.SERVER, BoxKind.DESKTOP, BoxKind.MOBILE, BoxKind.IOT)


@dataclass(frozen=True)
class Application:
    """An image for one or two architectures, what an instance takes, and perhaps its files."""

    variants: tuple[Variant, ...]
    resources: Resources
    fileset: FilesetNeed | None = None
    home_bytes: int = 0  # of a new home for each person; 0: none


def applications(
    rng: np.random.Generator, count: int, *, layers: int, layers_each: int = 10, arm: float = 0.3
) -> list[Application]:
    """A catalogue over a pool of layers; the first layers of the pool are in many images, the last in few."""
    sizes = rng.integers(MIB, 200 * MIB, layers)
    return [
        _application(rng, number, sizes.tolist(), layers_each, with_arm=rng.random() < arm)
        for number in range(count)
    ]


def _application(
    rng: np.random.Generator, number: int, sizes: Sequence[int], layers_each: int, *, with_arm: bool
) -> Application:
    def variant(architecture: str) -> Variant:
        picked = np.unique((len(sizes) * rng.random(layers_each) ** 3).astype(int))
        held = tuple(Layer(f"sha256:{one:064x}", int(sizes[one])) for one in picked)
        return Variant(f"image-{number}-{architecture}", architecture, held, zstd=bool(rng.random() < 0.1))

    return Application(
        variants=(variant("amd64"), variant("arm64")) if with_arm else (variant("amd64"),),
        resources=Resources(
            cpu=float(rng.choice([0.25, 0.5, 1, 2])),
            memory_bytes=int(rng.choice([256, 512, 1024, 2048])) * MIB,
            disk_bytes=int(rng.integers(0, 4)) * GIB,
            bandwidth_bps=int(rng.choice([0, 5, 20])) * 10**6,
            gpu=int(rng.random() < 0.03),
        ),
        fileset=FilesetNeed(f"files-{number}", 1, MountMode.READ_ONLY) if rng.random() < 0.3 else None,
        home_bytes=int(rng.integers(1, 6)) * GIB if rng.random() < 0.1 else 0,
    )


def place(rng: np.random.Generator) -> Place:
    """Somewhere within 80 ms of anything."""
    x_ms, y_ms, height_ms = rng.random(3) * (50.0, 50.0, 10.0)
    return Place(float(x_ms), float(y_ms), float(height_ms))


def boxes(rng: np.random.Generator, count: int, catalogue: Sequence[Application]) -> list[BoxFacts]:
    """Boxes of all kinds; each holds the layers of a few applications, and some have their files."""
    return [_box(rng, number, catalogue) for number in range(count)]


def _box(rng: np.random.Generator, number: int, catalogue: Sequence[Application]) -> BoxFacts:
    kind = _KINDS[int(rng.choice(4, p=[0.1, 0.45, 0.3, 0.15]))]
    is_server = kind is BoxKind.SERVER
    known = [catalogue[int(one)] for one in len(catalogue) * rng.random(3) ** 2] if catalogue else []
    layers = {layer.digest for one in known for variant in one.variants for layer in variant.layers}
    files = {(one.fileset.fileset, one.fileset.version) for one in known if one.fileset is not None}
    roles = {Role.COMPUTE} if is_server or rng.random() < 0.8 else {Role.DEPOSITORY}
    stores = is_server or rng.random() < 0.2
    return BoxFacts(
        name=f"box-{number:06d}",
        roles=frozenset(roles | ({Role.FILESTORE} if stores else set())),
        kind=kind,
        open=bool(rng.random() < 0.9),
        fixed=bool(is_server or rng.random() < 0.85),
        architecture="arm64" if kind is BoxKind.IOT or rng.random() < 0.1 else "amd64",
        zstd=bool(rng.random() < 0.5),
        full=bool(rng.random() < 0.02),
        paused="is busy for its owner" if rng.random() < 0.03 else "",
        cordoned=bool(rng.random() < 0.02),
        offers=bool(rng.random() < 0.95),
        labels={"room": f"r{rng.integers(20)}"},
        place=place(rng),
        capacity=Resources(
            cpu=float(rng.choice([16, 32, 64] if is_server else [2, 4, 8])),
            memory_bytes=int(rng.choice([64, 128] if is_server else [4, 8, 16])) * GIB,
            disk_bytes=int(rng.choice([500, 1000] if is_server else [10, 20, 200])) * GIB,
            bandwidth_bps=1_000_000_000 if is_server else int(rng.integers(50, 400)) * 10**6,
            gpu=int(rng.random() < 0.1),
        ),
        layers=frozenset(layers),
        filesets=frozenset(files) if stores else frozenset(),
    )


def request(rng: np.random.Generator, catalogue: Sequence[Application]) -> PlacementRequest:
    """Somebody somewhere asks for one of the applications."""
    wanted = catalogue[int(rng.integers(len(catalogue)))]
    filesets = (wanted.fileset,) if wanted.fileset is not None else ()
    if wanted.home_bytes:
        home = FilesetNeed("home", 1, MountMode.READ_WRITE, held_by=(), room_bytes=wanted.home_bytes)
        filesets = (*filesets, home)
    return PlacementRequest(wanted.resources, wanted.variants, filesets, place(rng))
