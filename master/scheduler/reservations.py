"""Reservations in Redis, taken by one Lua script so that no two schedulers ever give the same room away.

Each is a field `<instance>` of the hash `reserved:<box>`: JSON with the generation, the five amounts and the time
at which it expires (0: confirmed by SQL, it stays until it is released). The field `=` of the same hash holds their
sums, so that a decision costs the same however many there are; both live and die together, and sums that are
missing are added up again. What may still expire stands in `expiring:<box>` too. Every change is told on the
stream `fleet:changes`, with the new sums, in the same step.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import redis
from redis.client import Pipeline

from common.names import CHANGES, EPOCH, EPOCH_READY, expiring_key, reserved_key, status_key
from common.words import Resources

SUMS = "="
MICRO = 1_000_000
# About so many changes are kept: a scheduler that is further behind reads everything anew.
CHANGES_KEPT = 10_000

# Sums are whole numbers (cores in millionths), so that adding and taking leaves no rounding behind.
_SHARED = """
local KEY, EXPIRING, STREAM, BOX, KEPT = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2]
local NAMES = {'cpu', 'memory_bytes', 'disk_bytes', 'bandwidth_bps', 'gpu'}

local function amounts(reservation)
  local a = reservation.amounts
  return {math.floor(a.cpu * 1000000 + 0.5), a.memory_bytes, a.disk_bytes, a.bandwidth_bps, a.gpu}
end

local function add(sums, row, sign)
  for i = 1, 5 do sums[i] = sums[i] + sign * row[i] end
end

local function sums_now()
  local sums, text = {0, 0, 0, 0, 0}, redis.call('HGET', KEY, '=')
  if text then
    local i = 0
    for part in string.gmatch(text, '%S+') do i = i + 1; sums[i] = tonumber(part) end
    return sums
  end
  local all = redis.call('HGETALL', KEY)
  for i = 1, #all, 2 do add(sums, amounts(cjson.decode(all[i + 1])), 1) end
  return sums
end

local function shown(sums)
  return string.format('%.0f %.0f %.0f %.0f %.0f', unpack(sums))
end

local function put(sums, instance, text)
  local before = redis.call('HGET', KEY, instance)
  if before then add(sums, amounts(cjson.decode(before)), -1) end
  if text then
    local reservation = cjson.decode(text)
    add(sums, amounts(reservation), 1)
    redis.call('HSET', KEY, instance, text)
    if reservation.expires_at > 0 then
      redis.call('ZADD', EXPIRING, reservation.expires_at, instance)
    else
      redis.call('ZREM', EXPIRING, instance)
    end
  elseif before then
    redis.call('HDEL', KEY, instance)
    redis.call('ZREM', EXPIRING, instance)
  end
end

local function write(sums)
  local text = shown(sums)
  if redis.call('HLEN', KEY) == 1 and redis.call('HEXISTS', KEY, '=') == 1 then
    redis.call('DEL', KEY)
  elseif redis.call('EXISTS', KEY) == 1 then
    redis.call('HSET', KEY, '=', text)
  end
  redis.call('XADD', STREAM, 'MAXLEN', '~', KEPT, '*', 'box', BOX, 'held', text)
end
"""

_TAKE = (
    _SHARED
    + """
-- KEYS 4..6: status:<box>, fleet:epoch, fleet:ready. ARGV 3..5: now, instance, reservation (JSON)
local epoch = redis.call('GET', KEYS[5])
if not epoch or epoch ~= redis.call('GET', KEYS[6]) then return 'not-ready' end
local status = redis.call('GET', KEYS[4])
if not status then return 'gone' end
status = cjson.decode(status)
local capacity, disk = status.capacity, status.disk
local free = math.max(0, disk.lent_bytes - disk.blobs_bytes - disk.engine_bytes - disk.filesets_bytes)
local room = amounts({amounts = {
  cpu = capacity.cpu, memory_bytes = capacity.memory_bytes, disk_bytes = free,
  bandwidth_bps = capacity.bandwidth_bps, gpu = capacity.gpu,
}})
local sums = sums_now()
for _, instance in ipairs(redis.call('ZRANGEBYSCORE', EXPIRING, '-inf', '(' .. ARGV[3], 'LIMIT', 0, 100)) do
  put(sums, instance, nil)
end
local wanted = cjson.decode(ARGV[5])
local own = redis.call('HGET', KEY, ARGV[4])
local others = {unpack(sums)}
if own then
  own = cjson.decode(own)
  if own.generation > wanted.generation then return 'stale' end
  add(others, amounts(own), -1)
end
local needs = amounts(wanted)
for i = 1, 5 do
  if needs[i] > room[i] - others[i] and needs[i] > 0 then return 'full:' .. NAMES[i] end
end
put(sums, ARGV[4], ARGV[5])
write(sums)
return 'reserved'
"""
)

# ARGV 3, 4: instance, reservation (JSON; empty: release)
_PUT = (
    _SHARED
    + """
local sums = sums_now()
local before = shown(sums)
put(sums, ARGV[3], ARGV[4] ~= '' and ARGV[4] or nil)
if shown(sums) ~= before or redis.call('HEXISTS', KEY, '=') == 0 then write(sums) end
"""
)


@dataclass(frozen=True)
class Reservation:
    """Room on one box for one generation of an instance."""

    box: str
    instance: str
    generation: int
    amounts: Resources
    expires_at: float = 0.0

    @property
    def confirmed(self) -> Reservation:
        """The same, for good."""
        return replace(self, expires_at=0.0)

    def to_json(self) -> str:
        """As it lies in Redis."""
        return json.dumps(
            {
                "generation": self.generation,
                "amounts": self.amounts.model_dump(),
                "expires_at": self.expires_at,
            }
        )

    @classmethod
    def from_json(cls, box: str, instance: str, text: str) -> Reservation:
        """From what lies in Redis."""
        value = json.loads(text)
        return cls(box, instance, value["generation"], Resources(**value["amounts"]), value["expires_at"])


class Reservations:
    """Takes, confirms and releases room. Every method raises redis.RedisError when Redis is away."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._take = client.register_script(_TAKE)
        self._put = client.register_script(_PUT)

    def take(self, reservation: Reservation) -> str:
        """`reserved`, or why not: `full:<amount>`, `gone` (no status), `not-ready`, `stale`."""
        return self.take_all([reservation])[0]

    def take_all(self, reservations: Sequence[Reservation]) -> list[str]:
        """The answers to many, each decided by itself, in one round trip."""
        if not reservations:
            return []
        now = time.time()
        with self._redis.pipeline(transaction=False) as pipe:
            for item in reservations:
                self._take(
                    keys=[*_keys(item.box), status_key(item.box), EPOCH, EPOCH_READY],
                    args=[item.box, CHANGES_KEPT, now, item.instance, item.to_json()],
                    client=pipe,
                )
            return [str(answer) for answer in pipe.execute()]

    def confirm(self, *reservations: Reservation) -> None:
        """Write reservations that SQL vouches for; they do not expire."""
        self._write((item.box, item.instance, item.confirmed.to_json()) for item in reservations)

    def release(self, box: str, *instances: str) -> None:
        """Give the room back."""
        self._write((box, instance, "") for instance in instances)

    def _write(self, changes: Iterable[tuple[str, str, str]]) -> None:
        with self._redis.pipeline(transaction=False) as pipe:
            for box, instance, text in changes:
                self._put(keys=_keys(box), args=[box, CHANGES_KEPT, instance, text], client=pipe)
            pipe.execute()

    def of(self, box: str) -> list[Reservation]:
        """All reservations on a box, expired ones too."""
        fields = self._redis.hgetall(reserved_key(box))
        return [
            Reservation.from_json(box, str(name), str(text)) for name, text in fields.items() if name != SUMS
        ]

    def sums(self, box: str) -> Resources:
        """What all reservations on a box hold together."""
        text = self._redis.hget(reserved_key(box), SUMS)
        return read_sums(None if text is None else str(text))


def _keys(box: str) -> list[str]:
    return [reserved_key(box), expiring_key(box), CHANGES]


def queue_sums(pipe: Pipeline, box: str) -> None:
    """Ask for the sums of a box's reservations; `read_sums` understands the answer."""
    pipe.hget(reserved_key(box), SUMS)


def read_sums(text: str | None) -> Resources:
    """Sums as they lie in Redis and on the stream; nothing for a box without reservations."""
    if not text:
        return Resources()
    cpu, *others = (max(0, int(part)) for part in text.split())
    memory_bytes, disk_bytes, bandwidth_bps, gpu = others
    return Resources(
        cpu=cpu / MICRO,
        memory_bytes=memory_bytes,
        disk_bytes=disk_bytes,
        bandwidth_bps=bandwidth_bps,
        gpu=gpu,
    )
