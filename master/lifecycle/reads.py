"""What several wishes are derived from in common, each thing read once."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.orm import Session

from common.images import BlobRef
from common.status import BoxStatus
from common.wishes import ImageSource
from master.boxes.models import Box
from master.boxes.services import statuses_of
from master.context import MasterContext
from master.images.models import Image
from master.images.services import build_source
from master.lifecycle.peers import Peer, fetching


class Reads:
    """Lives as long as one session is read from: what it says may be that old."""

    def __init__(self, session: Session, context: MasterContext) -> None:
        self._session = session
        self._context = context
        self._statuses: dict[str, BoxStatus | None] = {}
        self._boxes: dict[str, Box] = {}
        self._sources: dict[str, ImageSource] = {}
        self._peers: dict[str, list[Peer]] = {}

    def box(self, name: str) -> Box:
        """A box's row."""
        if name not in self._boxes:
            self._boxes[name] = self._session.get_one(Box, name)
        return self._boxes[name]

    def statuses(self, names: Iterable[str]) -> dict[str, BoxStatus]:
        """What those of these boxes say that are up. Raises redis.RedisError."""
        wanted = list(names)
        if unknown := [name for name in wanted if name not in self._statuses]:
            found = statuses_of(self._context.redis, unknown)
            self._statuses |= {name: found.get(name) for name in unknown}
        return {name: status for name in wanted if (status := self._statuses[name]) is not None}

    def source(self, digest: str, blobs: list[BlobRef] | None = None) -> ImageSource:
        """An image without anybody who holds it; `blobs` are others than its own."""
        if blobs is not None:
            return build_source(self._session, self._session.get_one(Image, digest), {}, "", blobs=blobs)
        if digest not in self._sources:
            self._sources[digest] = build_source(self._session, self._session.get_one(Image, digest), {}, "")
        return self._sources[digest]

    def fetching(self, image_digest: str) -> list[Peer]:
        """Who may fetch an image just now, the newest first."""
        if image_digest not in self._peers:
            self._peers[image_digest] = fetching(self._session, image_digest)
        return self._peers[image_digest]
