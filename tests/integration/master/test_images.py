"""Images on the master: tags, who holds what, whose chunk lists are believed, tokens for registry clients."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.errors import BadInput, Conflict, NotFound
from common.images import BlobRef
from common.oci.manifests import OCI_INDEX
from common.signing import Verifier
from common.tickets import RepositoryTicket, TicketChecker
from common.words import InstanceState
from master.context import MasterContext
from master.deployments.models import Deployment, Instance
from master.images import services
from master.images.models import Image, ImageHolding, Tag
from tests.support.images import CONFIG, digest, held, new_tag, push, report
from tests.support.master import FakeBox, add_user, make_master
from tests.support.portal import Portal
from tests.support.redis import RedisServer


@pytest.fixture
def master(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    return make_master(tmp_path, redis_server.url)


@pytest.fixture
def portal(master: MasterContext) -> Portal:
    return Portal(master)


def read(portal: Portal, token: str) -> RepositoryTicket:
    return TicketChecker(Verifier(portal.context.signer.public_key)).check(token, RepositoryTicket)


def test_a_tag_names_the_image_that_was_pushed_last(master: MasterContext) -> None:
    FakeBox(master, "attic")
    first = push(master, "attic", "demo/site:1", b"one")
    second = push(master, "attic", "demo/site:1", b"two")
    with master.database.read() as session:
        assert services.resolve(session, "demo/site:1").digest == second.digest
        assert session.get_one(ImageHolding, (first.digest, "attic")).wanted == "removed"
        assert session.get_one(ImageHolding, (second.digest, "attic")).wanted == "held"
        assert [blob.size_bytes for blob in services.blobs_of(second)][1:] == [len(CONFIG), 3]
        with pytest.raises(NotFound, match=r"demo/other:latest"):
            services.resolve(session, "demo/other")


def test_what_does_not_fit_together_is_not_taken(master: MasterContext) -> None:
    FakeBox(master, "attic")
    good = new_tag("site:1", b"one")
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []})
    bad = {
        "digest": {**vars(good), "digest": digest(b"other")},
        "blobs": {**vars(good), "blobs": good.blobs[:-1]},
        "variants": {
            **vars(good),
            "manifest": index,
            "digest": digest(index.encode()),
            "media_type": OCI_INDEX,
            "blobs": [BlobRef(digest=digest(index.encode()), size_bytes=len(index), media_type=OCI_INDEX)],
        },
    }
    lies = {
        "architecture": {**vars(good), "architecture": "arm64"},
        "config": {**vars(good), "config": '{"architecture": "arm64"}', "architecture": "arm64"},
    }
    for field, values in {**bad, **lies}.items():
        with pytest.raises(BadInput) as error, master.database.write() as session:
            services.set_tag(session, services.NewTag(**values), box="attic", owner=None)
        assert error.value.field == field
    with master.database.read() as session:
        assert session.query(Tag).count() == session.query(Image).count() == 0


def test_an_image_is_held_once_all_its_blobs_are_there(master: MasterContext) -> None:
    attic = FakeBox(master, "attic")
    image = push(master, "attic", "site:1", b"one", b"two")
    digests = [blob.digest for blob in services.blobs_of(image)]

    def is_held() -> bool:
        with master.database.read() as session:
            return session.get_one(ImageHolding, (image.digest, "attic")).held_at is not None

    report(master, "attic", held(image, only=2))
    assert not is_held()
    attic.hold(digests[2:3])
    report(master, "attic", held(image, only=2))
    assert not is_held()
    attic.hold(digests[3:])
    report(master, "attic", held(image, only=2))
    assert is_held()


def test_whoever_holds_every_blob_is_a_holder(master: MasterContext) -> None:
    attic, cellar = FakeBox(master, "attic"), FakeBox(master, "cellar")
    image = push(master, "attic", "site:1", b"one")
    digests = [blob.digest for blob in services.blobs_of(image)]
    attic.hold(digests)
    cellar.hold(digests[:-1])
    with master.database.read() as session:
        assert services.holders(session, master.redis, image) == ["attic"]


def test_removing_the_last_tag_lets_boxes_drop_the_image_and_then_the_row_goes(master: MasterContext) -> None:
    FakeBox(master, "attic")
    image = push(master, "attic", "site:1", b"one")
    push(master, "attic", "site:2", b"one")
    for tag, wanted in (("1", "held"), ("2", "removed")):
        with master.database.write() as session:
            services.remove_tag(session, "site", tag)
        with master.database.read() as session:
            assert session.get_one(ImageHolding, (image.digest, "attic")).wanted == wanted
    with master.database.write() as session:
        services.record_removed(session, "attic", image.digest)
    with master.database.read() as session:
        assert session.get(Image, image.digest) is None


def test_an_image_that_runs_keeps_its_last_name_and_its_layers(master: MasterContext) -> None:
    FakeBox(master, "attic")
    image = push(master, "attic", "site:1", b"one")
    user = add_user(master)
    with master.database.write() as session:
        deployment = Deployment(
            id="d-1", user_id=user.id, application_name="site", title="Site", manifest={}, options={},
            lease_end=0.0,
        )  # fmt: skip
        deployment.instances.append(
            Instance(id="i-1", service="main", state=InstanceState.RUNNING.value, image_digest=image.digest)
        )
        session.add(deployment)
    with pytest.raises(Conflict, match="i-1"), master.database.write() as session:
        services.remove_tag(session, "site", "1")
    push(master, "attic", "site:1", b"two")
    with master.database.read() as session:
        assert session.get_one(ImageHolding, (image.digest, "attic")).wanted == "held"
    with master.database.write() as session:
        session.get_one(Instance, "i-1").state = InstanceState.STOPPED.value
        services.drop_unused(session)
    with master.database.read() as session:
        assert session.get_one(ImageHolding, (image.digest, "attic")).wanted == "removed"


def test_every_change_of_what_a_box_is_to_hold_makes_a_newer_wish(master: MasterContext) -> None:
    FakeBox(master, "attic")
    image = push(master, "attic", "site:1", b"one")
    seen = []

    def look() -> None:
        with master.database.read() as session:
            holding = session.get_one(ImageHolding, (image.digest, "attic"))
            seen.append((holding.wanted, holding.version, holding.held_at is None))

    report(master, "attic", held(image))
    look()
    push(master, "attic", "site:1", b"one")
    look()
    push(master, "attic", "site:1", b"two")
    look()
    push(master, "attic", "site:1", b"one")
    look()
    assert seen == [("held", 0, False), ("held", 0, False), ("removed", 1, False), ("held", 2, True)]


# Over REST.
