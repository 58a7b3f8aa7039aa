"""What a depository tells the master of an image that it holds: the manifests' texts and what they name."""

from __future__ import annotations

from common.images import (
    CONFIG_LIMIT,
    MANIFEST_LIMIT,
    BlobRef,
    DescribedImage,
    PlatformImage,
    architecture_of,
)
from common.oci.digest import BadDigest, digest_of
from common.oci.manifests import LIMIT_BYTES, BadManifest, Descriptor, Manifest, parse
from common.oci.store import BlobUnknown
from workers.depository.holdings import Holdings


def describe(holdings: Holdings, data: bytes, manifest: Manifest, repository: str) -> DescribedImage:
    """The image of the manifest `data`; of an index, with those of its images that are whole in `repository`.

    Raises BadManifest for what is too long to be told, or nests indexes.
    """
    if len(data) > MANIFEST_LIMIT:
        raise BadManifest(
            f"A manifest under a tag may have {MANIFEST_LIMIT} bytes, this one has {len(data)}."
        )
    if not manifest.is_index:
        return DescribedImage(**platform_image(holdings, data, manifest, "").model_dump())
    own = BlobRef(digest=digest_of(data), size_bytes=len(data), media_type=manifest.media_type)
    return DescribedImage(
        digest=own.digest,
        media_type=manifest.media_type,
        manifest=data.decode(),
        blobs=[own],
        architecture="",
        variants=_variants(holdings, manifest, repository),
    )


def _variants(holdings: Holdings, index: Manifest, repository: str) -> list[PlatformImage]:
    variants: dict[str, PlatformImage] = {}
    for item in index.manifests:
        if item.digest in variants or not (found := _whole(holdings, item, repository)):
            continue
        data, manifest = found
        variants[item.digest] = platform_image(holdings, data, manifest, item.architecture)
    return list(variants.values())


def _whole(holdings: Holdings, item: Descriptor, repository: str) -> tuple[bytes, Manifest] | None:
    """The text and content of an index's manifest, if that and all it names is here."""
    if holdings.find(item.digest, repository) is None:
        return None
    data = holdings.store.read(item.digest, LIMIT_BYTES)
    manifest = parse(data, item.media_type)
    if manifest.is_index:
        raise BadManifest("An index of indexes is not taken under a tag.", field="manifests")
    missing = holdings.missing(named.digest for named in manifest.references)
    return None if missing else (data, manifest)


def platform_image(holdings: Holdings, data: bytes, manifest: Manifest, architecture: str) -> PlatformImage:
    """The image of a manifest that is no index; `architecture` is what an index says of it, or empty."""
    own = BlobRef(digest=digest_of(data), size_bytes=len(data), media_type=manifest.media_type)
    named = [
        BlobRef(digest=item.digest, size_bytes=item.size_bytes, media_type=item.media_type)
        for item in manifest.references
    ]
    config = "" if architecture else _config(holdings, manifest)
    return PlatformImage(
        digest=own.digest,
        media_type=manifest.media_type,
        manifest=data.decode(),
        blobs=[own, *named],
        config=config,
        architecture=architecture or architecture_of(config),
    )


def _config(holdings: Holdings, manifest: Manifest) -> str:
    """The config's text, from which the master reads the architecture; empty for an artifact that is no image."""
    if manifest.config is None:
        return ""
    try:
        return holdings.store.read(manifest.config.digest, CONFIG_LIMIT).decode()
    except (BadDigest, BlobUnknown, UnicodeDecodeError):
        return ""
