"""Reading an image manifest: which blobs an image for one platform is made of.

Media types and fields are those of the OCI image specification ("Image Manifest Specification") and of
Docker's "Image Manifest Version 2, Schema 2".
"""

from __future__ import annotations

import hashlib

from pydantic import BaseModel, Field, ValidationError

from common.errors import BadInput
from common.words import Digest, Frozen

IMAGE_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


class BlobRef(Frozen):
    """A blob of an image, as it is kept in SQL."""

    digest: Digest
    size_bytes: int = Field(ge=0)
    media_type: str = Field(max_length=120)


class _Descriptor(BaseModel):
    digest: Digest
    size: int = Field(ge=0)
    media_type: str = Field(alias="mediaType", max_length=120)

    def ref(self) -> BlobRef:
        return BlobRef(digest=self.digest, size_bytes=self.size, media_type=self.media_type)


class _Manifest(BaseModel):
    schema_version: int = Field(alias="schemaVersion", ge=2, le=2)
    config: _Descriptor
    layers: list[_Descriptor] = Field(max_length=1000)


def read_manifest(text: str, digest: str, media_type: str) -> list[BlobRef]:
    """The image's blobs in the order in which an engine unpacks them: manifest, config, layers.

    Raises BadInput if the text does not have this digest or is not a manifest for one platform.
    """
    data = text.encode()
    actual = f"sha256:{hashlib.sha256(data).hexdigest()}"
    if actual != digest:
        raise BadInput(f"The manifest has the digest {actual}, not {digest}.", field="digest")
    if media_type not in IMAGE_MANIFESTS:
        raise BadInput(
            f"A tag names an image for one platform, and {media_type} is something else.",
            field="media_type",
            remedy="Push one platform, for example with docker push --platform linux/amd64.",
        )
    try:
        manifest = _Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"The manifest cannot be read: {where}: {first['msg']}.", field="manifest") from error
    own = BlobRef(digest=digest, size_bytes=len(data), media_type=media_type)
    return [own, manifest.config.ref(), *(layer.ref() for layer in manifest.layers)]
