"""What the tests of the OCI distribution specification share."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from common.oci.digest import digest_of
from common.oci.manifests import OCI_MANIFEST
from tests.support.depository import MANIFEST_TYPE, Image
from tests.support.registry_client import Client

DATA = bytes(range(256)) * 40


UNKNOWN = digest_of(b"nobody has this")


EMPTY = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(b"{}"), "size": 2}


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
