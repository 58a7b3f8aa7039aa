"""The OCI distribution specification 1.1: lists of tags, repositories and referrers. Each test names its section."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest

from common.oci.digest import digest_of
from common.oci.manifests import OCI_INDEX
from tests.support.conformance import EMPTY, UNKNOWN, all_pages, artifact, descriptor, section
from tests.support.depository import FakeBox, FakeMaster, Image
from tests.support.registry_client import Answer, Client


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


@section("Listing Tags (end-8b): Link, RFC 5988")
def test_a_link_can_be_followed_as_it_is(client: Client, _section: str) -> None:
    for tag in ("a.1", "a_2", "a-3"):
        client.push(Image(100), tag)
    link = client("GET", "/v2/site/tags/list?n=1").headers["Link"]
    parts = urlsplit(link[1 : link.index(">")])
    assert parts.path == "/v2/site/tags/list"
    assert parse_qs(parts.query) == {"n": ["1"], "last": ["a-3"]}
