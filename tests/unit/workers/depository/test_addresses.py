"""Paths of the registry are read exactly, and no bad name passes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.words import is_digest
from workers.depository.addresses import Where, parse_path
from workers.depository.errors import RegistryError
from workers.depository.http_ranges import parse_range

DIGEST = "sha256:" + "a" * 64
UPLOAD = "0" * 32


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("/v2", Where("base")),
        ("/v2/", Where("base")),
        ("/v2/site/manifests/1", Where("manifests", "site", "1")),
        (f"/v2/a/b-c/d__e/manifests/{DIGEST}", Where("manifests", "a/b-c/d__e", DIGEST)),
        (f"/v2/site/blobs/{DIGEST}", Where("blobs", "site", DIGEST)),
        ("/v2/site/blobs/uploads/", Where("uploads", "site", "")),
        ("/v2/site/blobs/uploads", Where("uploads", "site", "")),
        (f"/v2/site/blobs/uploads/{UPLOAD}", Where("uploads", "site", UPLOAD)),
        ("/v2/site/tags/list", Where("tags", "site")),
        (f"/v2/blobs/blobs/{DIGEST}", Where("blobs", "blobs", DIGEST)),
    ],
)
def test_a_path_names_what_the_specification_says(path: str, where: Where) -> None:
    assert parse_path(path) == where


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v2/site/blobs/sha256:../../../etc/passwd", "DIGEST_INVALID"),
        ("/v2/site/blobs/md5:abc", "DIGEST_INVALID"),
        ("/v2/../etc/manifests/1", "NAME_INVALID"),
        ("/v2/Site/manifests/1", "NAME_INVALID"),
        (f"/v2//blobs/{DIGEST}", "NAME_INVALID"),
        ("/v2/site/manifests/../../x", "MANIFEST_UNKNOWN"),
        ("/v2/site/manifests/-bad", "MANIFEST_UNKNOWN"),
        ("/v2/site/blobs/uploads/../x", "BLOB_UPLOAD_UNKNOWN"),
        ("/v2/_other", "UNSUPPORTED"),
    ],
)
def test_bad_paths_are_refused_by_their_code(path: str, code: str) -> None:
    with pytest.raises(RegistryError) as caught:
        parse_path(path)
    assert caught.value.code == code
    assert 400 <= caught.value.http_status < 500


@given(st.text(alphabet="av2/.:-_ABCsha256manifestsblobsuploads\0\n", max_size=60))
def test_no_path_gives_a_dangerous_name(rest: str) -> None:
    with contextlib.suppress(RegistryError):
        where = parse_path("/v2/" + rest)
        assert ".." not in where.repository
        assert not where.repository.startswith("/")
        if where.kind == "blobs":
            assert is_digest(where.reference)
        assert "/" not in where.reference


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (None, None),
        ("bytes=0-9", range(10)),
        ("bytes=90-", range(90, 100)),
        ("bytes=90-500", range(90, 100)),
        ("bytes=-5", range(95, 100)),
        ("bytes=-500", range(100)),
        ("bytes=9-3", None),
        ("bytes=0-1,5-6", None),
        ("lines=1-2", None),
        ("bytes=-", None),
    ],
)
def test_one_range_of_bytes_is_understood_and_others_are_ignored(
    header: str | None, wanted: range | None
) -> None:
    assert parse_range(header, 100) == wanted


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_beyond_the_end_is_refused_with_the_size(header: str) -> None:
    with pytest.raises(RegistryError) as caught:
        parse_range(header, 100)
    assert caught.value.http_status == 416
    assert caught.value.headers["Content-Range"] == "bytes */100"
