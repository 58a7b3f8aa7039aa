"""The registry as the OCI distribution specification 1.1 says, over real HTTP."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.oci.digest import digest_of
from common.tickets import LayerTicket, OpenTicket, issue
from common.words import Role
from tests.support.depository import CONFIG_TYPE, MANIFEST_TYPE, FakeBox, FakeMaster, Image
from tests.support.redis import wait_until
from tests.support.registry_client import Client
from workers.box.lent_space import FILESETS, LentSpace

MakeBox = Callable[..., FakeBox]
DATA = b"0123456789" * 1000


@pytest.fixture
def box(make_box: MakeBox) -> FakeBox:
    return make_box("dep-1")


@pytest.fixture
def client(box: FakeBox, master: FakeMaster) -> Client:
    return Client(box, master.token("site", "other"))


def test_without_a_token_the_answer_says_where_to_get_one(box: FakeBox, master: FakeMaster) -> None:
    answer = Client(box, None)("GET", "/v2/site/manifests/1")
    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
    realm = f'Bearer realm="{master.endpoint.url}/v2/token",service="dep-1"'
    assert answer.headers["WWW-Authenticate"] == f'{realm},scope="repository:site:pull"'
    pushing = Client(box, None)("POST", "/v2/site/blobs/uploads/")
    assert pushing.headers["WWW-Authenticate"] == f'{realm},scope="repository:site:pull,push"'
    assert Client(box, None)("GET", "/v2/").headers["WWW-Authenticate"] == realm


def test_a_good_token_opens_the_base(client: Client) -> None:
    answer = client("GET", "/v2/")
    assert answer.status == 200
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


@pytest.mark.parametrize("kind", ["expired", "another box", "another kind", "forged", "nonsense"])
def test_a_token_that_does_not_hold_is_refused(box: FakeBox, master: FakeMaster, kind: str) -> None:
    good = master.token("site")
    opening = OpenTicket(
        expires_at=time.time() + 60, instance="i-1", generation=1, user="u", once="x", session_until=0
    )
    tokens = {
        "expired": master.token("site", expires_at=time.time() - 1),
        "another box": master.token("site", box="dep-2"),
        "another kind": issue(master.signer, opening),
        "forged": good[:-4] + "AAAA",
        "nonsense": "nonsense",
    }
    answer = Client(box, tokens[kind])("GET", "/v2/site/tags/list")
    assert answer.status == 401
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_a_token_for_pulling_does_not_push(box: FakeBox, master: FakeMaster, method: str) -> None:
    answer = Client(box, master.token("site", actions="pull"))(method, "/v2/site/blobs/uploads/", DATA)
    assert (answer.status, answer.code) == (401, "DENIED")
    assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
    assert box.holdings.digests() == set()


def test_a_blob_is_pushed_in_one_request(client: Client, box: FakeBox) -> None:
    digest = client.push_blob(DATA)
    assert client("GET", f"/v2/site/blobs/{digest}").body == DATA
    head = client("HEAD", f"/v2/site/blobs/{digest}")
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(DATA)))
    assert head.headers["Docker-Content-Digest"] == digest
    assert [item.digest for item in box.holdings.held([digest])] == [digest]


def test_a_blob_is_pushed_in_chunks_that_must_follow_each_other(client: Client) -> None:
    begun = client("POST", "/v2/site/blobs/uploads/")
    assert begun.status == 202
    place = begun.headers["Location"]
    first = client("PATCH", place, DATA[:4000], Content_Range="0-3999")
    assert (first.status, first.headers["Range"]) == (202, "0-3999")
    again = client("PATCH", place, DATA[:4000], Content_Range="0-3999")
    assert (again.status, again.headers["Range"]) == (416, "0-3999")
    gap = client("PATCH", place, DATA[5000:6000], Content_Range="5000-5999")
    assert gap.status == 416
    status = client("GET", place)
    assert (status.status, status.headers["Range"]) == (204, "0-3999")
    digest = digest_of(DATA)
    last = client("PUT", f"{place}?digest={digest}", DATA[4000:], Content_Range=f"4000-{len(DATA) - 1}")
    assert (last.status, last.headers["Location"]) == (201, f"/v2/site/blobs/{digest}")
    assert client("GET", f"/v2/site/blobs/{digest}").body == DATA
    assert client("GET", place).status == 404


def test_an_upload_goes_on_after_the_front_process_was_restarted(
    client: Client, box: FakeBox, master: FakeMaster
) -> None:
    place = client("POST", "/v2/site/blobs/uploads/").headers["Location"]
    client("PATCH", place, DATA[:100])
    again = FakeBox(box.name, box.config.state_dir, master)
    try:
        other = Client(again, client.token)
        assert other("GET", place).headers["Range"] == "0-99"
        assert other("PUT", f"{place}?digest={digest_of(DATA)}", DATA[100:]).status == 201
    finally:
        again.stop()


def test_a_push_with_a_wrong_digest_is_refused_and_leaves_nothing(client: Client, box: FakeBox) -> None:
    wrong = digest_of(b"other")
    answer = client("POST", f"/v2/site/blobs/uploads/?digest={wrong}", DATA)
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert client("HEAD", f"/v2/site/blobs/{wrong}").status == 404
    assert box.holdings.digests() == set()
    assert list((box.paths.store / "ingest").iterdir()) == []


def test_a_push_that_breaks_off_leaves_nothing(client: Client, box: FakeBox) -> None:
    digest = digest_of(DATA)
    with socket.create_connection((box.endpoint.host, box.endpoint.port)) as connection:
        head = f"POST /v2/site/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(DATA)}\r\n"
        connection.sendall(f"{head}Authorization: Bearer {client.token}\r\n\r\n".encode() + DATA[:100])
        wait_until(lambda: uploads(box) == 1, 10, "the upload")
    wait_until(lambda: uploads(box) == 0, 10, "that it is forgotten")


def uploads(box: FakeBox) -> int:
    return len(list((box.paths.store / "ingest").glob("*.upload")))


def test_a_push_that_nobody_goes_on_with_is_forgotten(make_box: MakeBox, master: FakeMaster) -> None:
    box = make_box("dep-1", upload_timer_s=0.05)
    client = Client(box, master.token("site"))
    assert client("POST", "/v2/site/blobs/uploads/").status == 202
    time.sleep(0.1)
    assert client("POST", "/v2/site/blobs/uploads/").status == 202
    assert uploads(box) == 1


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"schemaVersion":2,"config":{"size":1e99}}'])
def test_a_manifest_that_nobody_can_count_with_is_refused(client: Client, body: bytes) -> None:
    assert client("PUT", "/v2/site/manifests/1", body).code == "MANIFEST_INVALID"


@pytest.mark.parametrize("digest", ["sha256:../../../../etc/passwd", "sha512:" + "0" * 128, "", "x"])
def test_a_push_under_no_digest_is_refused(client: Client, digest: str) -> None:
    answer = client("POST", f"/v2/site/blobs/uploads/?digest={digest}", DATA)
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


@pytest.mark.parametrize(
    "path", ["blobs/sha256:..%2f..%2fetc%2fpasswd", "blobs/..%2f..%2fbox.db", "blobs/md5:x"]
)
def test_a_path_that_leads_out_of_the_store_gives_nothing(client: Client, path: str) -> None:
    assert client("GET", f"/v2/site/{path}").status in (400, 404)


def test_an_upload_can_be_cancelled_and_belongs_to_its_repository(client: Client) -> None:
    place = client("POST", "/v2/site/blobs/uploads/").headers["Location"]
    assert client("GET", place.replace("/site/", "/other/")).code == "BLOB_UPLOAD_UNKNOWN"
    assert client("DELETE", place).status == 204
    assert client("PATCH", place, DATA).status == 404


def test_what_does_not_fit_into_the_lent_space_is_refused(make_box: MakeBox, master: FakeMaster) -> None:
    small = make_box("small", lent_bytes=5000)
    answer = Client(small, master.token("site"))(
        "POST", f"/v2/site/blobs/uploads/?digest={digest_of(DATA)}", DATA
    )
    assert (answer.status, answer.code) == (507, "SIZE_INVALID")
    assert "lent space" in answer.body.decode()
    assert list((small.paths.store / "ingest").iterdir()) == []


def test_a_push_leaves_the_room_to_filesets_engine_and_other_pushes(
    make_box: MakeBox, master: FakeMaster
) -> None:
    small = make_box("small", lent_bytes=25_000)
    LentSpace(small.config, small.table).note(FILESETS, 5_000)
    client = Client(small, master.token("site"))
    place = client("POST", "/v2/site/blobs/uploads/").headers["Location"]
    assert client("PATCH", place, DATA).status == 202
    refused = client("POST", f"/v2/site/blobs/uploads/?digest={digest_of(2 * DATA)}", 2 * DATA)
    assert (refused.status, refused.code) == (507, "SIZE_INVALID")
    assert client("PATCH", place, b"more").status == 202
    assert client("DELETE", place).status == 204
    client.push_blob(2 * DATA)


def test_no_more_is_taken_than_the_file_system_has_whatever_was_lent(
    make_box: MakeBox, master: FakeMaster, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    disk = tmp_path / "small"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=257m", "tmpfs", disk], check=True)
    try:
        client = Client(make_box("small", lent_bytes=10**15), master.token("site"))
        large = b"x" * 2 * 2**20
        answer = client("POST", f"/v2/site/blobs/uploads/?digest={digest_of(large)}", large)
        assert (answer.status, answer.code) == (507, "SIZE_INVALID")
        client.push_blob(DATA)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_ranges_are_served(client: Client) -> None:
    digest = client.push_blob(DATA)
    part = client("GET", f"/v2/site/blobs/{digest}", Range="bytes=10-19")
    assert (part.status, part.body) == (206, DATA[10:20])
    assert part.headers["Content-Range"] == f"bytes 10-19/{len(DATA)}"
    assert client("GET", f"/v2/site/blobs/{digest}", Range="bytes=99999-").status == 416


def test_a_blob_is_seen_only_in_its_repository_until_it_is_mounted(client: Client) -> None:
    digest = client.push_blob(DATA)
    assert client("HEAD", f"/v2/other/blobs/{digest}").status == 404
    mounted = client("POST", f"/v2/other/blobs/uploads/?mount={digest}&from=site")
    assert (mounted.status, mounted.headers["Location"]) == (201, f"/v2/other/blobs/{digest}")
    assert client("HEAD", f"/v2/other/blobs/{digest}").status == 200


def test_mounting_from_where_one_may_not_read_begins_an_upload(
    client: Client, box: FakeBox, master: FakeMaster
) -> None:
    digest = client.push_blob(DATA)
    only_other = Client(box, master.token("other"))
    assert only_other("POST", f"/v2/other/blobs/uploads/?mount={digest}&from=site").status == 202
    assert only_other("HEAD", f"/v2/other/blobs/{digest}").status == 404


def test_a_layer_ticket_reads_its_blobs_and_nothing_else(
    client: Client, box: FakeBox, master: FakeMaster
) -> None:
    digest, other = client.push_blob(DATA), client.push_blob(b"other")
    ticket = LayerTicket(expires_at=time.time() + 60, box="reader", blobs=frozenset({digest}))
    reader = Client(box, issue(master.signer, ticket))
    assert reader("GET", f"/v2/whatever/blobs/{digest}").body == DATA
    assert reader("GET", f"/v2/site/blobs/{other}").status == 401
    assert reader("POST", "/v2/site/blobs/uploads/").status == 401
    assert reader("DELETE", f"/v2/site/blobs/{digest}").status == 401


@pytest.mark.parametrize("offers", [True, False])
def test_a_compute_box_gives_what_it_fetched_unless_its_owner_forbids_it(
    make_box: MakeBox, master: FakeMaster, offers: bool
) -> None:
    box, image = make_box("c-1", roles=frozenset({Role.COMPUTE}), offer_layers=offers), Image(1000)
    box.hold(image)
    reader = Client(box, master.layer_ticket(image.by_digest))
    answer = reader("GET", f"/v2/site/manifests/{image.digest}")
    assert answer.status == (200 if offers else 403)
    assert Client(box, master.token("site"))("POST", "/v2/site/blobs/uploads/").status == 405


def test_a_manifest_is_tagged_by_the_master_with_the_clients_own_token(
    client: Client, master: FakeMaster
) -> None:
    image = Image(1000, 2000)
    answer = client.push(image)
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (201, image.digest)
    told = master.tags["site", "1"]
    assert told["box"] == "dep-1"
    assert told["architecture"] == "amd64"
    assert told["manifest"].encode() == image.manifest
    assert [blob["digest"] for blob in told["blobs"]] == list(image.by_digest)
    assert [blob["media_type"] for blob in told["blobs"]][:2] == [MANIFEST_TYPE, CONFIG_TYPE]
    assert ("PUT", "/api/v1/images/tags", f"Bearer {client.token}") in master.requests
    for reference in ("1", image.digest):
        got = client("GET", f"/v2/site/manifests/{reference}")
        assert (got.status, got.body) == (200, image.manifest)
        assert got.headers["Content-Type"] == MANIFEST_TYPE
        head = client("HEAD", f"/v2/site/manifests/{reference}")
        assert (head.status, head.headers["Content-Length"]) == (200, str(len(image.manifest)))
    assert json.loads(client("GET", "/v2/site/tags/list").body) == {"name": "site", "tags": ["1"]}


def test_an_index_is_tagged_with_those_of_its_images_that_are_here(
    client: Client, master: FakeMaster
) -> None:
    image, arm, other = Image(1000), Image(700, seed=3), Image(500, seed=2)
    for item in (image, other):
        assert client.push(item, item.digest).status == 201

    def entry(item: Image, architecture: str) -> dict[str, Any]:
        size = len(item.manifest)
        platform = {"architecture": architecture, "os": "linux"}
        return {"mediaType": MANIFEST_TYPE, "digest": item.digest, "size": size, "platform": platform}

    kind = "application/vnd.oci.image.index.v1+json"
    index = {
        "schemaVersion": 2,
        "mediaType": kind,
        "manifests": [entry(image, "amd64"), entry(arm, "arm64"), entry(other, "unknown")],
    }
    text = json.dumps(index).encode()
    answer = client("PUT", "/v2/site/manifests/1", text, Content_Type=kind)
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (201, digest_of(text))
    told = master.tags["site", "1"]
    assert told["digest"] == digest_of(text)
    assert [(item["digest"], item["architecture"]) for item in told["variants"]] == [
        (image.digest, "amd64"),
        (other.digest, "unknown"),
    ]
    assert [blob["digest"] for blob in told["variants"][0]["blobs"]] == list(image.by_digest)
    got = client("GET", "/v2/site/manifests/1")
    assert (got.body, got.headers["Content-Type"]) == (text, kind)
    index["manifests"] = [entry(arm, "arm64"), entry(other, "unknown")]
    refused = client("PUT", "/v2/site/manifests/2", json.dumps(index).encode(), Content_Type=kind)
    assert (refused.status, refused.code) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert ("site", "2") not in master.tags


def test_a_manifest_whose_blobs_are_missing_is_refused(client: Client, master: FakeMaster) -> None:
    image = Image(1000)
    client.push_blob(image.config)
    answer = client("PUT", "/v2/site/manifests/1", image.manifest, Content_Type=MANIFEST_TYPE)
    assert (answer.status, answer.code) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert digest_of(image.layers[0]) in answer.body.decode()
    assert master.tags == {}


def test_a_manifest_with_a_wrong_digest_or_a_bad_form_is_refused(client: Client) -> None:
    image = Image(1000)
    client.push(image)
    wrong = client("PUT", f"/v2/site/manifests/{digest_of(b'x')}", image.manifest, Content_Type=MANIFEST_TYPE)
    assert (wrong.status, wrong.code) == (400, "DIGEST_INVALID")
    bad = client("PUT", "/v2/site/manifests/1", b"{}", Content_Type=MANIFEST_TYPE)
    assert (bad.status, bad.code) == (400, "MANIFEST_INVALID")
    large = client("PUT", "/v2/site/manifests/1", b" " * (4 * 2**20 + 1), Content_Type=MANIFEST_TYPE)
    assert (large.status, large.code) == (413, "SIZE_INVALID")


def test_unknown_tags_and_repositories_are_named(client: Client) -> None:
    missing = client("GET", "/v2/site/manifests/nothing")
    assert (missing.status, missing.code) == (404, "MANIFEST_UNKNOWN")
    assert "site/nothing" in missing.body.decode()
    assert client("GET", "/v2/site/tags/list").status == 404
    assert client("GET", f"/v2/site/manifests/{digest_of(b'x')}").code == "MANIFEST_UNKNOWN"


def test_a_master_that_is_away_keeps_digests_but_not_tags_readable(
    client: Client, master: FakeMaster
) -> None:
    image = Image(1000)
    client.push(image)
    master.server.shutdown()
    master.server.server_close()
    assert client("GET", f"/v2/site/manifests/{image.digest}").status == 200
    answer = client("GET", "/v2/site/manifests/1")
    assert (answer.status, answer.code) == (503, "UNAVAILABLE")
    assert "master" in answer.body.decode()


def test_deleting_needs_the_right_and_takes_the_blob_out_of_the_repository(
    client: Client, box: FakeBox, master: FakeMaster
) -> None:
    digest = client.push_blob(DATA)
    reader = Client(box, master.token("site", actions="pull,push"))
    assert reader("DELETE", f"/v2/site/blobs/{digest}").status == 401
    assert client("DELETE", f"/v2/site/blobs/{digest}").status == 202
    assert client("GET", f"/v2/site/blobs/{digest}").status == 404
    assert client("DELETE", f"/v2/site/blobs/{digest}").status == 404
    assert client("DELETE", "/v2/site/manifests/1").code == "MANIFEST_UNKNOWN"


def test_a_box_that_is_no_depository_serves_but_takes_nothing(make_box: MakeBox, master: FakeMaster) -> None:
    compute = make_box("c-1", roles=frozenset({"compute"}))
    compute.hold(Image(1000))
    client = Client(compute, master.token("site"))
    assert client("GET", f"/v2/site/manifests/{Image(1000).digest}").status == 200
    answer = client("POST", "/v2/site/blobs/uploads/")
    assert (answer.status, answer.code) == (405, "UNSUPPORTED")
