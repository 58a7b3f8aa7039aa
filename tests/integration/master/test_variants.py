"""Indexes on the master: a tag names several images, and each box gets the one that it can run."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from common.errors import BadInput, Unavailable
from common.status import EngineFacts
from common.wishes import ComputeWish, HoldWish, OfferWish
from master.context import MasterContext
from master.deployments.models import Instance
from master.deployments.services import request_deployment
from master.images import services
from master.images.models import Image, ImageVariant
from master.images.services import NewTag
from master.lifecycle.reconcile import Reconciler
from tests.support.master import FakeBox, add_application, add_user, make_master
from tests.support.platforms import new_index, platform_image
from tests.support.redis import RedisServer
from tests.support.scheduling import place_now

AMD, ARM = platform_image("amd64", b"shared", b"for amd64"), platform_image("arm64", b"shared", b"for arm64")
NOTES = platform_image("unknown", b"how it was built")


@pytest.fixture
def master(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    return make_master(tmp_path, redis_server.url)


def tag(master: MasterContext, box: FakeBox, new: NewTag) -> Image:
    """Let a tag name it; the box holds all that was pushed."""
    with master.database.write() as session:
        image = services.set_tag(session, new, box=box.name, owner=None)
    box.hold(blob.digest for blob in services.blobs_of(image))
    return image


def launch(master: MasterContext, architecture: str, **status: object) -> tuple[FakeBox, Instance, str]:
    """Ask for the application with one open box of an architecture; returns the scheduler's answer too."""
    box = FakeBox(master, f"box-{architecture}", architecture=architecture, **status)
    deployment = request_deployment(master, add_user(master, architecture), "site", {})
    instance = deployment.instances[0]
    outcome = place_now(master, instance.id, instance.generation)
    with master.database.read() as session:
        return box, session.get_one(Instance, instance.id), outcome


@pytest.mark.parametrize(("variant", "other"), [(AMD, ARM), (ARM, AMD)])
def test_a_box_gets_the_image_for_its_architecture_and_nothing_of_the_others(
    master: MasterContext, variant: services.DescribedImage, other: services.DescribedImage
) -> None:
    seed = FakeBox(master, "seed", open=False)
    index = tag(master, seed, new_index("site:1", AMD, ARM, NOTES))
    add_application(master, "site", "site:1")
    box, instance, outcome = launch(master, variant.architecture)
    assert outcome == "placed"
    assert (instance.image_digest, instance.variant_digest) == (index.digest, variant.digest)
    wish = box.wishes()[f"compute/{instance.id}"]
    assert isinstance(wish, ComputeWish)
    assert (wish.image.name, wish.image.manifest) == ("site:1", variant.digest)
    wanted = [blob.digest for blob in variant.blobs]
    assert [blob.digest for blob in wish.image.blobs] == wanted
    offer = seed.wishes()[f"depository/{instance.id}"]
    assert isinstance(offer, OfferWish)
    assert set(offer.blobs) == set(wanted)
    assert not {other.digest, other.blobs[-1].digest} & set(wanted)


def test_a_box_without_an_image_for_it_waits_and_says_so(master: MasterContext) -> None:
    tag(master, FakeBox(master, "seed", open=False), new_index("site:1", AMD, ARM))
    add_application(master, "site", "site:1")
    _, instance, outcome = launch(master, "riscv64")
    assert outcome == "queued"
    assert "is riscv64, the image is for amd64 or arm64" in (instance.reason or "")


def test_layers_in_zstd_wait_for_an_engine_that_takes_them(master: MasterContext) -> None:
    zstd = platform_image("amd64", b"small", layer_type="application/vnd.oci.image.layer.v1.tar+zstd")
    tag(master, FakeBox(master, "seed", open=False), new_index("site:1", zstd))
    add_application(master, "site", "site:1")
    box, instance, outcome = launch(master, "amd64", engine=EngineFacts(name="docker", version="20.10.24"))
    assert outcome == "queued"
    assert "does not unpack layers in zstd" in (instance.reason or "")
    box.beat(engine=EngineFacts(name="docker", version="27.0", zstd=True))
    assert place_now(master, instance.id, instance.generation) == "placed"


def test_a_depository_holds_all_images_of_its_index_and_each_blob_once(master: MasterContext) -> None:
    seed, second = FakeBox(master, "seed", open=False), FakeBox(master, "second", open=False)
    index = tag(master, seed, new_index("site:1", AMD, ARM, NOTES))
    with master.database.read() as session:
        row = services.list_tags(session)[0]
        assert (row.architectures, row.layers) == (["amd64", "arm64"], 2)
    with master.database.write() as session:
        services.set_tag(session, new_index("site:1", AMD, ARM, NOTES), box=second.name, owner=None)
    Reconciler(master).run()
    wish = second.wishes()[f"depository/image.{index.digest.removeprefix('sha256:')[:12]}"]
    assert isinstance(wish, HoldWish)
    digests = [blob.digest for blob in wish.image.blobs]
    assert digests[0] == index.digest
    assert len(digests) == len(set(digests))
    assert set(digests) == {index.digest, *(blob.digest for item in (AMD, ARM, NOTES) for blob in item.blobs)}


def test_what_was_left_out_of_an_index_may_come_later(master: MasterContext) -> None:
    seed = FakeBox(master, "seed", open=False)
    first = tag(master, seed, new_index("site:1", ARM, absent=(AMD,)))
    with master.database.read() as session:
        assert services.list_tags(session)[0].architectures == ["arm64"]
    # The same index, of which now both images are here: its text, and so its digest, is the same.
    whole = new_index("site:1", ARM, AMD)
    assert tag(master, seed, whole).digest == first.digest
    with master.database.read() as session:
        assert services.list_tags(session)[0].architectures == ["arm64", "amd64"]


def test_the_last_tag_takes_the_index_and_its_images_with_it_but_not_what_another_tag_names(
    master: MasterContext,
) -> None:
    seed = FakeBox(master, "seed", open=False)
    index = tag(master, seed, new_index("site:1", AMD, ARM))
    with master.database.write() as session:
        services.set_tag(
            session, NewTag(repository="alone", tag="1", **ARM.model_dump()), box="seed", owner=None
        )
    with master.database.write() as session:
        services.remove_tag(session, "site", "1")
        services.record_removed(session, "seed", index.digest)
    with master.database.read() as session:
        assert session.scalars(select(Image.digest)).all() == [ARM.digest]
        assert session.scalars(select(ImageVariant.digest)).all() == []


def test_an_index_is_not_taken_with_images_that_it_does_not_name_or_names_otherwise(
    master: MasterContext,
) -> None:
    FakeBox(master, "seed")
    stranger = new_index("site:1", AMD).model_copy(update={"variants": [ARM]})
    wrong = new_index("site:1", AMD).model_copy(
        update={"variants": [AMD.model_copy(update={"architecture": "arm64"})]}
    )
    for new, field in ((stranger, "variants"), (wrong, "architecture")):
        with pytest.raises(BadInput) as error, master.database.write() as session:
            services.set_tag(session, new, box="seed", owner=None)
        assert error.value.field == field


def test_a_request_needs_one_whole_image_of_the_index(master: MasterContext) -> None:
    seed = FakeBox(master, "seed", open=False)
    with master.database.write() as session:
        services.set_tag(session, new_index("site:1", AMD, ARM), box="seed", owner=None)
    add_application(master, "site", "site:1")
    user = add_user(master)
    seed.go_silent()
    with pytest.raises(Unavailable, match="site:1"):
        request_deployment(master, user, "site", {})
    other = FakeBox(master, "other", open=False)
    other.hold(blob.digest for blob in ARM.blobs)
    request_deployment(master, user, "site", {})
