"""An image as a depository describes it to the master: manifests by their text, blobs by their digests."""

from __future__ import annotations

from pydantic import Field

from common.words import MOST, Digest, Frozen

# What a layer takes unpacked for each byte of its blob, until the engine says better: gzip's usual yield.
UNPACKED_FACTOR = 2.5
MANIFEST_LIMIT = 1_000_000
# What build tools attach to an image (provenance) stands in an index under this architecture.
NO_ARCHITECTURE = frozenset({"", "unknown"})


class BlobRef(Frozen):
    """A blob of an image, as it is kept in SQL and as a depository names it."""

    digest: Digest
    size_bytes: int = Field(ge=0, le=MOST)
    media_type: str = Field(max_length=120)

    @property
    def is_zstd(self) -> bool:
        """Whether it is a layer that only some engines unpack."""
        return self.media_type.endswith(("+zstd", ".zstd"))


class PlatformImage(Frozen):
    """An image for one platform."""

    digest: Digest
    media_type: str = Field(max_length=120)
    manifest: str = Field(
        max_length=MANIFEST_LIMIT, description="The manifest's text, whose sha256 is the digest."
    )
    blobs: list[BlobRef] = Field(max_length=1000, description="Manifest, config, layers in order.")
    architecture: str = Field(
        max_length=32, pattern=r"^[a-z0-9_]*$", description="Empty for an artifact that runs nowhere."
    )


class DescribedImage(PlatformImage):
    """What a tag names: an image for one platform, or an index and those of its images that are held.

    Of an index `blobs` is the index alone and `architecture` is empty.
    """

    variants: list[PlatformImage] = Field(default_factory=list, max_length=100)
