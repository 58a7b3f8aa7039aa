"""The role depository on one box of a test: its wish list in Redis, its reports in a list."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import redis

from common import names
from common.reports import Report
from common.signing import SealKey
from common.spares import sign_spares
from common.wishes import HoldWish, Wish, sign_wish, wish_field
from common.words import Role
from tests.support.depository import FakeBox, Image
from tests.support.redis import wait_until
from workers.box.jobs import Jobs, Lane
from workers.box.role import BoxContext
from workers.box.wishes import WishList
from workers.depository.role import Depository


class Reports:
    """Stands in for the reporter."""

    def __init__(self) -> None:
        self.sent: list[Report] = []

    def send(self, report: Report) -> bool:
        self.sent.append(report)
        return True

    def of(self, kind: type[Any], subject: str) -> list[Any]:
        return [item for item in self.sent if isinstance(item, kind) and item.subject == subject]


class Worker:
    """The role on one box, with its wish list in Redis."""

    def __init__(self, box: FakeBox, url: str) -> None:
        self.box = box
        self.redis = redis.Redis.from_url(url, decode_responses=True)
        self.redis.mset({names.EPOCH: "e1", names.EPOCH_READY: "e1"})
        self.reports = Reports()
        self.jobs = Jobs()
        self.wishes = WishList(box.name, box.table, self.redis, box.verifier)
        self.context = BoxContext(
            config=box.config,
            paths=box.paths,
            table=box.table,
            redis=self.redis,
            wishes=self.wishes,
            reporter=self.reports,  # type: ignore[arg-type]
            jobs=self.jobs,
            verifier=box.verifier,
            seal_key=SealKey(SealKey.generate()),
        )
        self.role = Depository(self.context)

    def wish(self, wish: Wish) -> None:
        """As the master does it: the wish into Redis, then wake."""
        token = sign_wish(self.box.master.signer, self.box.name, wish)
        self.redis.hset(names.wish_key(self.box.name), wish_field(wish.role, wish.subject), token)
        self.wake(wish.subject)

    def may_drop(self, *images: Image) -> None:
        """As the master says it of what enough others keep."""
        self.may_drop_blobs(digest for image in images for digest in image.by_digest)

    def may_drop_blobs(self, digests: Iterable[str]) -> None:
        """The same of single blobs."""
        blobs = frozenset(digests)
        token = sign_spares(self.box.master.signer, self.box.name, blobs)
        self.redis.set(names.spare_key(self.box.name), token)

    def wake(self, subject: str) -> None:
        current = self.wishes.current(Role.DEPOSITORY, subject)
        assert current is not None
        key = (Role.DEPOSITORY, subject)
        # What is asked for while the same runs joins it; a real box looks again by itself some seconds later.
        wait_until(lambda: not self.jobs.is_running(key), what="the end of the last turn")
        self.jobs.submit(Lane.SHORT, key, lambda: self.role.converge(current))


MakeWorker = Callable[[FakeBox], Worker]


def hold(box: FakeBox, source_of: FakeBox, image: Image, wanted: str = "held", version: int = 1) -> HoldWish:
    source = image.source(box.master, {source_of.name: source_of.endpoint})
    subject = f"image.{image.digest[7:19]}"
    return HoldWish.model_validate(
        {"subject": subject, "generation": 0, "version": version, "wanted": wanted, "image": source}
    )
