"""Which blobs an image for one platform is made of, by its manifest."""

from __future__ import annotations

from pydantic import Field

from common.errors import BadInput
from common.oci.digest import digest_of
from common.oci.manifests import parse
from common.words import Digest, Frozen


class BlobRef(Frozen):
    """A blob of an image, as it is kept in SQL and as a depository names it."""

    digest: Digest
    size_bytes: int = Field(ge=0)
    media_type: str = Field(max_length=120)


def read_manifest(text: str, digest: str, media_type: str) -> list[BlobRef]:
    """The image's blobs in the order in which an engine unpacks them: manifest, config, layers.

    Raises BadInput if the text does not have this digest or is not a manifest for one platform.
    """
    data = text.encode()
    if (actual := digest_of(data)) != digest:
        raise BadInput(f"The manifest has the digest {actual}, not {digest}.", field="digest")
    manifest = parse(data, media_type)
    if manifest.is_index:
        raise BadInput(
            "A tag names an image for one platform, and this is an index of several.",
            field="media_type",
            remedy="Push one platform, for example with: skopeo copy (without --all).",
        )
    own = BlobRef(digest=digest, size_bytes=len(data), media_type=manifest.media_type)
    return [
        own,
        *(
            BlobRef(digest=item.digest, size_bytes=item.size_bytes, media_type=item.media_type)
            for item in manifest.references
        ),
    ]
