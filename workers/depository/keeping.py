"""How a box keeps layers, whatever its roles: what is needed stays, timers and lack of room decide the rest."""

from __future__ import annotations

import time
from typing import TypeGuard

from redis.exceptions import RedisError

from common.logs import get_logger
from common.names import EPOCH, status_key
from common.reports import Held
from common.status import BoxStatus
from common.wishes import ComputeWish, HoldWish, OfferWish, Wish
from workers.box.role import BoxContext
from workers.depository.holdings import Holdings

log = get_logger(__name__)

# The subject of reports about blobs that no wish asked for: pushed ones, and those fetched for a launch.
BLOBS_SUBJECT = "blobs"


def needed(context: BoxContext, without: str = "") -> set[str]:
    """The blobs that a wish in force names, other than the depository's wish of the subject `without`."""
    digests: set[str] = set()
    for wish in context.wishes.all():
        if isinstance(wish, OfferWish) and wish.wanted == "offered":
            digests.update(wish.blobs)
        elif _keeps_image(wish, without):
            digests.update(blob.digest for blob in wish.image.blobs)
    return digests


def _keeps_image(wish: Wish, without: str) -> TypeGuard[HoldWish | ComputeWish]:
    if isinstance(wish, HoldWish):
        return wish.wanted == "held" and wish.subject != without
    return isinstance(wish, ComputeWish) and wish.wanted == "running"


class Keeper:
    """Called every few seconds by one role of a box (the depository, else compute)."""

    def __init__(self, context: BoxContext, holdings: Holdings) -> None:
        self._context = context
        self._holdings = holdings

    def tidy(self) -> None:
        """Report new blobs, drop unused ones, and unfinished downloads that nobody goes on with."""
        self.report_new()
        timer_s = self._context.config.layer_timer_s
        self._holdings.expire(needed(self._context), timer_s=timer_s, room_bytes=self._room_bytes())
        self._drop_unfinished("*.upload", self._context.config.upload_timer_s)
        self._drop_unfinished("*", timer_s)

    def make_room(self, size_bytes: int) -> int:
        """Drop unused layers until `size_bytes` more fit; returns how many bytes are still too many."""
        room = self._room_bytes()
        if room is None:
            room = self._context.config.lent_bytes
        left = max(0, room - size_bytes)
        timer_s = self._context.config.layer_timer_s
        self._holdings.expire(needed(self._context), timer_s=timer_s, room_bytes=left)
        return max(0, self._holdings.size_bytes() + size_bytes - room)

    def report_new(self) -> None:
        """Tell the master of blobs that it was not told of since its Redis began anew."""
        try:
            epoch = str(self._context.redis.get(EPOCH) or "")
        except RedisError as error:
            log.debug("blobs not reported", error=str(error))  # the next turn reports them
            return
        while blobs := self._holdings.unreported(epoch):
            if not self._context.reporter.send(Held(subject=BLOBS_SUBJECT, generation=0, blobs=blobs)):
                return  # the next turn reports them
            self._holdings.mark_reported([blob.digest for blob in blobs], epoch)

    def _room_bytes(self) -> int | None:
        """What blobs may take so that enough of the lent space stays free; none while that is unknown."""
        config = self._context.config
        try:
            text = self._context.redis.get(status_key(config.box))
        except RedisError:
            return None
        if not text:
            return None
        disk = BoxStatus.model_validate_json(str(text)).disk
        others = disk.engine_bytes + disk.filesets_bytes
        return max(0, config.lent_bytes - config.free_bytes - others)

    def _drop_unfinished(self, pattern: str, idle_s: float) -> None:
        before = time.time() - idle_s
        for path in (self._holdings.store.root / "ingest").glob(pattern):
            try:
                if path.stat().st_mtime < before:
                    path.unlink()
            except FileNotFoundError:
                continue  # it was finished meanwhile
