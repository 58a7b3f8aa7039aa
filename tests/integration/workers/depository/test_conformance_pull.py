"""The OCI distribution specification 1.1: pulling. Each test names its section."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.conformance import DATA, UNKNOWN, section
from tests.support.depository import MANIFEST_TYPE, FakeBox, FakeMaster, Image
from tests.support.registry_client import Client


@pytest.fixture
def box(make_box: Callable[..., FakeBox]) -> FakeBox:
    return make_box("dep-1")


@pytest.fixture
def client(box: FakeBox, master: FakeMaster) -> Client:
    return Client(box, master.token("site", "team/deep/site", "other", catalogue=True))


@pytest.fixture
def image(client: Client) -> Image:
    """An image that was pushed as site:1."""
    made = Image(3000, 2000)
    assert client.push(made).status == 201
    return made


@section("Determining Support (end-1)")
def test_the_base_answers_200_to_who_may_and_401_to_others(
    client: Client, box: FakeBox, _section: str
) -> None:
    assert client("GET", "/v2/").status == 200
    assert Client(box, None)("GET", "/v2/").status == 401
    assert client("POST", "/v2/").status == 405


@section("Pulling manifests (end-3)")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_manifest_is_had_by_tag_and_by_digest(
    client: Client, image: Image, method: str, _section: str
) -> None:
    for reference in ("1", image.digest):
        answer = client(method, f"/v2/site/manifests/{reference}", Accept=MANIFEST_TYPE)
        assert answer.status == 200
        assert answer.body == (image.manifest if method == "GET" else b"")
        assert answer.headers["Content-Length"] == str(len(image.manifest))
        assert answer.headers["Content-Type"] == MANIFEST_TYPE
        assert answer.headers["Docker-Content-Digest"] == image.digest


@section("Pulling manifests (end-3)")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", [f"site/manifests/{UNKNOWN}", "site/manifests/2", "other/manifests/1"])
def test_an_unknown_manifest_or_repository_is_404(
    client: Client, image: Image, method: str, path: str, _section: str
) -> None:
    answer = client(method, f"/v2/{path}")
    assert answer.status == 404
    if method == "GET":
        assert answer.code == "MANIFEST_UNKNOWN"
    else:
        assert answer.body == b""


@section("Pulling manifests (end-3): <name> and <tag>")
@pytest.mark.parametrize("name", ["Site", "a//b", "-a", "a-", "a..b", "a___b", "ä"])
def test_a_name_outside_of_the_grammar_is_invalid(client: Client, name: str, _section: str) -> None:
    from urllib.parse import quote

    answer = client("GET", f"/v2/{quote(name)}/manifests/1")
    assert (answer.status, answer.code) == (400, "NAME_INVALID")


@section("Pulling manifests (end-3): <name> and <tag>")
def test_tags_of_128_characters_are_taken_and_longer_ones_are_not(client: Client, _section: str) -> None:
    made = Image(100)
    assert client.push(made, "t" * 128).status == 201
    assert client("GET", f"/v2/site/manifests/{'t' * 128}").status == 200
    assert client("GET", f"/v2/site/manifests/{'t' * 129}").status == 404
    assert client.push(made, "t" * 129).status in (400, 404)


@section("Pulling blobs (end-2)")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_blob_is_had_by_digest(client: Client, method: str, _section: str) -> None:
    digest = client.push_blob(DATA)
    answer = client(method, f"/v2/site/blobs/{digest}")
    assert (answer.status, answer.body) == (200, DATA if method == "GET" else b"")
    assert answer.headers["Content-Length"] == str(len(DATA))
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Docker-Content-Digest"] == digest


@section("Pulling blobs (end-2)")
def test_an_unknown_blob_is_404(client: Client, _section: str) -> None:
    answer = client("GET", f"/v2/site/blobs/{UNKNOWN}")
    assert (answer.status, answer.code) == (404, "BLOB_UNKNOWN")
    head = client("HEAD", f"/v2/site/blobs/{UNKNOWN}")
    assert (head.status, head.body) == (404, b"")


@section("Pulling blobs (end-2): Range, RFC 9110 section 14")
@pytest.mark.parametrize(
    ("header", "first", "last"),
    [
        ("bytes=0-0", 0, 0), ("bytes=5-99", 5, 99), ("bytes=-7", -7, -1), ("bytes=10-", 10, -1),
        ("bytes=9-99999999", 9, -1),
    ],
)  # fmt: skip
def test_a_range_of_a_blob_is_206(client: Client, header: str, first: int, last: int, _section: str) -> None:
    digest = client.push_blob(DATA)
    first, last = first % len(DATA), last % len(DATA)
    answer = client("GET", f"/v2/site/blobs/{digest}", Range=header)
    assert (answer.status, answer.body) == (206, DATA[first : last + 1])
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(DATA)}"
    assert answer.headers["Accept-Ranges"] == "bytes"


@section("Pulling blobs (end-2): Range, RFC 9110 section 14")
def test_a_range_behind_the_end_is_416_and_an_unreadable_one_is_ignored(
    client: Client, _section: str
) -> None:
    digest = client.push_blob(DATA)
    behind = client("GET", f"/v2/site/blobs/{digest}", Range=f"bytes={len(DATA)}-")
    assert (behind.status, behind.headers["Content-Range"]) == (416, f"bytes */{len(DATA)}")
    for header in ("lines=1-2", "bytes=2-1", "bytes=x"):
        answer = client("GET", f"/v2/site/blobs/{digest}", Range=header)
        assert (answer.status, answer.body) == (200, DATA)
