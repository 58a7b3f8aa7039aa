"""The role depository: keep the layers that wishes name, fetch what is to be held, drop the rest in time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from common.errors import OpenRaaSError, Unavailable
from common.logs import get_logger
from common.oci.digest import hex_of
from common.oci.manifests import INDEX_TYPES, MANIFEST_TYPES
from common.oci.store import ContentStore
from common.reports import Ended, Failed, Held, Lied, StepDone
from common.units import show_size
from common.wishes import HoldWish, MirrorWish, OfferWish, Wish
from common.words import Role
from workers.box.jobs import Lane
from workers.box.role import BoxContext, RoleFacts
from workers.box.room import MORE_ROOM, NoRoom, Room, Share
from workers.depository.client import LayersClient
from workers.depository.errors import Cancelled
from workers.depository.holdings import Holdings
from workers.depository.keeping import Keeper
from workers.depository.mirroring import Mirroring
from workers.depository.referrers import Referrers

log = get_logger(__name__)

# While the wish stands its blobs are needed anyway; the pin is for the moment in which it is read anew.
PIN_S = 120.0
# A fact that stays true is reported again after this pause, which then doubles up to the limit; so does the
# pause before a fetch that failed is tried again.
REPEAT_S = 10.0
MOST_REPEAT_S = 3600.0
MOST_RETRY_S = 60.0
# So that launches on this box always find a thread for their own fetches.
MOST_FETCHES = 2


@dataclass
class _Echo:
    """What was reported for a subject, and when it is due again."""

    key: tuple[int, int, str]
    due_at: float
    pause_s: float = REPEAT_S


class Depository:
    """Converges OfferWish, HoldWish and MirrorWish."""

    role = Role.DEPOSITORY

    def __init__(self, context: BoxContext) -> None:
        self._context = context
        self._holdings = Holdings(context.table, ContentStore(context.paths.store))
        self._keeper = Keeper(context, self._holdings)
        self._client = LayersClient(context.paths)
        self._computes = Role.COMPUTE in context.config.roles
        self._room = Room(context.config, context.paths, context.table)
        self._mirroring = Mirroring(context, self._holdings, self._take_room)
        self._referrers = Referrers(context.table, self._holdings)
        self._echoes: dict[str, _Echo] = {}
        self._fetching: set[str] = set()

    def start(self) -> None:
        """Make the table and the disk agree, in the background: verifying may take a while."""
        self._context.jobs.submit(Lane.LONG, "reconcile-blobs", self._holdings.reconcile)

    def converge(self, wish: Wish) -> None:
        """Offer, hold, or undo it; long fetches go to their own lane."""
        if isinstance(wish, OfferWish):
            self._offer(wish) if wish.wanted == "offered" else self._release(wish)
        elif isinstance(wish, MirrorWish):
            self._mirroring.converge(wish)
        elif isinstance(wish, HoldWish):
            self._hold(wish) if wish.wanted == "held" else self._remove(wish)

    def forget(self, subject: str) -> None:
        """Nothing is left to undo: what only this subject needed goes by its timer."""
        self._echoes.pop(subject, None)
        self._mirroring.forget(subject)

    def facts(self) -> RoleFacts:
        """The blobs' bytes; compute leaves them out on a box that is a depository, and tells of an alert."""
        alert = "" if self._computes else self._keeper.space.alert()
        return RoleFacts(blobs_bytes=self._holdings.size_bytes(), alert=alert)

    def tidy(self) -> None:
        """Report new blobs; drop what is unused, unless compute does: it knows what lies in the engine too."""
        self._keeper.tidy()
        if not self._computes:
            self._keeper.keep()

    def _offer(self, wish: OfferWish) -> None:
        began = time.monotonic()
        if not self._is_due(wish):
            return
        self._holdings.pin(wish.blobs, wish.lease_end or time.time() + PIN_S)
        self._holdings.touch(wish.blobs)
        here = [blob for digest in wish.blobs if (blob := self._holdings.find(digest)) is not None]
        size = show_size(sum(blob.size_bytes for blob in here))
        self._context.reporter.send(
            StepDone(
                subject=wish.subject,
                generation=wish.generation,
                step="offer",
                took_s=time.monotonic() - began,
                detail=f"{len(here)} of {len(wish.blobs)} blobs are here ({size})",
            )
        )

    def _release(self, wish: OfferWish) -> None:
        if self._is_due(wish):
            self._holdings.unpin(wish.blobs)
            self._context.reporter.send(Ended(subject=wish.subject, generation=wish.generation))

    def _hold(self, wish: HoldWish) -> None:
        digests = [blob.digest for blob in wish.image.blobs]
        if not self._holdings.missing(digests):
            if self._is_due(wish):
                self._referrers.take_in(
                    blob.digest
                    for blob in wish.image.blobs
                    if blob.media_type in MANIFEST_TYPES | INDEX_TYPES
                )
                held = self._holdings.held(dict.fromkeys(digests))
                self._context.reporter.send(
                    Held(subject=wish.subject, generation=wish.generation, blobs=held)
                )
            return
        if wish.subject in self._fetching or len(self._fetching) >= MOST_FETCHES:
            return
        if self._is_due(wish, "fetch"):
            self._fetching.add(wish.subject)
            self._context.jobs.submit(Lane.LONG, ("hold", wish.subject), lambda: self._fetch(wish))

    def _fetch(self, wish: HoldWish) -> None:
        try:
            if not self._context.wishes.is_stale(wish):
                sizes = {blob.digest: blob.size_bytes for blob in wish.image.blobs}
                missing = {digest: sizes[digest] for digest in self._holdings.missing(sizes)}
                with self._take_room(wish.subject, missing):
                    self._fetch_all(wish)
        except NoRoom as error:
            self._fail(wish, "no-room", f"{wish.image.name} is not fetched: {error}")
        except OpenRaaSError as error:
            # The engine does not answer, so no room can be made: the next try comes by itself.
            log.warning("image not fetched", image=wish.image.name, error=str(error))
        finally:
            self._fetching.discard(wish.subject)

    @contextmanager
    def _take_room(self, holder: str, blobs: Mapping[str, int]) -> Iterator[None]:
        """Drop unneeded layers until these blobs fit, and keep the room for them meanwhile. Raises NoRoom."""
        shares = [Share(hex_of(digest), size_bytes) for digest, size_bytes in blobs.items()]
        excess_bytes = self._keeper.make_room(self._room.promised_bytes(shares))
        if excess_bytes:
            raise NoRoom(
                f"{show_size(sum(blobs.values()))} are needed, and the lent space of this box has "
                f"{show_size(excess_bytes)} too little.",
                remedy=MORE_ROOM,
            )
        self._room.promise(holder, shares)
        try:
            yield
        finally:
            self._room.release(holder)

    def _fetch_all(self, wish: HoldWish) -> None:
        try:
            self._fetch_image(wish)
        finally:
            self._accuse(wish)

    def _accuse(self, wish: HoldWish) -> None:
        """Tell of depositories that sent bad bytes, however the transfer ended."""
        try:
            banned = self._client.transfer(wish.image.manifest).banned
        except OpenRaaSError as error:
            log.debug("transfer not looked at", error=str(error))
            return
        if banned:
            self._context.reporter.send(Lied(subject=wish.subject, generation=wish.generation, boxes=banned))

    def _fetch_image(self, wish: HoldWish) -> None:
        context = self._context
        user = f"hold.{wish.subject}"
        try:
            self._client.hold(wish.image, user, unwanted=lambda: self._is_unwanted(wish))
        except Cancelled:
            log.info("fetch cancelled", image=wish.image.name)
        except Unavailable as error:
            log.warning("image not held yet", image=wish.image.name, error=str(error))
        except OpenRaaSError as error:
            self._fail(wish, "no-source", str(error))
        else:
            self._echoes.pop(wish.subject, None)
            context.jobs.submit(
                Lane.SHORT, (self.role, wish.subject), lambda: self._converge_again(wish.subject)
            )

    def _is_unwanted(self, wish: HoldWish) -> bool:
        """Whether nobody wants the image here any more; one that is asked for again is still wanted."""
        now = self._context.wishes.current(self.role, wish.subject)
        return not isinstance(now, HoldWish) or now.wanted != "held"

    def _fail(self, wish: HoldWish, reason: Literal["no-room", "no-source"], message: str) -> None:
        log.warning("image not held", image=wish.image.name, reason=reason, error=message)
        self._context.reporter.send(
            Failed(subject=wish.subject, generation=wish.generation, reason=reason, message=message[:1000])
        )

    def _converge_again(self, subject: str) -> None:
        wish = self._context.wishes.current(self.role, subject)
        if wish is not None:
            self.converge(wish)

    def _remove(self, wish: HoldWish) -> None:
        own = {blob.digest for blob in wish.image.blobs}
        unneeded = own & self._holdings.digests() - self._keeper.needed(without=wish.subject).keys()
        if unneeded:
            self._holdings.drop(unneeded)
        if self._is_due(wish):
            self._context.reporter.send(Ended(subject=wish.subject, generation=wish.generation))

    def _is_due(self, wish: OfferWish | HoldWish, about: str = "") -> bool:
        """Whether to say (or try) it now: at once when the wish is new, then ever more rarely."""
        key = (wish.generation, wish.version, about or wish.wanted)
        now = time.monotonic()
        echo = self._echoes.get(wish.subject)
        if echo is None or echo.key != key:
            self._echoes[wish.subject] = _Echo(key, now + REPEAT_S)
            return True
        if now < echo.due_at:
            return False
        echo.pause_s = min(echo.pause_s * 2, MOST_RETRY_S if about else MOST_REPEAT_S)
        echo.due_at = now + echo.pause_s
        return True
