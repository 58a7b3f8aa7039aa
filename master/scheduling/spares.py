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

    `wanted` are the blobs of images that can be started: of each of these `copies` boxes keep theirs (all, where
    there are fewer), best those whose wishes say so, then fixed ones. What no image needs may go everywhere.
    `before` are the lists in force: who is on one takes part in keeping only after it was taken off.
    """
    boxes = sorted(holders, key=lambda item: item.box)
    lists: dict[str, set[str]] = {item.box: set(item.holds - wanted) for item in boxes}
    having: dict[str, list[Holder]] = {}
    for item in boxes:
        for digest in item.holds & wanted:
            having.setdefault(digest, []).append(item)
    for digest, found in having.items():
        keeping = sorted(found, key=lambda item: _rank(item, digest, before))[:copies]
        if not _is_safe(digest, keeping, before, copies):
            continue  # the keepers' own permissions are withdrawn first; the others get theirs the next time
        for item in found:
            if item not in keeping:
                lists[item.box].add(digest)
    return {box: frozenset(digests) for box, digests in lists.items()}


def _rank(
    item: Holder, digest: str, before: Mapping[str, frozenset[str]]
) -> tuple[bool, bool, bool, bool, str]:
    """Who keeps a blob best: smaller is better."""
    allowed = digest in before.get(item.box, frozenset())
    return (not item.offers, digest not in item.firm, allowed, not item.fixed, item.box)


def _is_safe(digest: str, keeping: list[Holder], before: Mapping[str, frozenset[str]], copies: int) -> bool:
    """Whether enough boxes keep the blob that no list in force lets drop it, and that others can fetch from."""
    sure = [item for item in keeping if item.offers and digest not in before.get(item.box, frozenset())]
    return len(sure) >= copies
