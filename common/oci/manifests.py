"""Image manifests and indexes, of OCI and of Docker (schema 2). Schema 1 is refused: it is not addressable."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from common.errors import BadInput
from common.words import MOST, is_digest

LIMIT_BYTES = 4 * 2**20

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_LIST})


class BadManifest(BadInput):
    """Bytes that are not a manifest this project takes."""

    http_status = 400
    usual_remedy = "Push the image again with docker push, skopeo copy or openraas image push."


@dataclass(frozen=True)
class Descriptor:
    """What a manifest says of one blob (OCI image specification, "Content Descriptors")."""

    media_type: str
    digest: str
    size_bytes: int
    architecture: str = ""
    elsewhere: bool = False

    def as_json(self) -> dict[str, Any]:
        """In the form of the specification."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size_bytes}


@dataclass(frozen=True)
class Manifest:
    """A manifest (config and layers) or an index (`manifests`)."""

    media_type: str
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    manifests: tuple[Descriptor, ...] = ()
    subject: Descriptor | None = None
    told_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def artifact_type(self) -> str:
        """What it is (distribution specification 1.1, "Listing Referrers"); an image says so by its config."""
        return self.told_type or (self.config.media_type if self.config else "")

    @property
    def is_index(self) -> bool:
        """Whether it names manifests instead of layers."""
        return self.media_type in INDEX_TYPES

    @property
    def references(self) -> tuple[Descriptor, ...]:
        """All that must be held for this to be of use: config, then layers in order; or the manifests."""
        own = (self.config, *self.layers) if self.config else self.layers
        return tuple(item for item in (*own, *self.manifests) if not item.elsewhere)


def parse(data: bytes, content_type: str | None = None) -> Manifest:
    """The manifest in `data`; `content_type` is what came with it. Raises BadManifest."""
    if len(data) > LIMIT_BYTES:
        raise BadManifest(f"A manifest may have {LIMIT_BYTES} bytes, this one has {len(data)}.")
    try:
        value = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise BadManifest(f"The manifest is not JSON: {error}.") from error
    if not isinstance(value, dict) or value.get("schemaVersion") != 2:
        raise BadManifest("The manifest has no schemaVersion 2.", field="schemaVersion")
    media_type = _media_type(value, (content_type or "").split(";")[0].strip())
    is_index = media_type in INDEX_TYPES
    told_type, annotations = value.get("artifactType") or "", value.get("annotations") or {}
    if not isinstance(told_type, str):
        raise BadManifest("artifactType is not a text.", field="artifactType")
    if not isinstance(annotations, dict) or not all(isinstance(item, str) for item in annotations.values()):
        raise BadManifest("annotations are not texts by name.", field="annotations")
    return Manifest(
        media_type,
        config=None if is_index else _descriptor(value.get("config"), "config"),
        layers=() if is_index else _descriptors(value, "layers"),
        manifests=_descriptors(value, "manifests") if is_index else (),
        subject=_descriptor(value["subject"], "subject") if value.get("subject") else None,
        told_type=told_type,
        annotations=annotations,
    )


def _media_type(value: dict[str, Any], content_type: str) -> str:
    told = value.get("mediaType") or content_type
    known = MANIFEST_TYPES | INDEX_TYPES
    if not told:
        told = OCI_INDEX if "manifests" in value else OCI_MANIFEST
    if told not in known:
        raise BadManifest(f"Manifests of type {str(told)[:100]!r} are not taken.", field="mediaType")
    if content_type in known and content_type != told:
        raise BadManifest(f"It came as {content_type} and calls itself {told}.", field="mediaType")
    # An index that calls itself a manifest would be read differently by different clients.
    if (told in INDEX_TYPES) != ("manifests" in value) or (told in MANIFEST_TYPES) != ("layers" in value):
        raise BadManifest(f"The content does not fit the type {told}.", field="mediaType")
    return str(told)


def _descriptors(value: dict[str, Any], field: str) -> tuple[Descriptor, ...]:
    items = value.get(field)
    if not isinstance(items, list):
        raise BadManifest(f"{field} is not a list.", field=field)
    return tuple(_descriptor(item, f"{field}.{number}") for number, item in enumerate(items))


def _descriptor(value: object, field: str) -> Descriptor:
    if not isinstance(value, dict):
        raise BadManifest(f"{field} is not a descriptor.", field=field)
    digest, size, media_type = value.get("digest"), value.get("size"), value.get("mediaType", "")
    if not isinstance(digest, str) or not is_digest(digest):
        raise BadManifest(f"{field}.digest is not a sha256 digest.", field=f"{field}.digest")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MOST:
        raise BadManifest(f"{field}.size is not a number of bytes.", field=f"{field}.size")
    if not isinstance(media_type, str):
        raise BadManifest(f"{field}.mediaType is not a text.", field=f"{field}.mediaType")
    elsewhere = bool(value.get("urls"))
    return Descriptor(media_type, digest, size, _architecture(value.get("platform")), elsewhere)


def _architecture(platform: object) -> str:
    """Of a platform (OCI image specification, "Image Index"); unknown if it is not Linux."""
    if not isinstance(platform, dict):
        return ""
    if platform.get("os", "linux") not in ("linux", ""):
        return "unknown"
    return str(platform.get("architecture", ""))[:32]
