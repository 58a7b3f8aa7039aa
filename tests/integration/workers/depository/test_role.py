"""The role depository makes facts follow wishes: real Redis, real transfers, only the reports are caught."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from common import names
from common.reports import Ended, Failed, Held, Lied, StepDone
from common.signing import Signer
from common.spares import sign_spares
from common.wishes import HoldWish, LayersWish, OfferWish
from common.words import Role
from tests.support.bad_sources import bad_source, liar, silent
from tests.support.depository import FakeBox, Image
from tests.support.depository_role import MakeWorker, Worker, hold
from tests.support.redis import wait_until
from workers.depository.eviction import Unpacked
from workers.depository.keeping import BLOBS_SUBJECT, Keeper
from workers.depository.living import living

MakeBox = Callable[..., FakeBox]


def test_an_offer_is_reported_with_what_is_there_and_keeps_it(
    make_box: MakeBox, make_worker: MakeWorker
) -> None:
    box, image = make_box("dep-1", layer_timer_s=0.001), Image(1000, 2000)
    box.hold(image)
    worker = make_worker(box)
    worker.may_drop(image)
    wish = OfferWish(subject="i-1", generation=3, version=1, wanted="offered",
                     blobs=[*image.by_digest, "sha256:" + "0" * 64])  # fmt: skip
    worker.wish(wish)
    wait_until(lambda: worker.reports.of(StepDone, "i-1"), what="the report")
    (step,) = worker.reports.of(StepDone, "i-1")
    assert (step.step, step.generation) == ("offer", 3)
    assert step.detail.startswith("4 of 5 blobs are here")
    worker.role.tidy()
    assert box.holdings.digests() == set(image.by_digest)
    worker.wish(wish.model_copy(update={"wanted": "released", "version": 2}))
    wait_until(lambda: worker.reports.of(Ended, "i-1"), what="the end")
    worker.role.tidy()
    assert box.holdings.digests() == set()


def test_an_image_to_be_held_is_fetched_and_reported_with_its_chunk_lists(
    make_box: MakeBox, make_worker: MakeWorker
) -> None:
    seed, box, image = make_box("seed"), make_box("dep-1"), Image(300_000, 2000)
    seed.hold(image)
    worker = make_worker(box)
    wish = hold(box, seed, image)
    worker.wish(wish)
    wait_until(lambda: worker.reports.of(Held, wish.subject), what="the report")
    (held,) = worker.reports.of(Held, wish.subject)
    assert [blob.digest for blob in held.blobs] == list(image.by_digest)
    assert all(blob.chunk_list.blob == blob.digest for blob in held.blobs)
    worker.wake(wish.subject)  # said already a moment ago
    wait_until(lambda: not worker.jobs.is_running((Role.DEPOSITORY, wish.subject)))
    assert len(worker.reports.of(Held, wish.subject)) == 1


def test_a_removed_image_goes_but_what_another_one_needs_stays(
    make_box: MakeBox, make_worker: MakeWorker
) -> None:
    box = make_box("dep-1")
    one, two = Image(9000, 1000), Image(9000, 3000, repository="other")
    for image in (one, two):
        box.hold(image)
    worker = make_worker(box)
    worker.wish(hold(box, box, one))
    worker.wish(hold(box, box, two))
    removed = hold(box, box, one, "removed", version=2)
    worker.wish(removed)
    wait_until(lambda: worker.reports.of(Ended, removed.subject), what="the end")
    assert box.holdings.digests() == set(two.by_digest)
    assert set(box.holdings.store.digests()) == set(two.by_digest)


def test_an_image_that_cannot_be_had_is_reported_with_the_boxes_that_were_tried(
    make_box: MakeBox, make_worker: MakeWorker
) -> None:
    empty, box = make_box("dep-empty"), make_box("dep-1")
    worker = make_worker(box)
    wish = hold(box, empty, Image(1000))
    worker.wish(wish)
    wait_until(lambda: worker.reports.of(Failed, wish.subject), what="the failure")
    (failed,) = worker.reports.of(Failed, wish.subject)
    assert failed.reason == "no-source"
    assert "dep-empty" in failed.message


def test_a_depository_that_lies_is_reported_whether_or_not_the_image_comes(
    make_box: MakeBox, make_worker: MakeWorker
) -> None:
    seed, image = make_box("seed"), Image(300_000, 2000)
    seed.hold(image)
    sizes = {digest: len(data) for digest, data in image.by_digest.items()}
    with bad_source(liar(sizes)) as lying:
        for name, others in (("lucky", {"seed": seed.endpoint}), ("unlucky", {})):
            worker = make_worker(make_box(name))
            source = image.source(worker.box.master, {"liar": lying, **others})
            wish = HoldWish(subject="image.x", generation=0, version=1, wanted="held", image=source)
            worker.wish(wish)
            wait_until(lambda worker=worker: worker.reports.of(Lied, "image.x"), what="the accusation")
            assert worker.reports.of(Lied, "image.x")[0].boxes == ["liar"]
            assert bool(worker.reports.of(Failed, "image.x")) == (not others)


def test_room_for_a_copy_is_made_of_unused_images_of_the_engine_before_layers(
    make_box: MakeBox, make_worker: MakeWorker
) -> None:
    seed, image, unused = make_box("seed"), Image(40_000), Image(10_000, seed=2)
    seed.hold(image)
    box = make_box("dep-1", lent_bytes=100_000, free_bytes=10_000)
    box.hold(unused)
    worker = make_worker(box)
    worker.may_drop(unused)
    engine = EngineWithOneImage(worker, 60_000)
    engine.keeper.know(engine)
    worker.wish(wish := hold(box, seed, image))
    wait_until(lambda: worker.reports.of(Held, wish.subject), what="the report")
    assert engine.removed == ["unused"]
    assert box.holdings.digests() == {*image.by_digest, *unused.by_digest}


class EngineWithOneImage:
    """Stands in for the engine's images: one that nothing runs."""

    def __init__(self, worker: Worker, size_bytes: int) -> None:
        self.keeper = Keeper(worker.context, worker.box.holdings)
        self.removed: list[str] = []
        self._size_bytes = size_bytes

    def measure(self, keepers: dict[str, str]) -> list[Unpacked]:
        left = [] if self.removed else [Unpacked("unused", {"layer": self._size_bytes}, time.time())]
        self.keeper.space.note("engine", sum(sum(item.layers.values()) for item in left))
        return left

    def remove(self, name: str) -> None:
        self.removed.append(name)


def test_half_files_go_by_their_age_unless_somebody_still_writes_to_them(
    make_box: MakeBox, make_worker: MakeWorker
) -> None:
    seed, image = make_box("seed", layers_out_bps=1_000_000), Image(300_000, 2_000_000)
    seed.hold(image)
    box = make_box("dep-1", layer_timer_s=3600, upload_timer_s=1800)
    worker = make_worker(box)
    ingest = box.holdings.store.root / "ingest"

    def left() -> set[str]:
        """What is there an hour later."""
        for path in ingest.iterdir():
            os.utime(path, (time.time() - 7200,) * 2)
        worker.role.tidy()
        return {path.name for path in ingest.iterdir()}

    (ingest / "crashed.part").touch()
    (ingest / "crashed.upload").touch()
    assert left() == set()
    box.fetcher.hold(image.source(box.master, {"seed": seed.endpoint}), "test")
    with living(ingest / "slow.upload"):
        found = left()
        assert "slow.upload" in found
        assert any(name.endswith(".part") for name in found)
        assert any(name.endswith(".map") for name in found)
        box.fetcher.cancel(image.digest, "test")
    assert "slow.upload" not in left()


def test_an_image_that_is_larger_than_the_lent_space_is_refused(
    make_box: MakeBox, make_worker: MakeWorker
) -> None:
    seed, box, image = make_box("seed"), make_box("dep-1", lent_bytes=50_000), Image(100_000)
    seed.hold(image)
    worker = make_worker(box)
    wish = hold(box, seed, image)
    worker.wish(wish)
    wait_until(lambda: worker.reports.of(Failed, wish.subject), what="the refusal")
    (failed,) = worker.reports.of(Failed, wish.subject)
    assert failed.reason == "no-room"
    assert "site:1" in failed.message
    assert box.holdings.digests() == set()


def test_a_fetch_that_the_master_no_longer_wants_is_given_up(
    make_box: MakeBox, make_worker: MakeWorker
) -> None:
    box, image = make_box("dep-1", source_timeout_s=60), Image(1000)
    worker = make_worker(box)
    with bad_source(silent) as frozen:
        source = image.source(box.master, {"frozen": frozen})
        wish = HoldWish(subject="image.x", generation=0, version=1, wanted="held", image=source)
        worker.wish(wish)
        key = ("hold", wish.subject)
        wait_until(lambda: worker.jobs.is_running(key), what="the fetch")
        worker.wish(wish.model_copy(update={"wanted": "removed", "version": 2}))
        wait_until(lambda: not worker.jobs.is_running(key), what="its end")
    assert worker.reports.of(Ended, "image.x")
    assert worker.reports.of(Failed, "image.x") == []


def test_pushed_blobs_are_reported_once_and_again_when_redis_began_anew(
    make_box: MakeBox, make_worker: MakeWorker
) -> None:
    box, image = make_box("dep-1"), Image(1000, 2000)
    box.hold(image)
    worker = make_worker(box)

    def reported() -> list[str]:
        return [blob.digest for held in worker.reports.of(Held, BLOBS_SUBJECT) for blob in held.blobs]

    worker.role.tidy()
    assert sorted(reported()) == sorted(image.by_digest)
    worker.role.tidy()
    assert len(reported()) == len(image.by_digest)
    worker.redis.set(names.EPOCH, "e2")
    worker.role.tidy()
    assert len(reported()) == 2 * len(image.by_digest)


def test_unused_layers_go_by_their_timer_and_used_ones_stay(
    make_box: MakeBox, make_worker: MakeWorker
) -> None:
    box, old, new = make_box("dep-1", layer_timer_s=3600), Image(1000), Image(2000, seed=2)
    box.hold(old)
    box.hold(new)
    box.table.write("UPDATE blobs SET used_at = ?", (time.time() - 7200,))
    box.holdings.touch(new.by_digest)
    worker = make_worker(box)
    worker.may_drop(old, new)
    worker.role.tidy()
    assert box.holdings.digests() == set(new.by_digest)


def test_what_the_master_does_not_let_go_stays_whatever_its_timer_says(
    make_box: MakeBox, make_worker: MakeWorker
) -> None:
    """The last copy: no other box has it, or the master has not said so."""
    box, last, spare = make_box("dep-1", layer_timer_s=3600), Image(1000), Image(2000, seed=2)
    box.hold(last)
    box.hold(spare)
    box.table.write("UPDATE blobs SET used_at = ?", (time.time() - 7200,))
    worker = make_worker(box)
    worker.role.tidy()
    assert box.holdings.digests() == set(last.by_digest) | set(spare.by_digest)
    forged = sign_spares(Signer(b"x" * 32), box.name, frozenset(last.by_digest))
    worker.redis.set(names.spare_key(box.name), forged)
    worker.role.tidy()
    assert set(last.by_digest) <= box.holdings.digests()
    worker.may_drop(spare)
    worker.role.tidy()
    assert box.holdings.digests() == set(last.by_digest)


def test_a_box_that_cannot_have_enough_room_closes_itself_and_says_why(
    make_box: MakeBox, make_worker: MakeWorker
) -> None:
    box, image = make_box("dep-1", lent_bytes=100_000, free_bytes=25_000), Image(90_000)
    box.hold(image)
    worker = make_worker(box)
    worker.role.tidy()
    alert = worker.role.facts().alert
    assert "24.4 KiB of the lent 97.7 KiB should be free" in alert
    assert "without enough copies elsewhere" in alert
    worker.may_drop(image)
    worker.role.tidy()
    assert worker.role.facts().alert == ""
    assert box.holdings.digests() < set(image.by_digest)


def test_what_an_operator_pinned_stays_and_what_is_to_go_goes_unless_it_is_needed(
    make_box: MakeBox, make_worker: MakeWorker
) -> None:
    box, pinned, doomed = make_box("dep-1", layer_timer_s=0.001), Image(1000), Image(2000, seed=2)
    box.hold(pinned)
    box.hold(doomed)
    worker = make_worker(box)
    worker.may_drop(pinned)
    pin = LayersWish(subject="layers.pin", generation=0, version=1, wanted="kept", blobs=[*pinned.by_digest])
    evict = LayersWish(
        subject="layers.bye", generation=0, version=1, wanted="evicted", blobs=[*doomed.by_digest]
    )
    worker.wish(pin)
    worker.wish(hold(box, box, doomed))
    worker.wish(evict)
    worker.role.tidy()
    assert box.holdings.digests() == set(pinned.by_digest) | set(doomed.by_digest)
    assert worker.reports.of(Ended, "layers.bye") == []
    worker.redis.hdel(names.wish_key(box.name), f"depository/image.{doomed.digest[7:19]}")
    worker.wishes.forget(f"depository/image.{doomed.digest[7:19]}")
    worker.role.tidy()
    assert box.holdings.digests() == set(pinned.by_digest)
    assert worker.reports.of(Ended, "layers.bye")


def test_the_longest_unused_layers_go_when_room_is_short(make_box: MakeBox, make_worker: MakeWorker) -> None:
    old, new = Image(60_000), Image(50_000, seed=2)
    box = make_box("dep-1", lent_bytes=100_000, free_bytes=20_000)
    box.hold(old)
    box.hold(new)
    box.table.write("UPDATE blobs SET used_at = used_at - 100")
    box.table.write("UPDATE blobs SET used_at = used_at + 100 WHERE digest = ?", (new.digest,))
    box.holdings.touch(new.by_digest)
    worker = make_worker(box)
    worker.may_drop(old, new)
    worker.role.tidy()
    assert box.holdings.size_bytes() <= 80_000
    assert set(new.by_digest) <= box.holdings.digests()


def test_after_a_crash_table_and_disk_agree_again(make_box: MakeBox, make_worker: MakeWorker) -> None:
    box, image = make_box("dep-1"), Image(1000, 2000)
    box.hold(image)
    store, digests = box.holdings.store, list(image.by_digest)
    store.remove(digests[0])  # a row without bytes
    box.table.write("DELETE FROM blobs WHERE digest IN (?, ?)", (digests[1], digests[2]))
    store.path(digests[2]).write_bytes(b"damaged")  # bytes without a row, good and bad ones
    worker = make_worker(box)
    worker.role.start()
    wait_until(lambda: not worker.jobs.is_running("reconcile-blobs"), what="the check")
    assert box.holdings.digests() == set(digests[1:2] + digests[3:]) == set(store.digests())
