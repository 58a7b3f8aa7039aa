"""Where those who wait stand: their places in the queue and when they will start, for whoever looks.

Kept in one Redis hash, `queue:standing`, that is replaced as a whole as the queue moves. It is a picture of now:
SQL says who waits, and without the picture a page only says less.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import redis
from pydantic import BaseModel, Field, ValidationError

from common.names import STANDING


class Standing(BaseModel):
    """One instance's."""

    place: int = Field(ge=1, description="1 is served next.")
    waiting: int = Field(ge=1, description="How many wait.")
    start: float | None = Field(
        description="Unix time when it will start, by all that is known; none: unknown."
    )
    at: float = Field(description="Unix time of this estimate.")


def publish(client: redis.Redis, ordered: Sequence[str], starts: Mapping[str, float | None]) -> None:
    """Replace the picture. Raises redis.RedisError."""
    now = time.time()
    fields: list[str] = []
    for number, instance in enumerate(ordered, start=1):
        standing = Standing(place=number, waiting=len(ordered), start=starts.get(instance), at=now)
        fields += [instance, standing.model_dump_json()]
    with client.pipeline(transaction=True) as pipe:
        pipe.delete(STANDING)
        if fields:
            pipe.hset(STANDING, items=fields)
        pipe.execute()


def standings(client: redis.Redis, instances: Sequence[str]) -> dict[str, Standing]:
    """Where these stand, as far as the scheduler has said. Raises redis.RedisError."""
    if not instances:
        return {}
    texts = client.hmget(STANDING, list(instances))
    found: dict[str, Standing] = {}
    for instance, text in zip(instances, texts, strict=True):
        if text is None:
            continue
        try:
            found[instance] = Standing.model_validate_json(text)
        except ValidationError:
            continue  # of another version; the next picture replaces it
    return found
