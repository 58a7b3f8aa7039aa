"""What refers to an image, such as a signature, lives as long as the image and is copied with it."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.oci.digest import digest_of
from common.oci.manifests import OCI_MANIFEST
from common.reports import Held, Referred
from common.wishes import BlobSource, HoldWish
from tests.support.depository import MANIFEST_TYPE, FakeBox, FakeMaster, Image
from tests.support.depository_role import MakeWorker, hold
from tests.support.redis import wait_until
from tests.support.registry_client import Client
from workers.depository.keeping import BLOBS_SUBJECT

MakeBox = Callable[..., FakeBox]
EMPTY = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(b"{}"), "size": 2}
SIGNATURE = b"a signature"


def artifact(subject: dict[str, Any], payload: bytes) -> dict[str, Any]:
    layer = {"mediaType": "application/vnd.example", "digest": digest_of(payload), "size": len(payload)}
    return {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.example.signature",
        "config": EMPTY,
        "layers": [layer],
        "subject": subject,
    }


def descriptor(value: dict[str, Any]) -> dict[str, Any]:
    data = json.dumps(value).encode()
    return {"mediaType": value["mediaType"], "digest": digest_of(data), "size": len(data)}


def push_signature(box: FakeBox, image: Image) -> list[dict[str, Any]]:
    """Push a signature of the image, and a note about the signature; gives their manifests."""
    client = Client(box, box.master.token("site"))
    subject = {"mediaType": MANIFEST_TYPE, "digest": image.digest, "size": len(image.manifest)}
    signature = artifact(subject, SIGNATURE)
    made = [signature, artifact(descriptor(signature), b"a note")]
    for data in (b"{}", SIGNATURE, b"a note"):
        client.push_blob(data)
    for value in made:
        assert client.put_manifest(value).status == 201
    return made


def digests(manifests: list[dict[str, Any]]) -> set[str]:
    parts = {digest_of(data) for data in (b"{}", SIGNATURE, b"a note")}
    return parts | {descriptor(value)["digest"] for value in manifests}


def test_what_refers_to_an_image_stays_while_the_image_is_kept(
    make_box: MakeBox, make_worker: MakeWorker
) -> None:
    box, image = make_box("dep-1", layer_timer_s=3600), Image(1000)
    box.hold(image)
    signed = digests(push_signature(box, image))
    worker = make_worker(box)
    worker.wish(wish := hold(box, box, image))
    worker.may_drop_blobs(box.holdings.digests())
    box.table.write("UPDATE blobs SET used_at = ?, pinned_until = 0", (time.time() - 7200,))
    worker.role.tidy()
    assert box.holdings.digests() == {*image.by_digest, *signed}
    worker.wish(wish.model_copy(update={"wanted": "removed", "version": 2}))
    wait_until(lambda: not box.holdings.digests() & set(image.by_digest), what="the end of the image")
    worker.role.tidy()
    assert box.holdings.digests() == set()


def test_an_image_that_is_used_keeps_what_refers_to_it_although_nobody_asks_for_that(
    make_box: MakeBox, make_worker: MakeWorker
) -> None:
    box, image = make_box("dep-1", layer_timer_s=3600), Image(1000)
    box.hold(image)
    push_signature(box, image)
    worker = make_worker(box)
    here = box.holdings.digests()
    worker.may_drop_blobs(here)
    box.table.write("UPDATE blobs SET used_at = ?, pinned_until = 0", (time.time() - 7200,))
    box.holdings.touch(image.by_digest)
    worker.role.tidy()
    assert box.holdings.digests() == here


def test_the_master_is_told_once_and_again_when_a_tag_was_set(
    make_box: MakeBox, make_worker: MakeWorker
) -> None:
    box, image = make_box("dep-1"), Image(1000)
    client = Client(box, box.master.token("site"))
    client.push(image)
    manifests = push_signature(box, image)
    worker = make_worker(box)

    def told() -> list[str]:
        return [
            item.digest for report in worker.reports.of(Referred, BLOBS_SUBJECT) for item in report.referrers
        ]

    worker.role.tidy()
    worker.role.tidy()
    # The master learns of the signature before it learns what refers to the signature.
    expected = [descriptor(value)["digest"] for value in manifests]
    assert told() == expected
    (report,) = worker.reports.of(Referred, BLOBS_SUBJECT)
    assert [blob.digest for blob in report.referrers[0].blobs][1:] == [EMPTY["digest"], digest_of(SIGNATURE)]
    client.push(image, "2")
    worker.role.tidy()
    assert told() == 2 * expected


def test_the_copy_of_an_image_tells_its_referrers_and_gives_them_to_clients(
    make_box: MakeBox, make_worker: MakeWorker, master: FakeMaster, tmp_path: Path
) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    one, two, image = make_box("dep-1"), make_box("dep-2"), Image(100_000)
    one.hold(image)
    signature, _ = push_signature(one, image)
    worker = make_worker(two)
    wish = hold(two, one, image)
    more = one.holdings.digests() - set(image.by_digest)
    blobs = [
        BlobSource(
            digest=blob.digest, size_bytes=blob.size_bytes, media_type=blob.media_type, boxes=["dep-1"]
        )
        for digest in sorted(more)
        if (blob := one.holdings.find(digest)) is not None
    ]
    ticket = master.layer_ticket(one.holdings.digests())
    source = wish.image.model_copy(update={"blobs": [*wish.image.blobs, *blobs], "ticket": ticket})
    worker.wish(HoldWish.model_validate({**dict(wish), "image": source}))
    wait_until(lambda: worker.reports.of(Held, wish.subject), what="the copy")
    answer = Client(two, master.token("site"))("GET", f"/v2/site/referrers/{image.digest}")
    (listed,) = json.loads(answer.body)["manifests"]
    assert listed["digest"] == descriptor(signature)["digest"]
    assert listed["artifactType"] == signature["artifactType"]
    from_copy = f"docker://127.0.0.1:{two.endpoint.port}/site@{listed['digest']}"
    command = [
        "skopeo",
        "copy",
        "--all",
        "--src-tls-verify=false",
        "--src-registry-token",
        master.token("site"),
    ]
    done = subprocess.run(
        [*command, from_copy, f"oci:{tmp_path / 'out'}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    name = digest_of(SIGNATURE).removeprefix("sha256:")
    assert (tmp_path / "out" / "blobs" / "sha256" / name).read_bytes() == SIGNATURE
    # Only where it was pushed the master is told of it: what was deleted there does not come back from a copy.
    worker.role.tidy()
    assert worker.reports.of(Referred, BLOBS_SUBJECT) == []
