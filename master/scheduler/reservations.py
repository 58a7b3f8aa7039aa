"""Reservations in Redis, taken by one Lua script so that no two schedulers ever give the same room away.

Each is a field `<instance>` of the hash `reserved:<box>`: JSON with the generation, the five amounts and the time
at which it expires (0: confirmed by SQL, it stays until it is released).
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

import redis

from common.names import EPOCH, EPOCH_READY, reserved_key, status_key
from common.words import Resources

_SCRIPT = """
-- KEYS: reserved:<box>, status:<box>, fleet:epoch, fleet:ready
-- ARGV: now, instance, reservation (JSON)
local epoch = redis.call('GET', KEYS[3])
if not epoch or epoch ~= redis.call('GET', KEYS[4]) then return 'not-ready' end
local status = redis.call('GET', KEYS[2])
if not status then return 'gone' end
status = cjson.decode(status)
local now = tonumber(ARGV[1])
local wanted = cjson.decode(ARGV[3])
local capacity, disk = status.capacity, status.disk
local room = {
  cpu = capacity.cpu,
  memory_bytes = capacity.memory_bytes,
  disk_bytes = math.max(0, disk.lent_bytes - disk.blobs_bytes - disk.engine_bytes - disk.filesets_bytes),
  bandwidth_bps = capacity.bandwidth_bps,
  gpu = capacity.gpu,
}
for _, pair in ipairs({redis.call('HGETALL', KEYS[1])}) do
  for i = 1, #pair, 2 do
    local other = cjson.decode(pair[i + 1])
    if other.expires_at > 0 and other.expires_at < now then
      redis.call('HDEL', KEYS[1], pair[i])
    elseif pair[i] == ARGV[2] then
      if other.generation > wanted.generation then return 'stale' end
    else
      for name, amount in pairs(other.amounts) do room[name] = room[name] - amount end
    end
  end
end
for name, amount in pairs(wanted.amounts) do
  if amount > room[name] + 0.000001 then return 'full:' .. name end
end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
return 'reserved'
"""


@dataclass(frozen=True)
class Reservation:
    """Room on one box for one generation of an instance."""

    box: str
    instance: str
    generation: int
    amounts: Resources
    expires_at: float = 0.0

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
    """Takes, confirms and releases room."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._script = client.register_script(_SCRIPT)

    def take(self, reservation: Reservation) -> str:
        """`reserved`, or why not: `full:<amount>`, `gone` (no status), `not-ready`, `stale`."""
        box = reservation.box
        answer = self._script(
            keys=[reserved_key(box), status_key(box), EPOCH, EPOCH_READY],
            args=[time.time(), reservation.instance, reservation.to_json()],
        )
        return str(answer)

    def confirm(self, reservation: Reservation) -> None:
        """Write a reservation that SQL vouches for; it does not expire."""
        self._redis.hset(reserved_key(reservation.box), reservation.instance, reservation.to_json())

    def release(self, box: str, instance: str) -> None:
        """Give the room back."""
        self._redis.hdel(reserved_key(box), instance)

    def of(self, box: str) -> list[Reservation]:
        """All reservations on a box, expired ones too."""
        fields = self._redis.hgetall(reserved_key(box))
        return [Reservation.from_json(box, str(name), str(text)) for name, text in fields.items()]


def total(reservations: list[Reservation], now: float) -> Resources:
    """The sum of those that have not expired."""
    live = [item.amounts for item in reservations if not 0 < item.expires_at < now]
    return sum(live, start=Resources())
