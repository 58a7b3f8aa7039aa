"""An index of images for several platforms, as a depository describes it to the master."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from common.images import BlobRef, PlatformImage
from common.oci.manifests import OCI_INDEX, OCI_MANIFEST
from master.images.services import NewTag

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def platform_image(architecture: str, *layers: bytes, layer_type: str = LAYER) -> PlatformImage:
    """An image whose config says no more than its architecture."""
    config = json.dumps({"architecture": architecture}).encode()
    parts = [(config, "application/vnd.oci.image.config.v1+json"), *((layer, layer_type) for layer in layers)]
    named = [BlobRef(digest=digest_of(data), size_bytes=len(data), media_type=kind) for data, kind in parts]
    descriptors = [_descriptor(item) for item in named]
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptors[0],
        "layers": descriptors[1:],
    }
    text = json.dumps(manifest)
    own = BlobRef(digest=digest_of(text.encode()), size_bytes=len(text), media_type=OCI_MANIFEST)
    return PlatformImage(
        digest=own.digest,
        media_type=OCI_MANIFEST,
        manifest=text,
        blobs=[own, *named],
        config=config.decode(),
        architecture=architecture,
    )


def new_index(name: str, *variants: PlatformImage, absent: tuple[PlatformImage, ...] = ()) -> NewTag:
    """A tag for an index of these images, and of others that were not pushed."""
    entries: list[dict[str, Any]] = [
        {**_descriptor(item.blobs[0]), "platform": {"os": "linux", "architecture": item.architecture}}
        for item in (*variants, *absent)
    ]
    text = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    own = BlobRef(digest=digest_of(text.encode()), size_bytes=len(text), media_type=OCI_INDEX)
    repository, _, tag = name.partition(":")
    return NewTag(
        repository=repository,
        tag=tag,
        digest=own.digest,
        media_type=OCI_INDEX,
        manifest=text,
        blobs=[own],
        architecture="",
        variants=list(variants),
    )


def _descriptor(blob: BlobRef) -> dict[str, Any]:
    return {"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size_bytes}
