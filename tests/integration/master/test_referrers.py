"""What belongs to an image after all: signatures that refer to it, platforms of an index that come later."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.images import BlobRef, DescribedImage, PlatformImage
from common.oci.digest import digest_of
from common.oci.manifests import OCI_MANIFEST
from common.reports import Ended, Referred
from common.wishes import HoldWish
from master.context import MasterContext
from master.images import services
from master.images.models import Image, ImageHolding, ImageReferrer
from master.images.referrers import MOST_REFERRERS
from master.images.services import NewTag, set_tag
from master.lifecycle.reconcile import Reconciler
from master.lifecycle.reports import Reports
from master.lifecycle.subjects import image_subject
from tests.support.master import FakeBox, make_master
from tests.support.platforms import new_index, platform_image
from tests.support.redis import RedisServer


@pytest.fixture
def master(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    """A master that asks again for a copy that did not come only after an hour."""
    return make_master(tmp_path, redis_server.url, replicate_retry_s=3600.0)


def signature(subject: BlobRef, payload: bytes = b"signed") -> PlatformImage:
    """A manifest that refers to another."""
    layer = BlobRef(digest=digest_of(payload), size_bytes=len(payload), media_type="application/vnd.example")
    config = BlobRef(digest=digest_of(b"{}"), size_bytes=2, media_type="application/vnd.oci.empty.v1+json")
    told = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _named(config),
        "layers": [_named(layer)],
    }
    text = json.dumps({**told, "subject": _named(subject)})
    own = BlobRef(digest=digest_of(text.encode()), size_bytes=len(text), media_type=OCI_MANIFEST)
    return PlatformImage(
        digest=own.digest,
        media_type=OCI_MANIFEST,
        manifest=text,
        blobs=[own, config, layer],
        architecture="",
    )


def _named(blob: BlobRef) -> dict[str, Any]:
    return {"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size_bytes}


def digests(*images: PlatformImage) -> set[str]:
    return {blob.digest for image in images for blob in image.blobs}


def tag(master: MasterContext, new: NewTag, *boxes: FakeBox) -> Image:
    """A tag that was set at the first of these boxes, and is to be held on all."""
    with master.database.write() as session:
        image = set_tag(session, new, box=boxes[0].name, owner=None)
        for box in boxes[1:]:
            if session.get(ImageHolding, (image.digest, box.name)) is None:
                session.add(ImageHolding(digest=image.digest, box_id=box.name))
    return image


def one_image(reference: str = "site:1") -> NewTag:
    repository, _, name = reference.partition(":")
    return NewTag(
        repository=repository,
        tag=name,
        **DescribedImage(**platform_image("amd64", b"one").model_dump()).model_dump(),
    )


def held_by(master: MasterContext, box: FakeBox) -> HoldWish:
    assert Reconciler(master).run()
    (wish,) = [wish for wish in box.wishes().values() if isinstance(wish, HoldWish)]
    return wish


def tell(master: MasterContext, box: FakeBox, *referrers: PlatformImage) -> bool:
    fact = Referred(subject="blobs", generation=0, referrers=list(referrers))
    return Reports(master).take(box.name, fact.model_dump_json())


def test_a_signature_is_copied_at_once_to_all_that_hold_its_image(master: MasterContext) -> None:
    a, b = FakeBox(master, "a"), FakeBox(master, "b")
    new = one_image()
    tag(master, new, a, b)
    for box in (a, b):
        box.hold(digests(new))
    before = held_by(master, b)
    signed = signature(new.blobs[0])
    note = signature(signed.blobs[0], b"a note on the signature")
    a.hold(digests(signed, note))
    assert tell(master, a, signed, note)
    after = held_by(master, b)
    assert after.order > before.order
    assert {blob.digest for blob in after.image.blobs} == digests(new, signed, note)
    assert all(blob.boxes == ["a"] for blob in after.image.blobs if blob.digest in digests(signed, note))
    assert held_by(master, b).order == after.order, "it is on its way"
    b.hold(digests(signed, note))
    assert held_by(master, b).order == after.order


def test_the_signature_of_one_platform_goes_with_the_index(master: MasterContext) -> None:
    a, b = FakeBox(master, "a"), FakeBox(master, "b")
    amd, arm = platform_image("amd64", b"one"), platform_image("arm64", b"two")
    index = tag(master, new_index("site:1", amd, arm), a, b)
    signed = signature(arm.blobs[0])
    a.hold({index.digest} | digests(amd, arm, signed))
    assert tell(master, a, signed)
    wish = held_by(master, b)
    assert (wish.image.manifest, digests(signed) - {blob.digest for blob in wish.image.blobs}) == (
        index.digest,
        set(),
    )


def test_an_image_does_without_a_signature_that_nobody_has_any_more(master: MasterContext) -> None:
    a, b, c = FakeBox(master, "a"), FakeBox(master, "b"), FakeBox(master, "c")
    new = one_image()
    tag(master, new, a, b)
    for box in (a, b):
        box.hold(digests(new))
    assert tell(master, a, signature(new.blobs[0]))
    tag(master, new, b, c)
    a.go_silent()
    wish = held_by(master, c)
    assert {blob.digest for blob in wish.image.blobs} == digests(new)


def test_only_what_a_manifest_proves_and_who_holds_its_image_is_believed(master: MasterContext) -> None:
    a, stranger = FakeBox(master, "a"), FakeBox(master, "stranger")
    new = one_image()
    tag(master, new, a)
    signed = signature(new.blobs[0])
    assert not tell(master, stranger, signed)
    assert not tell(master, a, signature(signed.blobs[0])), "nobody knows yet what it refers to"
    assert not tell(master, a, signed.model_copy(update={"blobs": signed.blobs[:2]}))
    assert not tell(master, a, signed.model_copy(update={"digest": digest_of(b"other")}))
    assert not tell(master, a, platform_image("amd64", b"refers to nothing"))
    assert tell(master, a, signed)
    assert not tell(master, a, signed), "it is known"
    for number in range(MOST_REFERRERS):
        tell(master, a, signature(new.blobs[0], f"signature {number}".encode()))
    with master.database.read() as session:
        assert session.query(ImageReferrer).count() == MOST_REFERRERS


def test_referrers_go_with_their_image(master: MasterContext) -> None:
    a = FakeBox(master, "a")
    new = one_image()
    tag(master, new, a)
    signed = signature(new.blobs[0])
    a.hold(digests(new, signed))
    assert tell(master, a, signed)
    with master.database.write() as session:
        services.remove_tag(session, "site", "1")
    wish = held_by(master, a)
    assert (wish.wanted, {blob.digest for blob in wish.image.blobs}) == ("removed", digests(new, signed))
    ended = Ended(subject=image_subject(new.digest), generation=0)
    assert Reports(master).take("a", ended.model_dump_json())
    with master.database.read() as session:
        assert session.get(Image, new.digest) is None
        assert session.query(ImageReferrer).count() == 0


def test_a_signature_that_is_deleted_is_copied_no_more(master: MasterContext) -> None:
    a = FakeBox(master, "a")
    new = one_image()
    tag(master, new, a)
    signed = signature(new.blobs[0])
    assert tell(master, a, signed)
    with master.database.write() as session:
        services.remove_tags_of(session, "site", signed.digest)
        assert session.query(ImageReferrer).count() == 0


def test_a_platform_that_comes_later_is_fetched_as_soon_as_it_can_be_had(master: MasterContext) -> None:
    a, b = FakeBox(master, "a"), FakeBox(master, "b")
    amd, arm = platform_image("amd64", b"one"), platform_image("arm64", b"two")
    index = tag(master, new_index("site:1", amd, absent=(arm,)), a, b)
    for box in (a, b):
        box.hold({index.digest} | digests(amd))
    before = held_by(master, b)
    tag(master, new_index("site:1", amd, arm), a)
    assert held_by(master, b).order == before.order, "nobody has told yet that it can be had"
    a.hold(digests(arm))
    after = held_by(master, b)
    assert after.order > before.order
    assert {blob.digest for blob in after.image.blobs} == {index.digest} | digests(amd, arm)
    assert all(blob.boxes == ["a"] for blob in after.image.blobs if blob.digest in digests(arm))
