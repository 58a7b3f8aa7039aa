"""Slows down guessing: sign-ins are counted in Redis, per name with address and per address.

A try counts before its password is looked at, and is taken back if that was right: of many at once no more
get through than of many in turn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import redis
from redis.client import Pipeline

from common.errors import TooMany, Unavailable

WINDOW_S = 300
PER_NAME = 10
# A classroom signs in from one address.
PER_ADDRESS = 100
SIGN_UP_WINDOW_S = 3600
SIGN_UPS = 100


def _counters(name: str, address: str) -> list[tuple[str, int]]:
    # The name is hashed because people type their password into the wrong field.
    digest = hashlib.sha256(name.lower().encode()).hexdigest()[:16]
    return [(f"signin:{digest}:{address}", PER_NAME), (f"signin:{address}", PER_ADDRESS)]


def enter(client: redis.Redis, name: str, address: str) -> None:
    """Count a try. Raises TooMany after too many wrong ones, Unavailable if nobody can tell."""
    counters = _counters(name, address)
    try:
        with client.pipeline() as pipe:
            for key, _ in counters:
                pipe.incr(key)
                pipe.expire(key, WINDOW_S, nx=True)
            counts = pipe.execute()[::2]
            if all(int(count) <= limit for count, (_, limit) in zip(counts, counters, strict=True)):
                return
            _take_back(pipe, [key for key, _ in counters])
    except redis.RedisError as error:
        raise Unavailable("Redis does not answer.", remedy="Try again in a moment.") from error
    raise TooMany("Too many wrong passwords.", remedy=f"Try again in {WINDOW_S // 60} minutes.")


def count_sign_up(client: redis.Redis, address: str) -> None:
    """Count somebody who signs up. Raises TooMany after too many from one address, Unavailable."""
    key = f"signup:{address}"
    try:
        with client.pipeline() as pipe:
            pipe.incr(key)
            pipe.expire(key, SIGN_UP_WINDOW_S, nx=True)
            count = pipe.execute()[0]
    except redis.RedisError as error:
        raise Unavailable("Redis does not answer.", remedy="Try again in a moment.") from error
    if int(count) > SIGN_UPS:
        raise TooMany("Too many people sign up from your address.", remedy="Try again in an hour.")


def forget(client: redis.Redis, name: str, address: str) -> None:
    """A right sign-in: the name's wrong ones no longer count, and this one does not for the address."""
    (by_name, _), (by_address, _) = _counters(name, address)
    try:
        with client.pipeline() as pipe:
            pipe.delete(by_name)
            _take_back(pipe, [by_address])
    except redis.RedisError as error:
        raise Unavailable("Redis does not answer.", remedy="Try again in a moment.") from error


def _take_back(pipe: Pipeline, keys: Sequence[str]) -> None:
    for key in keys:
        pipe.decr(key)
        pipe.expire(key, WINDOW_S, nx=True)  # the window may have ended meanwhile
    pipe.execute()
