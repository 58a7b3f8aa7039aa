"""Which blobs an image is made of, by its manifests: nothing that a depository says is taken on trust."""

from __future__ import annotations

from common.errors import BadInput
from common.images import NO_ARCHITECTURE, BlobRef, DescribedImage, PlatformImage, architecture_of
from common.oci.digest import digest_of
from common.oci.manifests import Descriptor, Manifest, parse

AGAIN = "Push it again; a depository of this version tells it right."


def check_image(told: DescribedImage) -> None:
    """Raises BadInput unless texts, digests, blobs and architectures belong together."""
    manifest = _parse(told)
    if not manifest.is_index:
        if told.variants:
            raise BadInput("Only an index has variants.", field="variants", remedy=AGAIN)
        _check_blobs(told, manifest)
        _check_architecture(told, manifest, "")
        return
    own = _own(told, manifest)
    if list(told.blobs) != [own]:
        raise BadInput("The blobs of an index are the index alone.", field="blobs")
    listed = {item.digest: item for item in manifest.manifests}
    for variant in told.variants:
        _check_variant(variant, listed.get(variant.digest))
    if not any(variant.architecture not in NO_ARCHITECTURE for variant in told.variants):
        raise BadInput(
            "None of the images that the index names is here.",
            field="variants",
            remedy="Push at least one of its platforms before the index.",
        )


def _check_variant(variant: PlatformImage, listed: Descriptor | None) -> None:
    if listed is None:
        raise BadInput(f"The index does not name {variant.digest}.", field="variants")
    manifest = _parse(variant)
    if manifest.is_index:
        raise BadInput(
            "An index of indexes is not taken under a tag.", field="variants", remedy="Push the inner one."
        )
    _check_blobs(variant, manifest)
    _check_architecture(variant, manifest, listed.architecture)


def _check_architecture(told: PlatformImage, manifest: Manifest, listed: str) -> None:
    """By what the index says, else by the config that the manifest names; whoever tells it is not believed."""
    if told.config and (manifest.config is None or digest_of(told.config.encode()) != manifest.config.digest):
        raise BadInput("The config is not the one that the manifest names.", field="config", remedy=AGAIN)
    actual = listed or architecture_of(told.config)
    if told.architecture != actual:
        raise BadInput(
            f"{told.digest} is for {actual or 'no architecture'} by its {'index' if listed else 'config'}, "
            f"not for {told.architecture or 'none'}.",
            field="architecture",
            remedy=AGAIN,
        )


def _parse(told: PlatformImage) -> Manifest:
    data = told.manifest.encode()
    if (actual := digest_of(data)) != told.digest:
        raise BadInput(
            f"The manifest has the digest {actual}, not {told.digest}.", field="digest", remedy=AGAIN
        )
    return parse(data, told.media_type)


def _own(told: PlatformImage, manifest: Manifest) -> BlobRef:
    size_bytes = len(told.manifest.encode())
    return BlobRef(digest=told.digest, size_bytes=size_bytes, media_type=manifest.media_type)


def _check_blobs(told: PlatformImage, manifest: Manifest) -> None:
    """The image's blobs in the order in which an engine unpacks them: manifest, config, layers."""
    named = [
        BlobRef(digest=item.digest, size_bytes=item.size_bytes, media_type=item.media_type)
        for item in manifest.references
    ]
    if list(told.blobs) != [_own(told, manifest), *named]:
        raise BadInput("The blobs are not those that the manifest names.", field="blobs", remedy=AGAIN)
