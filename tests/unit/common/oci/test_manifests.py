"""Manifests of OCI and Docker are read; everything else is refused with the field's name."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.oci.digest import digest_of
from common.oci.manifests import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    LIMIT_BYTES,
    OCI_INDEX,
    OCI_MANIFEST,
    BadManifest,
    parse,
)


def descriptor(content: bytes, **more: Any) -> dict[str, Any]:
    return {"mediaType": "application/x", "digest": digest_of(content), "size": len(content), **more}


def manifest(**changes: Any) -> dict[str, Any]:
    value = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(b"config"),
        "layers": [descriptor(b"one"), descriptor(b"two")],
    }
    return {**value, **changes}


def test_references_are_the_config_and_then_the_layers_in_order() -> None:
    parsed = parse(json.dumps(manifest()).encode())
    contents = (b"config", b"one", b"two")
    assert [item.digest for item in parsed.references] == [digest_of(content) for content in contents]
    assert not parsed.is_index


def test_a_docker_manifest_is_told_by_its_content_type() -> None:
    value = manifest()
    del value["mediaType"]
    assert parse(json.dumps(value).encode(), DOCKER_MANIFEST).media_type == DOCKER_MANIFEST
    assert parse(json.dumps(value).encode()).media_type == OCI_MANIFEST


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
def test_an_index_references_its_manifests(media_type: str) -> None:
    entry = descriptor(b"m", platform={"architecture": "arm64", "os": "linux"})
    parsed = parse(json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": [entry]}).encode())
    assert parsed.is_index
    assert [item.architecture for item in parsed.references] == ["arm64"]


def test_a_layer_that_lies_elsewhere_is_not_needed_here() -> None:
    value = manifest(layers=[descriptor(b"one", urls=["https://example.org/layer"])])
    assert [item.digest for item in parse(json.dumps(value).encode()).references] == [digest_of(b"config")]


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (manifest(schemaVersion=1), "schemaVersion"),
        (manifest(mediaType="application/pdf"), "mediaType"),
        (manifest(mediaType=OCI_INDEX), "mediaType"),
        (manifest(manifests=[]), "mediaType"),
        (manifest(config=None), "config"),
        (manifest(layers={}), "layers"),
        (manifest(layers=[{"digest": "sha256:../x", "size": 1}]), "layers.0.digest"),
        (manifest(layers=[descriptor(b"x", size=-1)]), "layers.0.size"),
        (manifest(layers=[descriptor(b"x", size=True)]), "layers.0.size"),
        ([], "schemaVersion"),
    ],
)
def test_a_bad_manifest_is_refused_with_the_name_of_the_field(value: Any, field: str) -> None:
    with pytest.raises(BadManifest) as caught:
        parse(json.dumps(value).encode())
    assert caught.value.field == field


def test_a_manifest_that_came_as_something_else_is_refused() -> None:
    with pytest.raises(BadManifest, match="calls itself"):
        parse(json.dumps(manifest()).encode(), DOCKER_MANIFEST)


def test_a_manifest_has_a_largest_size() -> None:
    with pytest.raises(BadManifest, match=str(LIMIT_BYTES)):
        parse(b" " * (LIMIT_BYTES + 1))


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["schemaVersion", "config", "layers", "digest", "mediaType"]), inner),
    max_leaves=10,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_no_bytes_raise_anything_but_a_clear_error(data: bytes) -> None:
    with contextlib.suppress(BadManifest):
        parse(data)
