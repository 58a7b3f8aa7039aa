"""Enough copies of images, filesets and homes: what the master wishes when boxes come, go and fall silent."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import select

from common import names
from common.errors import Conflict
from common.reports import Ended, FilesetHeld, Lied, Report
from common.signing import Verifier
from common.spares import read_spares
from common.tickets import FilesetTicket, TicketChecker
from common.vivaldi import Position
from common.wishes import FilesetWish, HoldWish, LayersWish
from common.words import BoxKind, Coordinate, InstanceState, Role
from master.boxes import services as boxes
from master.boxes.models import Box
from master.boxes.standing import ACCUSERS, accusers
from master.context import MasterContext
from master.deployments.models import Deployment, Instance, Mount
from master.filesets.models import Fileset, FilesetCopy
from master.filesets.services import holders, home_copies, home_of
from master.images.models import Image, ImageHolding
from master.images.services import blobs_of, set_tag
from master.layers import services as layers
from master.lifecycle.expected import expected_wishes
from master.lifecycle.reconcile import Reconciler
from master.lifecycle.reports import Reports
from master.lifecycle.subjects import image_subject
from master.nearness.map import write_map
from tests.support.master import (
    FakeBox,
    add_application,
    add_fileset,
    add_image,
    add_user,
    digest_of,
    image_digests,
    make_master,
)
from tests.support.platforms import new_index, platform_image
from tests.support.redis import RedisServer

GIB = 2**30


@pytest.fixture
def master(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    return make_master(
        tmp_path, redis_server.url, replicate_after_s=0.0, replicate_retry_s=0.0, lost_after_s=0.0
    )


def old_image(master: MasterContext, *holding: FakeBox, reference: str = "site:1") -> Image:
    """An image that was pushed a while ago to these depositories."""
    image = add_image(master, reference)
    with master.database.write() as session:
        session.get_one(Image, image.digest).created_at = time.time() - 3600
        for box in holding:
            session.add(ImageHolding(digest=image.digest, box_id=box.name, held_at=1.0))
    for box in holding:
        box.hold(image_digests(image))
    return image


def reconcile(master: MasterContext) -> None:
    assert Reconciler(master).run()


def holds(box: FakeBox) -> list[HoldWish]:
    return [wish for wish in box.wishes().values() if isinstance(wish, HoldWish) and wish.wanted == "held"]


def fileset_wish(box: FakeBox, fileset: str) -> FilesetWish:
    wish = box.wishes()[f"filestore/fileset.{fileset}"]
    assert isinstance(wish, FilesetWish)
    return wish


def report(master: MasterContext, box: FakeBox, fact: Report) -> None:
    Reports(master).take(box.name, fact.model_dump_json())


def spare(master: MasterContext, box: FakeBox) -> frozenset[str]:
    token = master.redis.get(names.spare_key(box.name))
    return read_spares(Verifier(master.signer.public_key), box.name, str(token))


def test_loss_of_a_depository_brings_back_two_copies_and_its_return_gives_the_third_up(
    master: MasterContext,
) -> None:
    a, b, c = FakeBox(master, "a"), FakeBox(master, "b"), FakeBox(master, "c")
    image = old_image(master, a, b)
    reconcile(master)
    assert holds(c) == []
    b.go_silent()
    reconcile(master)
    reconcile(master)
    (wish,) = holds(c)
    assert wish.image.manifest == image.digest
    assert all(blob.boxes == ["a"] for blob in wish.image.blobs)
    c.hold(image_digests(image))
    b.beat()
    reconcile(master)
    assert holds(c) == []
    assert holds(a)
    assert holds(b)


def test_one_copy_lies_on_a_server_and_the_nearest_sources_come_first(master: MasterContext) -> None:
    near = FakeBox(master, "near", coordinate=Coordinate(x_ms=1))
    far = FakeBox(master, "far", coordinate=Coordinate(x_ms=90))
    server = FakeBox(master, "server", kind=BoxKind.SERVER)
    old_image(master, far, near)
    reconcile(master)
    (wish,) = holds(server)
    assert all(blob.boxes == ["near", "far"] for blob in wish.image.blobs)


def test_sources_are_as_near_as_the_master_believes_not_as_they_claim(master: MasterContext) -> None:
    honest = FakeBox(master, "honest", coordinate=Coordinate(x_ms=5))
    boaster = FakeBox(master, "a-boaster", coordinate=Coordinate(), coordinate_error=0.1)
    FakeBox(master, "server", kind=BoxKind.SERVER)
    write_map(
        master.redis,
        {
            "honest": Position(honest.status.coordinate, 0.1),
            "a-boaster": Position(Coordinate(height_ms=50), 0.1),
            "server": Position(Coordinate(), 0.1),
        },
    )
    old_image(master, honest, boaster)
    with master.database.write() as session:
        session.add(ImageHolding(digest=session.scalars(select(Image.digest)).one(), box_id="server"))
    with master.database.read() as session:
        (hold,) = [item for item in expected_wishes(session, master) if item.box == "server"]
        wish = hold.derive().wish
    assert isinstance(wish, HoldWish)
    assert all(blob.boxes == ["honest", "a-boaster"] for blob in wish.image.blobs)


def test_who_lies_to_depositories_is_known_and_asked_only_when_nobody_else_can_be(
    master: MasterContext,
) -> None:
    liar, good = FakeBox(master, "a-liar"), FakeBox(master, "b-good")
    image = old_image(master, liar, good)
    fetching = [FakeBox(master, f"new-{number}") for number in range(ACCUSERS)]
    with master.database.write() as session:
        session.add_all(ImageHolding(digest=image.digest, box_id=box.name) for box in fetching)
    stranger = FakeBox(master, "stranger", roles=frozenset({Role.COMPUTE}))

    def sources() -> list[str]:
        reconcile(master)
        (wish,) = holds(fetching[0])
        (boxes,) = {tuple(blob.boxes) for blob in wish.image.blobs}
        return list(boxes)

    def accuses(box: FakeBox, accused: str) -> bool:
        fact = Lied(subject=image_subject(image.digest), generation=0, boxes=[accused])
        return Reports(master).take(box.name, fact.model_dump_json())

    assert sources() == ["a-liar", "b-good"]
    assert all(accuses(box, "a-liar") for box in fetching)
    # Nobody is believed about a box that it was not told to ask, nor one that is to hold nothing.
    assert not accuses(fetching[0], "stranger")
    assert not accuses(stranger, "a-liar")
    assert accusers(master.redis, "a-liar") == ["new-0", "new-1"]
    assert sources() == ["b-good"]
    good.go_silent()
    assert sources() == ["a-liar"]


def test_an_image_that_was_just_pushed_is_not_copied_yet(tmp_path: Path, redis_server: RedisServer) -> None:
    master = make_master(tmp_path, redis_server.url)
    a, b = FakeBox(master, "a"), FakeBox(master, "b")
    image = add_image(master, "site:1")
    with master.database.write() as session:
        session.add(ImageHolding(digest=image.digest, box_id="a"))
    a.hold(image_digests(image))
    reconcile(master)
    assert holds(b) == []


def test_a_depository_that_lost_its_blobs_is_asked_again_with_a_fresh_ticket(master: MasterContext) -> None:
    a, b = FakeBox(master, "a"), FakeBox(master, "b")
    image = old_image(master, a, b)
    reconcile(master)
    (before,) = holds(b)
    master.redis.delete(names.layers_key("b"))
    b.layers.clear()
    b.beat(layers_sequence=99)
    reconcile(master)
    (after,) = holds(b)
    assert after.order > before.order
    assert after.image.ticket != before.image.ticket
    with master.database.read() as session:
        assert session.get_one(ImageHolding, (image.digest, "b")).held_at is None


def test_the_last_copies_may_not_be_dropped_and_what_is_too_many_may(master: MasterContext) -> None:
    a, b, c = (
        FakeBox(master, "a"),
        FakeBox(master, "b"),
        FakeBox(master, "c", roles=frozenset({Role.COMPUTE})),
    )
    image = old_image(master, a, b)
    nobodys = digest_of("of no image")
    c.hold([*image_digests(image), nobodys])
    reconcile(master)
    assert spare(master, a) == spare(master, b) == frozenset()
    assert spare(master, c) == {*image_digests(image), nobodys}
    a.go_silent()
    b.go_silent()
    reconcile(master)
    assert spare(master, c) == {nobodys}


def test_a_fileset_is_copied_from_the_nearest_box_and_survives_the_loss_of_the_first(
    master: MasterContext,
) -> None:
    first = FakeBox(master, "first")
    second = FakeBox(master, "second")
    fileset = add_fileset(master, "course", first)
    reconcile(master)
    wish = fileset_wish(second, fileset.id)
    assert wish.source is not None
    assert (wish.source.box, wish.follows) == ("first", False)
    ticket = TicketChecker(Verifier(master.signer.public_key)).check(wish.source.ticket, FilesetTicket)
    assert (ticket.box, ticket.fileset, ticket.version, ticket.action) == ("first", fileset.id, 1, "get")
    held = FilesetHeld(
        subject=f"fileset.{fileset.id}",
        generation=0,
        fileset=fileset.id,
        fileset_version=1,
        size_bytes=5,
        files=1,
    )
    report(master, second, held)
    second.hold_fileset(fileset.id)
    first.go_silent()
    reconcile(master)
    with master.database.read() as session:
        assert holders(session.get_one(Fileset, fileset.id)) == ["first", "second"]
        assert boxes.find(session, "first")
    with master.database.write() as session:
        boxes.remove(session, master.redis, session.get_one(Box, "first"))
    with master.database.read() as session:
        assert holders(session.get_one(Fileset, fileset.id)) == ["second"]


def home(master: MasterContext, box: FakeBox) -> Fileset:
    """A person's home that lies on a box, with something in it."""
    user = add_user(master)
    with master.database.write() as session:
        made = home_of(session, user, GIB)
        made.fence, made.writer_box_id, made.size_bytes = 3, box.name, 1000
        session.add(FilesetCopy(fileset_id=made.id, box_id=box.name, version=1))
    return made


def copied(
    master: MasterContext, box: FakeBox, fileset: Fileset, as_of: float, *, settled: bool = True
) -> None:
    fact = FilesetHeld(
        subject=f"fileset.{fileset.id}", generation=0, fileset=fileset.id, fileset_version=1, size_bytes=5,
        files=1, as_of=as_of, settled=settled,
    )  # fmt: skip
    report(master, box, fact)


def test_a_home_has_a_copy_that_follows_and_is_never_mounted_while_its_filestore_may_return(
    master: MasterContext,
) -> None:
    first, second = FakeBox(master, "first"), FakeBox(master, "second")
    made = home(master, first)
    reconcile(master)
    wish = fileset_wish(second, made.id)
    assert wish.follows
    assert wish.every_s == master.settings.home_copy_every_s
    assert wish.source is not None
    assert wish.source.box == "first"
    copied(master, second, made, 1234.0)
    copied(master, second, made, 1233.0, settled=False)  # late: it is older than what is known
    first.go_silent()
    reconcile(master)
    with master.database.read() as session:
        found = session.get_one(Fileset, made.id)
        assert holders(found) == ["first"]
        (row,) = home_copies(session)
        assert (row.owner, row.boxes, row.copies) == ("ada", ["first"], [("second", 1234.0)])
        assert row.unsettled == frozenset()
    copied(master, second, made, 1235.0, settled=False)
    with master.database.read() as session:
        assert home_copies(session)[0].unsettled == {"second"}


def test_a_home_opens_from_its_newest_copy_once_its_filestore_is_removed_behind_a_higher_fence(
    master: MasterContext,
) -> None:
    first, second, third = (FakeBox(master, name) for name in ("first", "second", "third"))
    made = home(master, first)
    with master.database.write() as session:
        for box, as_of in ((second, 100.0), (third, 200.0)):
            session.add(
                FilesetCopy(fileset_id=made.id, box_id=box.name, version=1, follows=True, copied_at=as_of)
            )
    instance = lost_writer(master, made)
    with master.database.write() as session, pytest.raises(Conflict, match="only copy"):
        boxes.remove(session, master.redis, session.get_one(Box, "first"))
    with master.database.write() as session:
        boxes.remove(session, master.redis, session.get_one(Box, "first"), force=True)
    with master.database.read() as session:
        found = session.get_one(Fileset, made.id)
        assert (found.fence, found.writer_box_id, holders(found)) == (4, None, ["third"])
        assert session.scalars(select(Mount.state)).all() == ["ended"]
        # What may still run on a silent compute box is stopped when that box returns.
        still = session.get_one(Instance, instance)
        assert (still.deployment.wanted, still.wish_version) == ("stopped", 2)
    reconcile(master)
    assert not fileset_wish(third, made.id).follows
    wish = fileset_wish(second, made.id)
    assert wish.follows
    assert wish.source is not None
    assert wish.source.box == "third"


def lost_writer(master: MasterContext, fileset: Fileset) -> str:
    """An instance on a lost compute box that had the home mounted."""
    away = FakeBox(master, "away", roles=frozenset({Role.COMPUTE}))
    image = old_image(master)
    application = add_application(master, "site", "site:1")
    with master.database.write() as session:
        deployment = Deployment(
            id="d-1", user_id=str(fileset.owner_id), application_id=application.id, application_name="site",
            title="Site", manifest=application.manifest, options={}, lease_end=time.time() + 3600,
        )  # fmt: skip
        instance = Instance(
            id="i-1", service="main", state=InstanceState.LOST.value, image_digest=image.digest, box_id="away",
            wish_version=1,
        )  # fmt: skip
        deployment.instances.append(instance)
        session.add(deployment)
        session.flush()
        session.add(
            Mount(
                instance_id="i-1", generation=1, target="/home", fileset_id=fileset.id, fileset_version=1,
                mode="rw", box_id="first", compute_box_id="away", fence=3, state="exported",
            )
        )  # fmt: skip
    away.go_silent()
    return "i-1"


def test_an_operator_pins_and_unpins_layers(master: MasterContext) -> None:
    a, b, _ = FakeBox(master, "a"), FakeBox(master, "b"), FakeBox(master, "c")
    image, user = old_image(master, a, b), add_user(master, "op", "operator")
    with master.database.write() as session:
        assert layers.pin(session, master.redis, user, "site:1", []) == ["a", "b"]
        with pytest.raises(Conflict, match="does not hold all"):
            layers.pin(session, master.redis, user, "site:1", ["c"])
    reconcile(master)
    wish = a.wishes()[f"depository/layers.{image.digest[7:19]}"]
    assert isinstance(wish, LayersWish)
    assert (wish.wanted, wish.blobs) == ("kept", image_digests(image))
    with master.database.read() as session:
        rows = layers.list_layers(session, master.redis, Verifier(master.signer.public_key))
    assert [holder.pinned for row in rows for holder in row.holders] == [True] * 8
    with master.database.write() as session:
        assert layers.unpin(session, "site:1", ["a"]) == ["a"]
    reconcile(master)
    assert f"depository/layers.{image.digest[7:19]}" not in a.wishes()
    assert f"depository/layers.{image.digest[7:19]}" in b.wishes()


def test_eviction_of_too_few_copies_needs_force_and_ends_with_the_boxs_word(master: MasterContext) -> None:
    a, b = FakeBox(master, "a"), FakeBox(master, "b")
    image, user = old_image(master, a, b), add_user(master, "op", "operator")
    with master.database.write() as session:
        with pytest.raises(Conflict, match="Only 1 other boxes"):
            layers.evict(session, master.redis, user, "site:1", "a", copies=2)
        layers.evict(session, master.redis, user, "site:1", "a", copies=2, force=True)
    reconcile(master)
    subject = f"layers.{image.digest[7:19]}"
    wish = a.wishes()[f"depository/{subject}"]
    assert isinstance(wish, LayersWish)
    assert wish.wanted == "evicted"
    assert holds(a) == []
    report(master, a, Ended(subject=subject, generation=0))
    reconcile(master)
    assert f"depository/{subject}" not in a.wishes()


def test_an_index_is_copied_with_all_its_images_and_a_computing_box_keeps_none_of_them(
    master: MasterContext,
) -> None:
    a, b = FakeBox(master, "a"), FakeBox(master, "b")
    pc = FakeBox(master, "pc", roles=frozenset({Role.COMPUTE}), offers_layers=True)
    amd, arm = platform_image("amd64", b"one"), platform_image("arm64", b"two")
    with master.database.write() as session:
        index = set_tag(session, new_index("site:1", amd, arm), box="a", owner=None)
        index.created_at = time.time() - 3600
        blobs = {blob.digest for blob in blobs_of(index)}
    assert blobs >= {blob.digest for item in (amd, arm) for blob in item.blobs}
    a.hold(blobs)
    pc.hold({blob.digest for blob in arm.blobs})
    reconcile(master)
    (wish,) = holds(b)
    assert (wish.image.manifest, {blob.digest for blob in wish.image.blobs}) == (index.digest, blobs)
    assert spare(master, a) == frozenset()
    assert spare(master, pc) == {blob.digest for blob in arm.blobs}
