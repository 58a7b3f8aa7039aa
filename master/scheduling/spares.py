"""Which boxes may drop which layers, so that no blob that an image needs ever loses its last copy: pure.

Boxes evict by themselves, at any moment, by the last list that they got. So a list is widened only by what enough
boxes *without* that permission hold: while the lists are exchanged, box by box, no blob is on all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Holder:
    """A box that is up and says what it holds. `firm`: what a wish lets it keep anyway."""

    box: str
    holds: frozenset[str]
    firm: frozenset[str] = frozenset()
    fixed: bool = True
    offers: bool = True


def spare_lists(
    holders: Iterable[Holder],
    wanted: frozenset[str],
    before: Mapping[str, frozenset[str]],
    *,
    copies: int,
) -> dict[str, frozenset[str]]:
    """What each box may drop now.

    `wanted` are the blobs of images that can be started: what wishes let somebody keep stays there, and every
    other copy may go. Where no box is wished to keep a blob, `copies` boxes keep theirs (all, where there are
    fewer), fixed ones first. What no image needs may go everywhere.
    `before` are the lists in force: who is on one takes part in keeping only after it was taken off.
    """
    boxes = sorted(holders, key=lambda item: item.box)
    lists: dict[str, set[str]] = {item.box: set(item.holds - wanted) for item in boxes}
    having: dict[str, list[Holder]] = {}
    for item in boxes:
        for digest in item.holds & wanted:
            having.setdefault(digest, []).append(item)
    for digest, found in having.items():
        meant = [item for item in found if digest in item.firm and item.offers]
        needed = 1 if meant else copies
        keeping = meant or sorted(found, key=lambda item: _rank(item, digest, before))[:copies]
        if sum(_is_sure(item, digest, before) for item in keeping) < needed:
            continue  # the keepers' own permissions are withdrawn first; the others get theirs the next time
        for item in found:
            if item not in keeping:
                lists[item.box].add(digest)
    return {box: frozenset(digests) for box, digests in lists.items()}


def _rank(item: Holder, digest: str, before: Mapping[str, frozenset[str]]) -> tuple[bool, bool, bool, str]:
    """Who keeps a blob best: smaller is better."""
    return (not item.offers, digest in before.get(item.box, frozenset()), not item.fixed, item.box)


def _is_sure(item: Holder, digest: str, before: Mapping[str, frozenset[str]]) -> bool:
    """Whether others can fetch the blob from this box, and no list in force lets the box drop it."""
    return item.offers and digest not in before.get(item.box, frozenset())
