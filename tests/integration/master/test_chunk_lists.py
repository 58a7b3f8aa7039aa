"""Whose chunk lists are believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.reports import Held
from common.signing import Verifier
from common.tickets import RepositoryTicket, TicketChecker
from common.words import Endpoint
from master.context import MasterContext
from master.images import services
from master.images.models import BlobChunks, Image
from tests.support.images import digest, held, push, report
from tests.support.master import FakeBox, make_master
from tests.support.portal import Portal
from tests.support.redis import RedisServer


@pytest.fixture
def master(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    return make_master(tmp_path, redis_server.url)


@pytest.fixture
def portal(master: MasterContext) -> Portal:
    return Portal(master)


def chunk_row(master: MasterContext, image: Image) -> BlobChunks | None:
    with master.database.read() as session:
        return session.get(BlobChunks, image.digest)


def read(portal: Portal, token: str) -> RepositoryTicket:
    return TicketChecker(Verifier(portal.context.signer.public_key)).check(token, RepositoryTicket)


def test_a_chunk_list_counts_once_a_second_box_has_the_same(master: MasterContext) -> None:
    image = push(master, FakeBox(master, "attic").name, "site:1", b"one")
    FakeBox(master, "cellar")
    report(master, "attic", held(image))
    report(master, "attic", held(image))
    row = chunk_row(master, image)
    assert row is not None
    assert (row.made_by, row.confirmed_by) == ("attic", None)
    with master.database.read() as session:
        source = services.build_source(session, image, {"attic": Endpoint(host="h", port=1)}, "ticket")
    assert {blob.chunk_list for blob in source.blobs} == {None}
    report(master, "cellar", held(image))
    with master.database.read() as session:
        source = services.build_source(session, image, {"attic": Endpoint(host="h", port=1)}, "ticket")
    assert [blob.chunk_list.blob for blob in source.blobs if blob.chunk_list] == [
        blob.digest for blob in services.blobs_of(image)
    ]
    assert (source.name, source.blobs[0].digest, source.blobs[0].boxes) == ("site:1", image.digest, ["attic"])


def test_two_boxes_that_disagree_leave_no_chunk_list_and_one_cannot_undo_a_confirmed_one(
    master: MasterContext,
) -> None:
    image = push(master, FakeBox(master, "attic").name, "site:1", b"one")
    report(master, "liar", held(image, chunks="lie"))
    report(master, "attic", held(image))
    assert chunk_row(master, image) is None
    report(master, "attic", held(image))
    report(master, "cellar", held(image))
    report(master, "liar", held(image, chunks="lie"))
    row = chunk_row(master, image)
    assert row is not None
    assert (row.made_by, row.confirmed_by) == ("attic", "cellar")


def test_a_chunk_list_that_cannot_be_the_blobs_is_not_kept(master: MasterContext) -> None:
    image = push(master, FakeBox(master, "attic").name, "site:1", b"one")
    good = held(image).blobs[0]
    for change in ({"chunks": []}, {"chunks": ["x"]}, {"size_bytes": 1}, {"blob": digest(b"other")}):
        bad = good.model_copy(update={"chunk_list": good.chunk_list.model_copy(update=change)})
        report(master, "attic", Held(subject="image.1", generation=1, blobs=[bad]))
    assert chunk_row(master, image) is None
