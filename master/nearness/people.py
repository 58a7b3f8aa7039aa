"""Where people are: from the round trips to a few boxes that their own browser or command line measured.

Nobody can confirm what a person measured, and nobody has to: it decides where that person's own applications run. It
is kept per person and network, as round trips and not as a coordinate, for these stay right while the map moves. Who
asks from a network without having measured there gets the middle of what others measured.
"""

from __future__ import annotations

import ipaddress
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import redis
from pydantic import Field, TypeAdapter, ValidationError
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from common.errors import BadInput
from common.logs import get_logger
from common.words import BoxId, Coordinate, Endpoint, Frozen, RoundTripMs, distance_ms
from master.accounts.models import User
from master.boxes.services import statuses
from master.context import MasterContext
from master.nearness.map import Map, read_map
from master.nearness.models import Sighting

log = get_logger(__name__)

# So many boxes are measured: three circles meet in one point.
MOST_CANDIDATES = 3
NETWORKS_KEPT = 16
OTHERS_HEARD = 5
_PREFIXES = {4: 24, 6: 48}

RoundTrips = Mapping[BoxId, RoundTripMs]
_ROUND_TRIPS: TypeAdapter[dict[str, float]] = TypeAdapter(dict[BoxId, RoundTripMs])


class Near(Frozen):
    """Where the person was who asked for a deployment; kept with it."""

    coordinate: Coordinate | None = Field(None, description="None: nobody knows.")
    round_trips_ms: dict[BoxId, RoundTripMs] = Field(
        default_factory=dict, description="What was measured for this very request, by box."
    )


@dataclass(frozen=True)
class Seen:
    """Somebody at an address who measured these round trips; none: nothing was measured."""

    address: str = ""
    round_trips_ms: RoundTrips = field(default_factory=dict)


@dataclass(frozen=True)
class Candidate:
    """A box whose front is to be measured."""

    box: str
    front: Endpoint


def read_round_trips(text: str) -> dict[str, float]:
    """What a form sends; raises BadInput for anything but a few boxes with their milliseconds."""
    if not text.strip():
        return {}
    try:
        found = _ROUND_TRIPS.validate_json(text)
    except ValidationError as error:
        raise BadInput(
            "The measured round trips are not boxes with milliseconds.",
            field="round_trips",
            remedy="Open the form again.",
        ) from error
    if len(found) > MOST_CANDIDATES:
        raise BadInput(f"At most {MOST_CANDIDATES} boxes can be measured.", field="round_trips")
    return found


def network_of(address: str) -> str:
    """The network of an address: its /24, or /48 of IPv6; empty for what is no address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return str(ipaddress.ip_network(f"{parsed}/{_PREFIXES[parsed.version]}", strict=False))


# Who is measured


def candidates(context: MasterContext, user: User, address: str) -> list[Candidate]:
    """Up to three boxes, spread over the map, the first near where the person was last; none while Redis is away.

    What they would do for the person does not matter here: any box that stays where it is can be measured.
    """
    try:
        known, drawn = statuses(context.redis), read_map(context.redis)
    except redis.RedisError as error:
        log.warning("no candidates to measure", error=str(error))
        return []
    with context.database.read() as session:
        last = last_place(session, drawn, user, address, context.settings.nearness_kept_s)
    able = {box: status.front for box, status in known.items() if status.front is not None and status.fixed}
    placed = {box: drawn.places[box].place for box in able if box in drawn.places}
    # Which landmark comes first where nothing is known is no secret.
    first = min(placed, key=lambda box: distance_ms(last, placed[box])) if last and placed else None
    chosen = spread(placed, first, random.Random(user.id))  # noqa: S311
    chosen += [box for box in sorted(able) if box not in placed]
    return [Candidate(box, able[box]) for box in chosen[:MOST_CANDIDATES]]


def spread(places: Mapping[str, Coordinate], first: str | None, chance: random.Random) -> list[str]:
    """A few boxes as far from each other as can be, beginning with `first` or any (Gonzalez 1985)."""
    left = sorted(places)
    if not left:
        return []
    chosen = [first if first is not None else chance.choice(left)]
    while len(chosen) < min(MOST_CANDIDATES, len(left)):
        others = [box for box in left if box not in chosen]
        chosen.append(
            max(others, key=lambda box: min(distance_ms(places[box], places[one]) for one in chosen))
        )
    return chosen


# Where people are


def locate_person(context: MasterContext, user: User, seen: Seen) -> Near:
    """Where this person is: by what was measured now, else by what was measured last from that network."""
    try:
        drawn = read_map(context.redis)
    except redis.RedisError as error:
        log.warning("nobody knows where a person is", error=str(error))
        return Near(round_trips_ms=dict(seen.round_trips_ms))
    place = drawn.find(seen.round_trips_ms)
    if place is None:
        with context.database.read() as session:
            place = last_place(session, drawn, user, seen.address, context.settings.nearness_kept_s)
    return Near(coordinate=place, round_trips_ms=dict(seen.round_trips_ms))


def last_place(session: Session, drawn: Map, user: User, address: str, kept_s: float) -> Coordinate | None:
    """By what the person measured last from this network, else by the middle of what others did; none: nothing."""
    if not (network := network_of(address)):
        return None
    rows = session.scalars(
        select(Sighting)
        .where(Sighting.network == network, Sighting.at > time.time() - kept_s)
        .order_by((Sighting.user_id == user.id).desc(), Sighting.at.desc())
        .limit(1 + OTHERS_HEARD)
    ).all()
    found = {row.user_id: place for row in rows if (place := drawn.find(row.round_trips_ms)) is not None}
    return found.get(user.id) or _middle(list(found.values()))


def _middle(places: Sequence[Coordinate]) -> Coordinate | None:
    """One liar among several does not move it far."""
    if not places:
        return None
    return Coordinate(
        x_ms=median(place.x_ms for place in places),
        y_ms=median(place.y_ms for place in places),
        height_ms=median(place.height_ms for place in places),
    )


def remember(session: Session, user: User, seen: Seen, kept_s: float) -> None:
    """Keep what was measured for this person and network; what is too old or too much goes."""
    if not seen.round_trips_ms or not (network := network_of(seen.address)):
        return
    now = time.time()
    session.merge(
        Sighting(user_id=user.id, network=network, round_trips_ms=dict(seen.round_trips_ms), at=now)
    )
    session.flush()
    session.execute(delete(Sighting).where(Sighting.at < now - kept_s))
    own = select(Sighting).where(Sighting.user_id == user.id).order_by(Sighting.at.desc())
    for old in session.scalars(own.offset(NETWORKS_KEPT)):
        session.delete(old)
