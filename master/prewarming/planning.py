"""How shares become counts. Pure."""

from __future__ import annotations

from collections.abc import Mapping


def keep(shares: Mapping[str, int], wanted: int) -> dict[str, int]:
    """What stays of the boxes' shares if fewer are wanted: the largest are made smaller first."""
    left = {box: share for box, share in shares.items() if share > 0}
    for _ in range(sum(left.values()) - wanted):
        box = max(left, key=lambda name: (left[name], name))
        left[box] -= 1
        if not left[box]:
            del left[box]
    return left


def counts(shares: Mapping[str, int], wanted: int, came: Mapping[str, int]) -> dict[str, int]:
    """How many wait on each box: its share without those who came to it, and no more than are wanted in all."""
    left = {box: max(0, share - came.get(box, 0)) for box, share in shares.items()}
    return dict.fromkeys(shares, 0) | keep(left, wanted)
