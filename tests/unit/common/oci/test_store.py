"""The content store holds whole, verified blobs and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.oci.digest import BadDigest, digest_of
from common.oci.store import BlobUnknown, ContentStore


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "store")


def test_a_blob_is_found_by_its_digest(store: ContentStore) -> None:
    measured = store.put(b"hello")
    assert measured.digest == digest_of(b"hello")
    assert store.has(measured.digest)
    assert store.size(measured.digest) == 5
    assert store.read(measured.digest, 10) == b"hello"
    assert list(store.digests()) == [measured.digest]


def test_content_with_a_wrong_digest_is_refused_and_leaves_nothing(store: ContentStore) -> None:
    with pytest.raises(BadDigest, match="not sha256:"):
        store.put(b"hello", digest_of(b"other"))
    assert list(store.digests()) == []
    assert list((store.root / "ingest").iterdir()) == []


@pytest.mark.parametrize(
    "digest",
    ["", "sha256:", "sha256:../../etc/passwd", "../oci-layout", "sha512:" + "a" * 128, "sha256:" + "A" * 64,
     "sha256:" + "a" * 64 + "\n", "sha256:" + "a" * 63 + "/"],
)  # fmt: skip
def test_what_is_no_digest_never_becomes_a_path(store: ContentStore, digest: str) -> None:
    with pytest.raises(BadDigest):
        store.path(digest)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\0b", ".hidden"])
def test_an_upload_cannot_be_named_out_of_its_directory(store: ContentStore, name: str) -> None:
    with pytest.raises(BadDigest):
        store.ingest_path(name)


def test_a_missing_blob_is_named_in_the_error(store: ContentStore) -> None:
    digest = digest_of(b"nothing")
    with pytest.raises(BlobUnknown, match=digest):
        store.open(digest)
    with pytest.raises(BlobUnknown, match=digest):
        store.size(digest)


def test_the_store_is_an_image_layout(store: ContentStore) -> None:
    assert json.loads((store.root / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((store.root / "index.json").read_text())
    assert index["schemaVersion"] == 2
    assert index["manifests"] == []


def test_an_open_blob_stays_readable_while_it_is_removed(store: ContentStore) -> None:
    digest = store.put(b"hello").digest
    with store.open(digest) as file:
        store.remove(digest)
        assert file.read() == b"hello"
    assert not store.has(digest)
