"""What goes from a box's lent space, and what may not: a pure decision over what lies there.

A layer lies on the disk twice: as a blob, and unpacked in the engine. The engine's copy can be made again from the
blob, so it goes first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from common.units import show_size

# By so much later than its subject what refers to it counts as used.
AFTER_S = 0.001
# So deep may referrers refer to referrers; what is deeper, or in a circle, is cleaned up in any order.
MOST_DEPTH = 4


@dataclass(frozen=True)
class Blob:
    """A blob as the decision sees it. `keeper` is who needs it; empty: nobody does."""

    digest: str
    size_bytes: int
    used_at: float
    keeper: str = ""


@dataclass(frozen=True)
class Unpacked:
    """An image in the engine: its layers with their sizes, of which images may share some."""

    name: str
    layers: Mapping[str, int]
    used_at: float
    keeper: str = ""


@dataclass(frozen=True)
class Plan:
    """What goes, longest unused first, and how it is then.

    `short_bytes`: how much is missing to what is to be free; `kept`: bytes of what may not go, by who needs it.
    """

    images: tuple[str, ...]
    blobs: tuple[str, ...]
    short_bytes: int
    kept: Mapping[str, int] = field(default_factory=dict)


def plan(
    blobs: Iterable[Blob],
    images: Iterable[Unpacked],
    *,
    now: float,
    timer_s: float,
    free_bytes: int,
    wanted_bytes: int,
) -> Plan:
    """Everything goes that nobody needs and that nobody used for `timer_s`; then more until enough is free.

    Enough is more than `wanted_bytes`; `free_bytes` is what is free now, and negative where more lies there than
    was lent. Of what is not needed images of the engine go first, then blobs, longest unused first.
    """
    blobs, left = list(blobs), list(images)
    before, free = now - timer_s, free_bytes
    gone_images, gone_blobs = [], []
    for image in sorted(left, key=lambda item: (item.used_at, item.name)):
        if not image.keeper and (image.used_at < before or free <= wanted_bytes):
            left.remove(image)
            free += _freed(image, left)
            gone_images.append(image.name)
    for blob in sorted(blobs, key=lambda item: (item.used_at, item.digest)):
        if not blob.keeper and (blob.used_at < before or free <= wanted_bytes):
            free += blob.size_bytes
            gone_blobs.append(blob.digest)
    short = max(0, wanted_bytes + 1 - free)
    return Plan(tuple(gone_images), tuple(gone_blobs), short, _kept(blobs, left))


def _freed(image: Unpacked, others: list[Unpacked]) -> int:
    """What the image alone takes: layers that another one has too stay with that one."""
    shared = {key for other in others for key in other.layers}
    return sum(size for key, size in image.layers.items() if key not in shared)


def _kept(blobs: list[Blob], images: list[Unpacked]) -> dict[str, int]:
    kept: Counter[str] = Counter()
    for blob in blobs:
        if blob.keeper:
            kept[blob.keeper] += blob.size_bytes
    layers: dict[str, tuple[int, str]] = {}
    for image in images:
        for key, size in image.layers.items():
            layers.setdefault(key, (size, image.keeper))
    for size, keeper in layers.values():
        if keeper:
            kept[keeper] += size
    return dict(kept)


def outlive(used_at: Mapping[str, float], kept_with: Mapping[str, Iterable[str]]) -> dict[str, float]:
    """When each blob counts as used last; what is kept with another goes after that one, and never before.

    `kept_with` gives the blobs that are kept as long as one is.
    """
    found = dict(used_at)
    for _ in range(MOST_DEPTH):
        for subject in kept_with.keys() & found.keys():
            for blob in found.keys() & set(kept_with[subject]) - {subject}:
                found[blob] = max(found[blob], found[subject] + AFTER_S)
    return found


def explain(decision: Plan, *, lent_bytes: int, wanted_bytes: int, filesets_bytes: int) -> str:
    """Why a box has too little room, for people; empty if it has enough."""
    if not decision.short_bytes:
        return ""
    kept = dict(decision.kept)
    if filesets_bytes:
        kept["filesets"] = filesets_bytes
    reasons = [f"{show_size(size)} {who}" for who, size in sorted(kept.items(), key=lambda item: -item[1])]
    return (
        f"{show_size(wanted_bytes)} of the lent {show_size(lent_bytes)} should be free, "
        f"{show_size(decision.short_bytes)} are missing, and nothing more may go: "
        f"{', '.join(reasons) or 'nothing of OpenRaaS is left there'}."
    )
