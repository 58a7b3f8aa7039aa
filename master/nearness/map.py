"""The map of believed places as it lies in Redis: one hash, written by the surveyor alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import redis

from common.names import PLACES
from common.status import BoxStatus
from common.vivaldi import Position, locate
from common.words import Coordinate
from master.boxes.services import statuses
from master.nearness.belief import remote

NOWHERE = Coordinate()


@dataclass(frozen=True)
class Map:
    """Where boxes are, as far as it is believed."""

    places: Mapping[str, Position] = field(default_factory=dict)
    remote: Coordinate = NOWHERE

    def of(self, status: BoxStatus) -> Coordinate:
        """Where a box counts as being; one that nobody confirms is far from everybody."""
        if (known := self.places.get(status.box)) is not None:
            return known.place
        # What an owner typed in counts from the first moment, before anybody has drawn the map.
        return status.coordinate if status.coordinate_error is None else self.remote

    def located(self, status: BoxStatus) -> BoxStatus:
        """The status with the place that counts instead of the one that the box claims."""
        return status.model_copy(update={"coordinate": self.of(status)})

    def find(self, round_trips_ms: Mapping[str, float]) -> Coordinate | None:
        """Where somebody is who measured these round trips, by box; none if no place of them is known."""
        sightings = [
            (self.places[box].place, ms) for box, ms in sorted(round_trips_ms.items()) if box in self.places
        ]
        return locate(sightings)


def write_map(client: redis.Redis, places: Mapping[str, Position]) -> None:
    """Replace the map as a whole. Raises redis.RedisError."""
    fields: dict[str | bytes | bytearray | memoryview | int | float, Any] = {
        box: json.dumps([spot.place.x_ms, spot.place.y_ms, spot.place.height_ms, spot.error])
        for box, spot in places.items()
    }
    pipe = client.pipeline(transaction=True)
    pipe.delete(PLACES)
    if fields:
        pipe.hset(PLACES, mapping=fields)
    pipe.execute()


def parse_map(fields: Mapping[Any, Any]) -> Map:
    """The map from the fields of its hash."""
    places = {}
    for box, text in fields.items():
        x_ms, y_ms, height_ms, error = json.loads(text)
        places[str(box)] = Position(Coordinate(x_ms=x_ms, y_ms=y_ms, height_ms=height_ms), error)
    return Map(places, remote(spot.place for spot in places.values()))


def read_map(client: redis.Redis) -> Map:
    """The map now. Raises redis.RedisError."""
    return parse_map(client.hgetall(PLACES))


def located_statuses(client: redis.Redis) -> dict[str, BoxStatus]:
    """The last word of each box that is up, at the place that counts. Raises redis.RedisError."""
    drawn = read_map(client)
    return {box: drawn.located(status) for box, status in statuses(client).items()}
