"""An image as a depository describes it to the master: manifests by their text, blobs by their digests."""

from __future__ import annotations

import json
import re

from pydantic import Field

from common.words import MOST, Digest, Frozen

# What a layer takes unpacked for each byte of its blob, until the engine says better: gzip's usual yield.
UNPACKED_FACTOR = 2.5
MANIFEST_LIMIT = 1_000_000
CONFIG_LIMIT = 500_000
ARCHITECTURE = r"^[a-z0-9_]*$"
# What build tools attach to an image (provenance) stands in an index under this architecture.
NO_ARCHITECTURE = frozenset({"", "unknown"})


def architecture_of(config: str) -> str:
    """The architecture in the text of an image's config; empty if that is the config of no image."""
    try:
        value = json.loads(config)["architecture"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
    return value if isinstance(value, str) and len(value) <= 32 and re.match(ARCHITECTURE, value) else ""


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
    config: str = Field(
        "",
        max_length=CONFIG_LIMIT,
        description="The config's text, whose sha256 the manifest names; empty where an index says the architecture.",
    )
    architecture: str = Field(
        max_length=32, pattern=ARCHITECTURE, description="Empty for an artifact that runs nowhere."
    )


class DescribedImage(PlatformImage):
    """What a tag names: an image for one platform, or an index and those of its images that are held.

    Of an index `blobs` is the index alone and `architecture` is empty.
    """

    variants: list[PlatformImage] = Field(default_factory=list, max_length=100)
