"""The OCI distribution specification 1.1, requirement by requirement; each test names its section.

What a depository answers differently on purpose stands in docs/architecture.md, "Layers".
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from common.oci.digest import digest_of
from common.oci.manifests import OCI_MANIFEST
from tests.support.conformance import DATA, UNKNOWN, artifact, begin, descriptor, section
from tests.support.depository import FakeBox, FakeMaster, Image
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
