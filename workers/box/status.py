"""The heartbeat: the box's status record with a time to live, and the set of layers that it holds.

Both are written anew in full when the box's worker starts and when `fleet:epoch` changes (Redis was wiped);
in between, the set of layers is kept up by what came and went.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from datetime import datetime
from secrets import token_hex
from typing import Protocol

import redis

from common.logs import get_logger
from common.names import EPOCH, layers_key, status_key, timers_key
from common.redis_client import is_loopback
from common.status import BoxStatus, DiskUse
from common.words import Endpoint, Resources, Role
from workers.box import capacity
from workers.box.owner import Switch
from workers.box.role import BoxContext, RoleFacts, RoleWorker
from workers.depository.holdings import Timer

log = get_logger(__name__)

TIMERS_EVERY_S = 60.0


class Layers(Protocol):
    """The blobs of a box, as its depository keeps account of them."""

    def digests(self) -> set[str]:
        """All that are held."""

    def sequence(self) -> int:
        """Grows with every blob that comes or goes."""

    def timers(self) -> list[Timer]:
        """When each was last used."""


class Heartbeat:
    """Writes the status of one box."""

    def __init__(self, context: BoxContext, roles: Iterable[RoleWorker], layers: Layers) -> None:
        self._context = context
        self._roles = list(roles)
        self._layers = layers
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
            except redis.RedisError as error:
                log.warning("status not sent", error=str(error))
                self._redis_epoch = None  # whether the last writes arrived is unknown: send all again
            except Exception:
                # A box without a heartbeat is lost for the master: go on, and say what went wrong.
                log.exception("status not made")
            if self._stop.wait(self._context.config.status_every_s):
                return

    def beat(self) -> None:
        """Write the layers that changed, then the record. Raises redis.RedisError."""
        client, config = self._context.redis, self._context.config
        epoch = str(client.get(EPOCH) or "")
        self._sync_layers(everything=epoch != self._redis_epoch)
        self._redis_epoch = epoch
        self._send_timers()
        record = self.record(epoch)
        client.set(status_key(config.box), record.model_dump_json(), ex=max(1, round(config.status_ttl_s)))
        self._sequence += 1

    def _sync_layers(self, *, everything: bool) -> None:
        # Read first: what comes while the set is written is then sent with the next beat.
        sequence = self._layers.sequence()
        if sequence == self._layers_sequence and not everything:
            return
        now, key = self._layers.digests(), layers_key(self._context.config.box)
        came, went = (now, set()) if everything else (now - self._sent, self._sent - now)
        pipe = self._context.redis.pipeline(transaction=True)
        if everything:
            pipe.delete(key)
        if came:
            pipe.sadd(key, *came)
        if went:
            pipe.srem(key, *went)
        pipe.execute()
        self._sent, self._layers_sequence = now, sequence

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

    def record(self, redis_epoch: str) -> BoxStatus:
        """The box as it is now."""
        config = self._context.config
        facts = [role.facts() for role in self._roles]
        load, temperature_c = capacity.load_per_core(), capacity.temperature_c()
        paused = config.owner_rules.paused(
            datetime.now().astimezone(), load, temperature_c, is_off=Switch(config.state_dir).is_off
        )
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
            coordinate=config.coordinate,
            capacity=self._capacity,
            used=sum((fact.used for fact in facts), Resources()),
            load=load,
            temperature_c=temperature_c,
            paused=paused,
            disk=self._disk(facts),
            instances=sum(fact.instances for fact in facts),
            layers_sequence=max(0, self._layers_sequence),
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
