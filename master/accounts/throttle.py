"""Slows down guessing: wrong sign-ins are counted in Redis, per name with address and per address."""

from __future__ import annotations

import hashlib

import redis

from common.errors import OpenRaaSError, Unavailable

WINDOW_S = 300
PER_NAME = 10
# A classroom signs in from one address.
PER_ADDRESS = 100


class TooMany(OpenRaaSError):
    """Too often in too short a time."""

    http_status = 429


def _counters(name: str, address: str) -> list[tuple[str, int]]:
    # The name is hashed because people type their password into the wrong field.
    digest = hashlib.sha256(name.lower().encode()).hexdigest()[:16]
    return [(f"signin:{digest}:{address}", PER_NAME), (f"signin:{address}", PER_ADDRESS)]


def check(client: redis.Redis, name: str, address: str) -> None:
    """Raise TooMany after too many wrong sign-ins, Unavailable if nobody can tell."""
    counters = _counters(name, address)
    try:
        counts = client.mget([key for key, _ in counters])
    except redis.RedisError as error:
        raise Unavailable("Redis does not answer.", remedy="Try again in a moment.") from error
    if any(int(count or 0) >= limit for count, (_, limit) in zip(counts, counters, strict=True)):
        raise TooMany("Too many wrong sign-ins.", remedy=f"Try again in {WINDOW_S // 60} minutes.")


def count(client: redis.Redis, name: str, address: str) -> None:
    """Remember a wrong sign-in."""
    try:
        with client.pipeline() as pipe:
            for key, _ in _counters(name, address):
                pipe.incr(key)
                pipe.expire(key, WINDOW_S)
            pipe.execute()
    except redis.RedisError as error:
        raise Unavailable("Redis does not answer.", remedy="Try again in a moment.") from error


def forget(client: redis.Redis, name: str, address: str) -> None:
    """A right sign-in: the name's wrong ones no longer count."""
    try:
        client.delete(_counters(name, address)[0][0])
    except redis.RedisError as error:
        raise Unavailable("Redis does not answer.", remedy="Try again in a moment.") from error
