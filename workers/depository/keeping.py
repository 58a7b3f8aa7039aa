"""How a box keeps layers, whatever its roles: what is needed stays, timers and lack of room decide the rest."""

from __future__ import annotations

import time

from redis.exceptions import RedisError

from common.logs import get_logger
from common.names import EPOCH
from common.reports import Ended, Held, Referred
from common.status import DiskUse
from common.wishes import ComputeWish, HoldWish, LayersWish, OfferWish, WarmWish, Wish
from workers.box.lent_space import LentSpace
from workers.box.role import BoxContext, EngineImages
from workers.depository.eviction import Blob, Plan, Unpacked, explain, outlive, plan
from workers.depository.holdings import Holdings, Timer
from workers.depository.living import drop_dead
from workers.depository.permits import Permits
from workers.depository.referrers import Referrers

log = get_logger(__name__)

# The subject of reports about blobs that no wish asked for: pushed ones, and those fetched for a launch.
BLOBS_SUBJECT = "blobs"

# Who needs what may not go, as it is told to people.
INSTANCES = "for instances"
OFFERS = "offered to instances elsewhere"
PREWARMED = "for instances that are to be ready"
HOLDS = "of images to be held"
PINS = "pinned"
LAST = "without enough copies elsewhere"


def _wished(context: BoxContext, without: str) -> dict[str, str]:
    """The blobs that a wish in force names, with who needs each."""
    digests: dict[str, str] = {}
    for wish in context.wishes.all():
        if wish.role == "depository" and wish.subject == without:
            continue
        reason, named = _named(wish)
        for digest in named:
            digests.setdefault(digest, reason)
    return digests


def _named(wish: Wish) -> tuple[str, list[str]]:
    if isinstance(wish, OfferWish) and wish.wanted == "offered":
        return OFFERS, list(wish.blobs)
    if isinstance(wish, LayersWish) and wish.wanted == "kept":
        return PINS, list(wish.blobs)
    if isinstance(wish, HoldWish) and wish.wanted == "held":
        return HOLDS, [blob.digest for blob in wish.image.blobs]
    if isinstance(wish, ComputeWish) and wish.wanted == "running":
        return INSTANCES, [blob.digest for blob in wish.image.blobs]
    if isinstance(wish, WarmWish) and wish.wanted == "kept":
        return PREWARMED, [blob.digest for blob in wish.image.blobs]
    return "", []


def needed_unpacked(context: BoxContext) -> dict[str, str]:
    """Manifests of the images that have to stay unpacked in the engine, with who needs each."""
    found: dict[str, str] = {}
    for wish in context.wishes.all():
        if isinstance(wish, ComputeWish) and wish.wanted == "running":
            found[wish.image.manifest] = INSTANCES
        elif isinstance(wish, WarmWish) and wish.wanted == "kept":
            found[wish.image.manifest] = PREWARMED
        elif isinstance(wish, LayersWish) and wish.wanted == "kept":
            found.update(dict.fromkeys(wish.blobs, PINS))
    return found


class Keeper:
    """The rules of one box's layers. `tidy` and `keep` are each for one role of a box, `make_room` for all."""

    def __init__(self, context: BoxContext, holdings: Holdings) -> None:
        self._context = context
        self._holdings = holdings
        self._permits = Permits(context)
        self._referrers = Referrers(context.table, holdings)
        self.space = LentSpace(context.config, context.table)

    def tidy(self) -> None:
        """Report what is new, drop what the master says, and unfinished downloads that nobody goes on with."""
        self.report_new()
        self._report_referrers()
        self._obey()
        self._drop_unfinished("*.upload", self._context.config.upload_timer_s)
        self._drop_unfinished("*", self._context.config.layer_timer_s)

    def needed(self, without: str = "") -> dict[str, str]:
        """The blobs that a wish in force names and what refers to them, with who needs each.

        `without` is the subject of a depository's wish that does not count.
        """
        digests = _wished(self._context, without)
        kept_with, looked = self._referrers.kept_with(), list(digests)
        while looked:
            subject = looked.pop()
            for blob in kept_with.get(subject, ()):
                if blob not in digests:
                    digests[blob] = digests[subject]
                    looked.append(blob)
        return digests

    def know(self, engine: EngineImages) -> None:
        """The role compute has found the engine of this box; all keepers of the box know it from now on."""
        self._context.found.engine_images = engine

    def keep(self) -> None:
        """Drop what expired and, if too little of the lent space is free, more; else close the box and say why.

        Raises an OpenRaaSError if the engine does not answer.
        """
        wanted = self.space.keep_free_bytes
        decision, use = self._drop_until(wanted)
        message = explain(
            decision,
            lent_bytes=use.lent_bytes,
            wanted_bytes=wanted,
            filesets_bytes=use.filesets_bytes,
        )
        self.space.raise_alert(message)

    def make_room(self, size_bytes: int) -> int:
        """Drop unneeded images and layers until `size_bytes` more fit; returns how many bytes are still too many.

        Raises an OpenRaaSError if the engine does not answer.
        """
        decision, _ = self._drop_until(self.space.keep_free_bytes + size_bytes)
        return max(0, decision.short_bytes - 1)

    def _drop_until(self, wanted_bytes: int) -> tuple[Plan, DiskUse]:
        """Drop what expired, and what nobody needs until more than so much is free; images of the engine first."""
        engine = self._context.found.engine_images
        images = engine.measure(needed_unpacked(self._context)) if engine is not None else []
        use = self.space.use(self._holdings.size_bytes())
        decision = self._plan(images, use.raw_free_bytes, wanted_bytes)
        if decision.images and engine is not None:
            for name in decision.images:
                engine.remove(name)
            engine.measure({})
        self._drop(decision)
        return decision, use

    def _plan(self, images: list[Unpacked], free_bytes: int, wanted_bytes: int) -> Plan:
        reasons, spare, now = self.needed(), self._permits.spare(), time.time()
        timers = self._holdings.timers()
        used_at = outlive({item.digest: item.used_at for item in timers}, self._referrers.kept_with())
        blobs = [
            Blob(item.digest, item.size_bytes, used_at[item.digest], _keeper(item, reasons, spare, now))
            for item in timers
        ]
        timer_s = self._context.config.layer_timer_s
        return plan(blobs, images, now=now, timer_s=timer_s, free_bytes=free_bytes, wanted_bytes=wanted_bytes)

    def _drop(self, decision: Plan) -> None:
        if decision.blobs:
            self._holdings.drop(decision.blobs)
            log.info("layers dropped", blobs=len(decision.blobs))

    def _obey(self) -> None:
        """Drop what somebody told the master to have dropped here; what is needed stays, and so does the wish."""
        for wish in self._context.wishes.all():
            if not isinstance(wish, LayersWish) or wish.wanted != "evicted":
                continue
            here = self._holdings.digests().intersection(wish.blobs)
            free = here - self.needed().keys()
            if free:
                self._holdings.drop(free)
                log.info("layers evicted", blobs=len(free))
            if free == here:
                self._context.reporter.send(Ended(subject=wish.subject, generation=wish.generation))

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

    def _report_referrers(self) -> None:
        """Tell the master what was pushed here that refers to images, so that it is kept and copied with them."""
        told = self._referrers.untold()
        if told and self._context.reporter.send(
            Referred(subject=BLOBS_SUBJECT, generation=0, referrers=told)
        ):
            self._referrers.mark_told(item.digest for item in told)

    def _drop_unfinished(self, pattern: str, idle_s: float) -> None:
        before = time.time() - idle_s
        for path in (self._holdings.store.root / "ingest").glob(pattern):
            try:
                is_old = path.stat().st_mtime < before
            except FileNotFoundError:
                continue  # it was finished meanwhile
            if is_old:
                drop_dead(path)


def _keeper(blob: Timer, reasons: dict[str, str], spare: frozenset[str], now: float) -> str:
    """Who needs a blob; empty if it may go."""
    if reason := reasons.get(blob.digest):
        return reason
    if blob.pinned_until > now:
        return PINS
    return "" if blob.digest in spare else LAST
