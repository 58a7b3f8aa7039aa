"""On which box room is kept for the head of the queue: several schedulers agree on one.

Each would choose by its own picture of the fleet, and what one keeps free another could fill, round after round. The
first that chooses says so in Redis; the others keep the same box free, until the head is another one or the word is
old.
"""

from __future__ import annotations

import redis

from common.names import HEAD

# A choice is thought over after this: a better box may have come.
AGREED_MS = 10_000


def agree(client: redis.Redis, instance: str, box: str) -> str:
    """The box that is kept for this head: `box`, or what another scheduler chose before. Raises redis.RedisError."""
    mine = f"{instance} {box}"
    if client.set(HEAD, mine, nx=True, px=AGREED_MS):
        return box
    head, _, agreed = str(client.get(HEAD) or "").partition(" ")
    if head == instance and agreed:
        return agreed
    client.set(HEAD, mine, px=AGREED_MS)  # of a head that is none any more
    return box
