"""Tells the master which transfers run on this box, from the worker process: the front has no Redis."""

from __future__ import annotations

import threading
import time

import redis

from common.errors import OpenRaaSError
from common.logs import get_logger
from common.names import transfers_key
from common.transfers import MOST_TRANSFERS, TRANSFERS_TTL_S, BoxTransfers
from workers.box.role import BoxContext
from workers.depository.client import LayersClient

log = get_logger(__name__)

# While something runs it is told so often.
EVERY_S = 1.0
# While nothing runs the front is asked once and answers when something does, at the latest after this.
IDLE_S = 15.0
# A front or a Redis that does not answer is asked again after this.
PAUSE_S = 5.0


class Teller:
    """One per worker process."""

    def __init__(self, context: BoxContext, *, every_s: float = EVERY_S, idle_s: float = IDLE_S) -> None:
        self._context = context
        self._client = LayersClient(context.paths)
        self._every_s = every_s
        self._idle_s = idle_s
        self._told = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="transfers", daemon=True)

    def start(self) -> None:
        """Tell from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Tell no more; the record expires by itself."""
        self._stop.set()

    def _loop(self) -> None:
        pause_s = 0.0
        while not self._stop.wait(pause_s):
            try:
                pause_s = self._every_s if self.tell() else 0.0
            except (OpenRaaSError, redis.RedisError) as error:
                log.debug("transfers not told", error=str(error))
                pause_s = PAUSE_S
            except Exception:
                # For people only: whatever is wrong with it must not end it.
                log.exception("transfers not told")
                pause_s = PAUSE_S

    def tell(self) -> bool:
        """Write down what runs; returns whether anything does. Raises Unavailable, redis.RedisError."""
        box, client = self._context.config.box, self._context.redis
        found = self._client.running(wait_s=0.0 if self._told else self._idle_s)
        if found:
            record = BoxTransfers(
                box=box,
                at=time.time(),
                transfers=found[:MOST_TRANSFERS],
                more=max(0, len(found) - MOST_TRANSFERS),
            )
            client.set(transfers_key(box), record.model_dump_json(), ex=TRANSFERS_TTL_S)
        elif self._told:
            client.delete(transfers_key(box))
        self._told = bool(found)
        return self._told
