"""The heartbeat: the box's status record with a time to live, and the set of layers that it holds.

Both are written anew in full when the box's worker starts and when `fleet:epoch` changes (Redis was wiped);
in between, the set of layers is kept up by what came and went. What came is told at once and not with the next
regular beat: the next placement can then name this box.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from datetime import datetime
from secrets import token_hex
from typing import Protocol

import redis

from common.addresses import is_loopback
from common.logs import get_logger
from common.names import EPOCH, layers_key, status_key, timers_key
from common.status import BoxStatus, DiskUse
from common.words import Endpoint, Resources, Role
from workers.box import capacity
from workers.box.nearness import NearnessFacts
from workers.box.owner import Switch
from workers.box.pulse import Pulse
from workers.box.role import BoxContext, RoleFacts, RoleWorker
from workers.depository.holdings import Timer

log = get_logger(__name__)

TIMERS_EVERY_S = 60.0
# How soon it is noticed that a layer came or went.
LOOK_S = 0.25


class Layers(Protocol):
    """The blobs of a box, as its depository keeps account of them."""

    def digests(self) -> set[str]:
        """All that are held."""

    def sequence(self) -> int:
        """Grows with every blob that comes or goes."""

    def timers(self) -> list[Timer]:
        """When each was last used."""


class Place(Protocol):
    """Where the box is in network space."""

    def facts(self) -> NearnessFacts:
        """As it knows by now."""


class Heartbeat:
    """Writes the status of one box."""

    def __init__(
        self,
        context: BoxContext,
        roles: Iterable[RoleWorker],
        layers: Layers,
        place: Place,
        pulse: Pulse,
    ) -> None:
        self._context = context
        self._place = place
        self._roles = list(roles)
        self._layers = layers
        self._pulse = pulse
        self._capacity = capacity.detect(context.config)
        self._epoch = token_hex(8)
        self._sequence = 0
        self._redis_epoch: str | None = None
        self._sent: set[str] = set()
        self._layers_sequence = -1
        self._timers_at = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Send the first record now and then one every `status_every_s`."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more; the record expires by itself."""
        self._stop.set()

    def _loop(self) -> None:
        while True:
            try:
                self.beat()
                self._pulse.beat()
            except redis.RedisError as error:
                log.warning("status not sent", error=str(error))
                self._redis_epoch = None  # whether the last writes arrived is unknown: send all again
                self._pulse.beat(f"Redis does not answer ({type(error).__name__}).")
            except Exception:
                # A box without a heartbeat is lost for the master: go on, and say what went wrong.
                log.exception("status not made")
            if not self._pause():
                return

    def _pause(self) -> bool:
        """Until the next beat is due, or there is news of layers; False when it was the last one."""
        due_at = time.monotonic() + self._context.config.status_every_s
        while (left_s := due_at - time.monotonic()) > 0:
            if self._stop.wait(min(LOOK_S, left_s)):
                return False
            # While Redis is away nothing is sooner than the next regular beat.
            if self._redis_epoch is not None and self._layers.sequence() != self._layers_sequence:
                return True
        return not self._stop.is_set()

    def beat(self) -> None:
        """Write the layers that changed and the record, both or nothing. Raises redis.RedisError."""
        client, config = self._context.redis, self._context.config
        epoch = str(client.get(EPOCH) or "")
        # Read first: what comes while the set is written is then sent with the next beat.
        sequence, held = self._layers.sequence(), self._sent
        pipe = client.pipeline(transaction=True)
        if sequence != self._layers_sequence or epoch != self._redis_epoch:
            held = self._layers.digests()
            self._write_layers(pipe, held, everything=epoch != self._redis_epoch)
        record = self.record(epoch, sequence)
        pipe.set(status_key(config.box), record.model_dump_json(), ex=max(1, round(config.status_ttl_s)))
        pipe.execute()
        self._redis_epoch, self._sent, self._layers_sequence = epoch, held, sequence
        self._sequence += 1
        self._send_timers()

    def _write_layers(self, pipe: redis.client.Pipeline, held: set[str], *, everything: bool) -> None:
        key = layers_key(self._context.config.box)
        came, went = (held, set()) if everything else (held - self._sent, self._sent - held)
        if everything:
            pipe.delete(key)
        if came:
            pipe.sadd(key, *came)
        if went:
            pipe.srem(key, *went)

    def _send_timers(self) -> None:
        """For people only, so once a minute is enough."""
        if time.monotonic() - self._timers_at < TIMERS_EVERY_S:
            return
        key = timers_key(self._context.config.box)
        timers = {item.digest: item.used_at for item in self._layers.timers()}
        pipe = self._context.redis.pipeline(transaction=True)
        pipe.delete(key)
        if timers:
            pipe.zadd(key, timers)
        pipe.execute()
        self._timers_at = time.monotonic()

    def record(self, redis_epoch: str, layers_sequence: int) -> BoxStatus:
        """The box as it is now; `layers_sequence` is that of the layers written with it."""
        config = self._context.config
        facts = [role.facts() for role in self._roles]
        load, temperature_c = capacity.load_per_core(), capacity.temperature_c()
        paused = config.owner_rules.paused(
            datetime.now().astimezone(), load, temperature_c, is_off=Switch(config.state_dir).is_off
        )
        place = self._place.facts()
        alert = " ".join(fact.alert for fact in facts if fact.alert)
        return BoxStatus(
            box=config.box,
            epoch=self._epoch,
            sequence=self._sequence,
            redis_epoch=redis_epoch,
            at=time.time(),
            roles=config.roles,
            kind=config.kind,
            open=config.open and not alert,
            alert=alert[:500],
            fixed=config.fixed,
            architecture=capacity.architecture(),
            engine=next((fact.engine for fact in facts if fact.engine is not None), None),
            labels=config.labels,
            coordinate=place.coordinate,
            coordinate_error=place.error,
            round_trips_ms=place.round_trips_ms,
            master_ms=place.master_ms,
            capacity=self._capacity,
            used=sum((fact.used for fact in facts), Resources()),
            load=load,
            temperature_c=temperature_c,
            paused=paused,
            disk=self._disk(facts),
            instances=sum(fact.instances for fact in facts),
            prewarmed={subject: count for fact in facts for subject, count in fact.prewarmed.items()},
            layers_sequence=layers_sequence,
            layer_timer_s=config.layer_timer_s,
            offers_layers=config.offer_layers or Role.DEPOSITORY in config.roles,
            filesets=[holding for fact in facts for holding in fact.filesets],
            front=self._endpoint(config.front_port, tls=not is_loopback(config.address)),
            filestore=self._endpoint(config.filestore_port) if Role.FILESTORE in config.roles else None,
        )

    def _disk(self, facts: list[RoleFacts]) -> DiskUse:
        return DiskUse(
            lent_bytes=self._capacity.disk_bytes,
            blobs_bytes=sum(fact.blobs_bytes for fact in facts),
            engine_bytes=sum(fact.engine_bytes for fact in facts),
            filesets_bytes=sum(fact.filesets_bytes for fact in facts),
        )

    def _endpoint(self, port: int, *, tls: bool = False) -> Endpoint:
        return Endpoint(host=self._context.config.address, port=port, tls=tls)
