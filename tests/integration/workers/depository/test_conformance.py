"""The OCI distribution specification 1.1, requirement by requirement; each test names its section.

What a depository answers differently on purpose stands in docs/architecture.md, "Layers".
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from common.oci.digest import digest_of
from common.oci.manifests import OCI_INDEX, OCI_MANIFEST
from tests.support.depository import MANIFEST_TYPE, FakeBox, FakeMaster, Image
from tests.support.registry_client import Answer, Client

DATA = bytes(range(256)) * 40
UNKNOWN = digest_of(b"nobody has this")
EMPTY = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(b"{}"), "size": 2}


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


def section(name: str) -> Callable[[Any], Any]:
    """Mark a test with the section of the specification that it proves."""
    return pytest.mark.parametrize("_section", [name])


def begin(client: Client, repository: str = "site") -> str:
    answer = client("POST", f"/v2/{repository}/blobs/uploads/", Content_Length="0")
    assert answer.status == 202
    return str(answer.headers["Location"])


def artifact(subject: dict[str, Any] | None, **fields: Any) -> dict[str, Any]:
    value = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.example.signature",
        "config": EMPTY,
        "layers": [],
        **fields,
    }
    return value if subject is None else {**value, "subject": subject}


def descriptor(image: Image) -> dict[str, Any]:
    return {"mediaType": MANIFEST_TYPE, "digest": image.digest, "size": len(image.manifest)}


def all_pages(client: Client, path: str, key: str) -> list[list[Any]]:
    """Follow the links from the first page to the last."""
    pages, following = [], path
    while following:
        answer = client("GET", following)
        assert answer.status == 200
        pages.append(json.loads(answer.body)[key])
        link = answer.headers["Link"]
        assert link is None or link.endswith('>; rel="next"')
        following = link[1 : link.index(">")] if link else ""
    return pages


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


@section("POST then PUT (end-4a, end-6)")
def test_a_blob_is_pushed_with_post_and_put(client: Client, _section: str) -> None:
    place, digest = begin(client), digest_of(DATA)
    answer = client("PUT", f"{place}?digest={digest}", DATA, Content_Type="application/octet-stream")
    assert (answer.status, answer.headers["Location"]) == (201, f"/v2/site/blobs/{digest}")
    assert client("GET", answer.headers["Location"]).body == DATA


@section("POST then PUT (end-4a, end-6)")
def test_each_session_has_a_location_of_its_own(client: Client, _section: str) -> None:
    assert begin(client) != begin(client)


@section("Pushing blobs: invalid digests")
@pytest.mark.parametrize("digest", ["", "sha256:short", "md5:" + "0" * 32, digest_of(b"other")])
def test_a_digest_that_is_invalid_unsupported_or_wrong_is_400(
    client: Client, digest: str, _section: str
) -> None:
    answer = client("PUT", f"{begin(client)}?digest={digest}", DATA)
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


@section("Single POST (end-4b)")
def test_a_blob_is_pushed_with_a_single_post(client: Client, _section: str) -> None:
    digest = digest_of(DATA)
    answer = client("POST", f"/v2/site/blobs/uploads/?digest={digest}", DATA)
    assert (answer.status, answer.headers["Location"]) == (201, f"/v2/site/blobs/{digest}")


@section("Pushing a blob in chunks (end-5, end-6)")
@pytest.mark.parametrize("in_put", [True, False])
def test_a_blob_is_pushed_in_chunks(client: Client, in_put: bool, _section: str) -> None:
    place, digest, half = begin(client), digest_of(DATA), len(DATA) // 2
    for first, last in [(0, 99), (100, half - 1), *([] if in_put else [(half, len(DATA) - 1)])]:
        chunk = client("PATCH", place, DATA[first : last + 1], Content_Range=f"{first}-{last}")
        assert (chunk.status, chunk.headers["Range"]) == (202, f"0-{last}")
        place = chunk.headers["Location"]
    rest = {"Content_Range": f"{half}-{len(DATA) - 1}"} if in_put else {}
    answer = client("PUT", f"{place}?digest={digest}", DATA[half:] if in_put else b"", **rest)
    assert (answer.status, answer.headers["Location"]) == (201, f"/v2/site/blobs/{digest}")
    assert client("GET", f"/v2/site/blobs/{digest}").body == DATA


@section("Pushing a blob in chunks (end-5, end-6)")
def test_a_chunk_without_a_range_is_appended(client: Client, _section: str) -> None:
    place = begin(client)
    for piece in (DATA[:1000], DATA[1000:]):
        place = client("PATCH", place, piece).headers["Location"]
    assert client("PUT", f"{place}?digest={digest_of(DATA)}").status == 201


@section("Pushing a blob in chunks (end-5, end-6): out of order")
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_chunk_out_of_order_is_416_and_the_upload_goes_on(
    client: Client, method: str, _section: str
) -> None:
    place, digest = begin(client), digest_of(DATA)
    first = client("PATCH", place, DATA[10:20], Content_Range="10-19")
    assert first.status == 416, "the first chunk begins with 0"
    assert client("PATCH", place, DATA[:1000], Content_Range="0-999").status == 202
    query = f"?digest={digest}" if method == "PUT" else ""
    gap = client(method, place + query, DATA[2000:], Content_Range=f"2000-{len(DATA) - 1}")
    assert (gap.status, gap.code) == (416, "BLOB_UPLOAD_INVALID")
    assert (gap.headers["Location"], gap.headers["Range"]) == (place, "0-999")
    on = client("PUT", f"{place}?digest={digest}", DATA[1000:], Content_Range=f"1000-{len(DATA) - 1}")
    assert on.status == 201


@section("Pushing a blob in chunks (end-5): Content-Range")
def test_a_content_range_that_cannot_be_read_or_does_not_fit_is_refused(
    client: Client, _section: str
) -> None:
    place = begin(client)
    assert client("PATCH", place, DATA[:10], Content_Range="x").code == "BLOB_UPLOAD_INVALID"
    assert client("PATCH", place, DATA[:10], Content_Range="0-99").status == 416
    assert client("GET", place).headers["Range"] == "0-0"


@section("Pushing a blob in chunks (end-13): status")
def test_the_status_of_an_upload_says_how_to_go_on(client: Client, _section: str) -> None:
    place = begin(client)
    client("PATCH", place, DATA[:500], Content_Range="0-499")
    answer = client("GET", place)
    assert (answer.status, answer.headers["Range"], answer.headers["Location"]) == (204, "0-499", place)
    assert answer.headers["Docker-Upload-UUID"] == place.rsplit("/", 1)[-1]


@section("Pushing a blob in chunks (end-13): status")
@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_an_unknown_upload_is_404(client: Client, method: str, _section: str) -> None:
    path = f"/v2/site/blobs/uploads/{'0' * 32}?digest={digest_of(DATA)}"
    answer = client(method, path, DATA if method in ("PATCH", "PUT") else b"")
    assert (answer.status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")


@section("Cancel a blob upload (end-14)")
def test_an_upload_is_cancelled(client: Client, box: FakeBox, _section: str) -> None:
    place = begin(client)
    client("PATCH", place, DATA[:500])
    assert client("DELETE", place).status == 204
    assert client("GET", place).status == 404
    assert list((box.paths.store / "ingest").iterdir()) == []


@section("Mounting a blob from another repository (end-11)")
def test_a_blob_is_mounted_from_another_repository(client: Client, _section: str) -> None:
    digest = client.push_blob(DATA)
    answer = client("POST", f"/v2/team/deep/site/blobs/uploads/?mount={digest}&from=site")
    assert (answer.status, answer.headers["Location"]) == (201, f"/v2/team/deep/site/blobs/{digest}")
    assert answer.headers["Docker-Content-Digest"] == digest
    assert client("GET", answer.headers["Location"]).body == DATA


@section("Mounting a blob from another repository (end-11)")
@pytest.mark.parametrize(
    "query",
    [f"mount={UNKNOWN}&from=site", f"mount={digest_of(DATA)}&from=nowhere", f"mount={digest_of(DATA)}"],
)
def test_what_cannot_be_mounted_begins_an_upload(client: Client, query: str, _section: str) -> None:
    client.push_blob(DATA)
    answer = client("POST", f"/v2/other/blobs/uploads/?{query}")
    assert answer.status == 202
    assert client("PUT", f"{answer.headers['Location']}?digest={digest_of(b'x')}", b"x").status == 201


@section("Pushing Manifests (end-7)")
def test_a_manifest_is_stored_byte_for_byte(client: Client, _section: str) -> None:
    client.push_blob(b"{}")
    text = json.dumps(artifact(None), indent=7).encode() + b"\n\n"
    for reference in (digest_of(text), "odd"):
        answer = client("PUT", f"/v2/site/manifests/{reference}", text, Content_Type=OCI_MANIFEST)
        assert answer.status == 201
        assert answer.headers["Docker-Content-Digest"] == digest_of(text)
        assert client("GET", answer.headers["Location"]).body == text
        assert client("GET", f"/v2/site/manifests/{reference}").body == text


@section("Pushing Manifests (end-7)")
def test_parameters_of_a_manifests_content_type_are_ignored(client: Client, _section: str) -> None:
    client.push_blob(b"{}")
    text = json.dumps(artifact(None)).encode()
    kind = f"{OCI_MANIFEST}; charset=utf-8"
    assert client("PUT", "/v2/site/manifests/1", text, Content_Type=kind).status == 201
    assert client("GET", "/v2/site/manifests/1").headers["Content-Type"] == OCI_MANIFEST


@section("Pushing Manifests (end-7)")
def test_an_artifact_may_have_no_layers_and_a_type_of_its_own(client: Client, _section: str) -> None:
    client.push_blob(b"{}")
    assert client.put_manifest(artifact(None), "1").status == 201


@section("Pushing Manifests (end-7)")
def test_a_manifest_of_4_megabytes_is_taken_and_a_larger_one_is_413(client: Client, _section: str) -> None:
    client.push_blob(b"{}")
    value = artifact(None, annotations={"filler": ""})
    value["annotations"]["filler"] = "x" * (4 * 2**20 - len(json.dumps(value)))
    assert client.put_manifest(value).status == 201
    value["annotations"]["filler"] += "x"
    assert client.put_manifest(value).status == 413


@section("Push: references to what does not exist")
def test_missing_blobs_are_named_as_manifest_blob_unknown(client: Client, _section: str) -> None:
    layer = {"mediaType": "application/octet-stream", "digest": UNKNOWN, "size": 3}
    client.push_blob(b"{}")
    answer = client.put_manifest(artifact(None, layers=[layer]), "1")
    assert (answer.status, answer.code) == (404, "MANIFEST_BLOB_UNKNOWN")


@section("Push: references to what does not exist")
def test_a_subject_may_come_after_its_referrers(client: Client, _section: str) -> None:
    client.push_blob(b"{}")
    later = {"mediaType": OCI_MANIFEST, "digest": UNKNOWN, "size": 3}
    answer = client.put_manifest(artifact(later))
    assert (answer.status, answer.headers["OCI-Subject"]) == (201, UNKNOWN)


@section("Pushing Manifests with Subject")
def test_only_a_manifest_with_a_subject_is_answered_with_it(
    client: Client, image: Image, _section: str
) -> None:
    client.push_blob(b"{}")
    assert client.put_manifest(artifact(descriptor(image))).headers["OCI-Subject"] == image.digest
    assert client.put_manifest(artifact(None)).headers["OCI-Subject"] is None


@section("Listing Tags (end-8a)")
def test_tags_are_listed_in_order(client: Client, _section: str) -> None:
    for tag in ("b", "a", "C", "10", "9"):
        client.push(Image(100), tag)
    answer = client("GET", "/v2/site/tags/list")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert json.loads(answer.body) == {"name": "site", "tags": ["10", "9", "C", "a", "b"]}
    assert client("GET", "/v2/other/tags/list").code == "NAME_UNKNOWN"


@section("Listing Tags (end-8a)")
def test_a_repository_without_tags_has_an_empty_list(client: Client, _section: str) -> None:
    made = Image(100)
    client.push(made, made.digest)
    answer = client("GET", "/v2/site/tags/list")
    assert (answer.status, json.loads(answer.body)["tags"]) == (200, [])


@section("Listing Tags (end-8b)")
@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_tags_come_in_pages_that_link_to_the_next(client: Client, size: int, _section: str) -> None:
    tags = [f"t{number}" for number in range(5)]
    for tag in tags:
        client.push(Image(100), tag)
    pages = all_pages(client, f"/v2/site/tags/list?n={size}", "tags")
    assert [tag for page in pages for tag in page] == tags
    assert all(len(page) == size for page in pages[:-1])


@section("Listing Tags (end-8b)")
def test_pages_of_tags_begin_behind_last_and_an_empty_one_links_nowhere(
    client: Client, _section: str
) -> None:
    for tag in "abcd":
        client.push(Image(100), tag)

    def tags(query: str) -> Answer:
        return client("GET", f"/v2/site/tags/list?{query}")

    assert json.loads(tags("last=b").body)["tags"] == ["c", "d"]
    assert json.loads(tags("last=bb&n=1").body)["tags"] == ["c"]
    assert json.loads(tags("last=d").body)["tags"] == []
    none = tags("n=0")
    assert (json.loads(none.body)["tags"], none.headers["Link"]) == ([], None)
    assert tags("n=-1").status == tags("n=x").status == 400


@section("CNCF distribution: Listing Repositories (GET /v2/_catalog)")
def test_repositories_are_listed_in_pages_to_who_may_see_them(
    client: Client, box: FakeBox, master: FakeMaster, _section: str
) -> None:
    for repository in ("site", "other", "team/deep/site"):
        client.push(Image(100, repository=repository))
    assert all_pages(client, "/v2/_catalog?n=2", "repositories") == [["other", "site"], ["team/deep/site"]]
    assert all_pages(client, "/v2/_catalog", "repositories") == [["other", "site", "team/deep/site"]]
    assert all_pages(client, "/v2/_catalog?n=0", "repositories") == [[]]
    refused = Client(box, master.token("site"))("GET", "/v2/_catalog")
    assert refused.status == 401
    assert 'scope="registry:catalog:*"' in refused.headers["WWW-Authenticate"]


@section("Listing Referrers (end-12a)")
def test_referrers_are_listed_with_type_and_annotations(client: Client, image: Image, _section: str) -> None:
    client.push_blob(b"{}")
    noted = artifact(descriptor(image), annotations={"by": "ada"})
    plain = artifact(descriptor(image), artifactType="")
    index = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [],
        "subject": descriptor(image),
        "annotations": {"of": "many"},
    }
    values = [noted, plain, index]
    assert [client.put_manifest(value).status for value in values] == [201, 201, 201]
    answer = client("GET", f"/v2/site/referrers/{image.digest}")
    assert (answer.status, answer.headers["Content-Type"]) == (200, OCI_INDEX)
    found = json.loads(answer.body)
    assert (found["schemaVersion"], found["mediaType"]) == (2, OCI_INDEX)
    by_digest = {item["digest"]: item for item in found["manifests"]}
    keys = [digest_of(json.dumps(value).encode()) for value in values]
    assert set(by_digest) == set(keys)
    assert by_digest[keys[0]]["artifactType"] == "application/vnd.example.signature"
    assert by_digest[keys[0]]["annotations"] == {"by": "ada"}
    assert by_digest[keys[0]]["size"] == len(json.dumps(noted))
    assert by_digest[keys[1]]["artifactType"] == EMPTY["mediaType"], "an image's config stands in for it"
    assert "artifactType" not in by_digest[keys[2]]
    assert by_digest[keys[2]]["mediaType"] == OCI_INDEX


@section("Listing Referrers (end-12a)")
def test_nobody_who_refers_is_an_empty_list_and_a_bad_digest_is_400(client: Client, _section: str) -> None:
    answer = client("GET", f"/v2/site/referrers/{UNKNOWN}")
    assert (answer.status, json.loads(answer.body)["manifests"]) == (200, [])
    assert client("GET", "/v2/site/referrers/sha256:short").status == 400
    assert client("GET", "/v2/nothing-here/referrers/x").status == 400


@section("Listing Referrers (end-12b)")
def test_referrers_are_filtered_by_their_type(client: Client, image: Image, _section: str) -> None:
    client.push_blob(b"{}")
    client.put_manifest(artifact(descriptor(image)))
    client.put_manifest(artifact(descriptor(image), artifactType="application/vnd.example.sbom"))
    path = f"/v2/site/referrers/{image.digest}?artifactType=application/vnd.example.sbom"
    answer = client("GET", path)
    assert answer.headers["OCI-Filters-Applied"] == "artifactType"
    kinds = [item["artifactType"] for item in json.loads(answer.body)["manifests"]]
    assert kinds == ["application/vnd.example.sbom"]
    assert client("GET", path.partition("?")[0]).headers["OCI-Filters-Applied"] is None


@section("Listing Referrers (end-12a): pages")
def test_many_referrers_come_in_pages(
    client: Client, image: Image, monkeypatch: pytest.MonkeyPatch, _section: str
) -> None:
    monkeypatch.setattr("workers.depository.referrers.PAGE", 2)
    client.push_blob(b"{}")
    for number in range(5):
        client.put_manifest(artifact(descriptor(image), annotations={"number": str(number)}))
    kind = "application/vnd.example.signature"
    pages = all_pages(client, f"/v2/site/referrers/{image.digest}?artifactType={kind}", "manifests")
    assert [len(page) for page in pages] == [2, 2, 1]
    assert len({item["digest"] for page in pages for item in page}) == 5


@section("Listing Referrers: only of the same <name>")
def test_referrers_of_another_repository_are_not_told(client: Client, image: Image, _section: str) -> None:
    client.push_blob(b"{}", "other")
    client.put_manifest(artifact(descriptor(image)), repository="other")
    assert json.loads(client("GET", f"/v2/site/referrers/{image.digest}").body)["manifests"] == []


@section("Enabling the Referrers API")
def test_what_was_pushed_before_referrers_were_listed_is_listed_too(
    client: Client, box: FakeBox, image: Image, master: FakeMaster, _section: str
) -> None:
    client.push_blob(b"{}")
    client.put_manifest(artifact(descriptor(image)))
    box.table.write("DROP TABLE referrers")
    again = FakeBox(box.name, box.config.state_dir, master)
    try:
        answer = Client(again, client.token)("GET", f"/v2/site/referrers/{image.digest}")
        assert len(json.loads(answer.body)["manifests"]) == 1
    finally:
        again.stop()


@section("Deleting tags (end-9)")
def test_a_deleted_tag_is_gone_and_its_manifest_stays(client: Client, image: Image, _section: str) -> None:
    assert client("DELETE", "/v2/site/manifests/1").status == 202
    assert client("GET", "/v2/site/manifests/1").status == 404
    assert client("GET", f"/v2/site/manifests/{image.digest}").status == 200
    assert client("DELETE", "/v2/site/manifests/1").status == 404


@section("Deleting Manifests (end-9)")
def test_a_deleted_manifest_is_gone_with_all_its_tags(client: Client, image: Image, _section: str) -> None:
    client.push(image, "again")
    assert client("DELETE", f"/v2/site/manifests/{image.digest}").status == 202
    for reference in ("1", "again", image.digest):
        assert client("GET", f"/v2/site/manifests/{reference}").status == 404
    assert client("DELETE", f"/v2/site/manifests/{image.digest}").status == 404
    assert client("DELETE", f"/v2/other/manifests/{image.digest}").status == 404


@section("Deleting Manifests (end-9)")
def test_a_deleted_referrer_is_no_longer_listed(client: Client, image: Image, _section: str) -> None:
    client.push_blob(b"{}")
    digest = client.put_manifest(artifact(descriptor(image))).headers["Docker-Content-Digest"]
    assert client("DELETE", f"/v2/site/manifests/{digest}").status == 202
    assert json.loads(client("GET", f"/v2/site/referrers/{image.digest}").body)["manifests"] == []


@section("Deleting Blobs (end-10)")
def test_a_deleted_blob_is_gone(client: Client, _section: str) -> None:
    digest = client.push_blob(DATA)
    assert client("DELETE", f"/v2/site/blobs/{digest}").status == 202
    assert client("GET", f"/v2/site/blobs/{digest}").status == 404
    assert client("DELETE", f"/v2/site/blobs/{digest}").status == 404


@section("Error Codes")
def test_errors_have_the_form_of_the_specification(client: Client, _section: str) -> None:
    answer = client("GET", f"/v2/site/blobs/{UNKNOWN}")
    assert answer.headers["Content-Type"] == "application/json"
    (error,) = json.loads(answer.body)["errors"]
    assert set(error) == {"code", "message", "detail"}
    assert error["code"].isupper()
    assert UNKNOWN in error["message"]


@section("Error Codes")
def test_an_unknown_endpoint_is_404_and_a_wrong_method_405(client: Client, _section: str) -> None:
    assert client("GET", "/v2/site/things/1").status == 404
    for path in ("manifests/1", f"blobs/{UNKNOWN}", "tags/list", f"referrers/{UNKNOWN}"):
        answer = client("PATCH", f"/v2/site/{path}")
        assert (answer.status, answer.code) == (405, "UNSUPPORTED")


@section("Token authentication (CNCF distribution): scope")
def test_the_challenge_names_the_scope_that_is_needed(box: FakeBox, _section: str) -> None:
    def scope(method: str, path: str) -> str:
        challenge = Client(box, None)(method, path).headers["WWW-Authenticate"]
        fields = dict(item.split("=", 1) for item in challenge.removeprefix("Bearer ").split('",'))
        return fields["scope"].strip('"')

    assert scope("GET", f"/v2/a/b/referrers/{UNKNOWN}") == "repository:a/b:pull"
    assert scope("DELETE", "/v2/a/b/manifests/1") == "repository:a/b:delete"
    assert scope("PUT", "/v2/a/b/manifests/1") == "repository:a/b:pull,push"


@section("Listing Tags (end-8b): Link, RFC 5988")
def test_a_link_can_be_followed_as_it_is(client: Client, _section: str) -> None:
    for tag in ("a.1", "a_2", "a-3"):
        client.push(Image(100), tag)
    link = client("GET", "/v2/site/tags/list?n=1").headers["Link"]
    parts = urlsplit(link[1 : link.index(">")])
    assert parts.path == "/v2/site/tags/list"
    assert parse_qs(parts.query) == {"n": ["1"], "last": ["a-3"]}
