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
from master.boxes.models import Box
from master.boxes.services import statuses
from master.context import MasterContext
from master.nearness.fronts import measurable_fronts
from master.nearness.map import read_map
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
    round_trips_ms: dict[BoxId, RoundTripMs] = Field(default_factory=dict, description="By box.")
    fresh: bool = Field(False, description="Measured for this very request, not some time before.")


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
    """Up to three boxes to measure; none while Redis is away.

    The first is the nearest by what was measured last, the next one in the person's own network or of the person's
    own, which no map shows to be near; the rest lie as far off as can be. What they would do for the person does
    not matter here: any box that stays where it is can be measured.
    """
    try:
        known, drawn = statuses(context.redis), read_map(context.redis)
    except redis.RedisError as error:
        log.warning("no candidates to measure", error=str(error))
        return []
    with context.database.read() as session:
        last = last_round_trips(session, user, address, context.settings.nearness_kept_s)
        own = set(session.scalars(select(Box.id).where(Box.owner_id == user.id)))
        fronts = measurable_fronts(session, known)
    able = {box: front for box, front in fronts.items() if known[box].fixed}
    placed = {box: drawn.places[box].place for box in able if box in drawn.places}
    # Which landmark is taken of several that are as good is no secret.
    chance = random.Random(user.id)  # noqa: S311
    first = []
    if placed and (here := drawn.find(last)) is not None:
        first = [min(placed, key=lambda box: last.get(box, distance_ms(here, placed[box])))]
    network = network_of(address)
    beside = [box for box, front in able.items() if box in own or network_of(front.host) == network]
    if beside := sorted(set(beside) - set(first)):
        first.append(chance.choice(beside))
    chosen = spread(placed, first, chance)
    chosen += sorted(set(able) - set(chosen))
    return [Candidate(box, able[box]) for box in chosen[:MOST_CANDIDATES]]


def spread(places: Mapping[str, Coordinate], first: Sequence[str], chance: random.Random) -> list[str]:
    """`first` and more, as far from each other as can be (Gonzalez 1985), until there are enough."""
    chosen = list(first)
    left = sorted(set(places) - set(chosen))
    while left and len(chosen) < MOST_CANDIDATES:
        from_here = [places[box] for box in chosen if box in places]
        if from_here:
            box = max(left, key=lambda one: min(distance_ms(places[one], other) for other in from_here))
        else:
            box = chance.choice(left)
        left.remove(box)
        chosen.append(box)
    return chosen


# Where people are


def locate_person(context: MasterContext, user: User, seen: Seen) -> Near:
    """Where this person is: by what was measured now, else by what was measured last from that network."""
    trips = dict(seen.round_trips_ms)
    if not trips:
        with context.database.read() as session:
            trips = last_round_trips(session, user, seen.address, context.settings.nearness_kept_s)
    try:
        place = read_map(context.redis).find(trips)
    except redis.RedisError as error:
        log.warning("nobody knows where a person is", error=str(error))
        place = None
    return Near(coordinate=place, round_trips_ms=trips, fresh=bool(seen.round_trips_ms))


def last_round_trips(session: Session, user: User, address: str, kept_s: float) -> dict[str, float]:
    """What the person measured last from this network, else the middle of what others did there."""
    if not (network := network_of(address)):
        return {}
    rows = session.scalars(
        select(Sighting)
        .where(Sighting.network == network, Sighting.at > time.time() - kept_s)
        .order_by((Sighting.user_id == user.id).desc(), Sighting.at.desc())
        .limit(OTHERS_HEARD)
    ).all()
    if rows and rows[0].user_id == user.id:
        return rows[0].round_trips_ms
    return _middle([row.round_trips_ms for row in rows])


def _middle(told: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """By box, of those that half of the people measured: one liar among several leads nobody astray."""
    boxes = {box for trips in told for box in trips}
    by_box = {box: [trips[box] for trips in told if box in trips] for box in boxes}
    return {box: median(found) for box, found in by_box.items() if 2 * len(found) >= len(told)}


def remember(session: Session, user: User, seen: Seen, kept_s: float) -> None:
    """Keep what was measured for this person and network; what is too old or too much goes."""
    if not seen.round_trips_ms or not (network := network_of(seen.address)):
        return
    now = time.time()
    session.get(User, user.id, with_for_update=True)  # two requests at once must not insert the same row
    session.merge(
        Sighting(user_id=user.id, network=network, round_trips_ms=dict(seen.round_trips_ms), at=now)
    )
    session.flush()
    session.execute(delete(Sighting).where(Sighting.at < now - kept_s))
    own = select(Sighting).where(Sighting.user_id == user.id).order_by(Sighting.at.desc())
    for old in session.scalars(own.offset(NETWORKS_KEPT)):
        session.delete(old)
