"""Images in files: what `docker save` writes, and OCI image layouts, as a directory or a tar.

An archive of one platform gives an image; one of several gives an index and the images that are in it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.images import NO_ARCHITECTURE
from common.oci.digest import digest_of, hex_of
from common.oci.layers import ArchivedBlob, LayerCache, Packer, Packing
from common.oci.manifests import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Descriptor, Manifest, parse
from common.oci.members import BadArchive, Members, open_members

DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYERS = {Packing.NONE: OCI_LAYER, Packing.GZIP: f"{OCI_LAYER}+gzip", Packing.ZSTD: f"{OCI_LAYER}+zstd"}
# Layers whose packing is ours to choose; others (attestations, foreign layers) stay as they are.
_DOCKER_LAYERS = frozenset({DOCKER_LAYER, "application/vnd.docker.image.rootfs.diff.tar"})
_LAYERS = _DOCKER_LAYERS | frozenset(OCI_LAYERS.values())


@dataclass(frozen=True)
class ArchivedImage:
    """An image for one platform, ready to be pushed: its blobs first (config, then layers), then the manifest."""

    manifest: bytes
    media_type: str
    architecture: str
    blobs: tuple[ArchivedBlob, ...]

    @property
    def digest(self) -> str:
        """The digest of the manifest."""
        return digest_of(self.manifest)


@dataclass(frozen=True)
class Archive:
    """What is in a file: one image, or an index and its images (not necessarily all that it names)."""

    images: tuple[ArchivedImage, ...]
    index: bytes | None = None
    index_type: str = OCI_INDEX

    @property
    def digest(self) -> str:
        """Of what a tag is to name."""
        return self.images[0].digest if self.index is None else digest_of(self.index)

    @property
    def architectures(self) -> list[str]:
        """What it runs on."""
        found = (image.architecture for image in self.images)
        return list(dict.fromkeys(name for name in found if name not in NO_ARCHITECTURE))

    @property
    def size_bytes(self) -> int:
        """All blobs, each once."""
        blobs = (blob.descriptor for image in self.images for blob in image.blobs)
        return sum({blob.digest: blob.size_bytes for blob in blobs}.values())


@contextmanager
def open_archive(
    path: Path,
    *,
    architectures: Collection[str] = (),
    packing: Packing | None = None,
    cache: LayerCache | None = None,
) -> Iterator[Archive]:
    """What is in `path`; its blobs can be read while the context is open.

    Of several platforms `architectures` leaves only those (one alone gives that image without an index).
    Raises BadArchive.
    """
    with tempfile.TemporaryDirectory(prefix="openraas-archive-") as scratch, open_members(path) as files:
        packer = Packer(Path(scratch), packing, cache)
        if files.has("index.json"):
            yield _from_layout(files, packer, architectures)
        elif files.has("manifest.json"):
            yield Archive((_check(_from_docker(files, packer), architectures, files.name),))
        else:
            raise BadArchive(
                f"{path} is neither an OCI image layout nor the output of docker save.",
                field="path",
                remedy="Make one: docker save IMAGE -o image.tar.",
            )


def _blob(digest: str) -> str:
    return f"blobs/sha256/{hex_of(digest)}"


def _from_layout(files: Members, packer: Packer, architectures: Collection[str]) -> Archive:
    data = files.read("index.json")
    index = parse(data)
    if len(index.manifests) == 1:
        data = files.read(_blob(index.manifests[0].digest))
        index = parse(data)
    elif len({item.architecture for item in index.manifests}) < len(index.manifests):
        raise _unclear(index, files.name)
    if not index.is_index:
        return Archive((_check(_image_of(files, packer, data), architectures, files.name),))
    here = [item for item in index.manifests if files.has(_blob(item.digest))]
    chosen = [item for item in here if _is_wanted(item, packer, architectures)]
    if not any(item.architecture != "unknown" for item in chosen):
        raise _unclear(index, files.name)
    images = [_image_of(files, packer, files.read(_blob(item.digest))) for item in chosen]
    if len(architectures) == 1:
        return Archive((images[0],))
    changed = {
        item.digest: image for item, image in zip(chosen, images, strict=True) if image.digest != item.digest
    }
    if changed or "mediaType" not in json.loads(data):
        data = _rewritten(data, changed, [item.digest for item in chosen])
    return Archive(tuple(images), data, index.media_type)


def _is_wanted(item: Descriptor, packer: Packer, architectures: Collection[str]) -> bool:
    """Notes on how an image was built go with the image as it was built, or not at all."""
    if item.architecture == "unknown":
        return not architectures and packer.packing is None
    return not architectures or item.architecture in architectures


def _unclear(index: Manifest, name: str) -> BadArchive:
    known = sorted({item.architecture or "one without a platform" for item in index.manifests} - {"unknown"})
    return BadArchive(
        f"{name} holds no image, or several, that could be meant (architectures: {', '.join(known) or 'none'}).",
        field="architecture",
        remedy="Name one that is there, or save a single image.",
    )


def _check(image: ArchivedImage, architectures: Collection[str], name: str) -> ArchivedImage:
    if architectures and image.architecture not in architectures:
        raise BadArchive(
            f"{name} holds an image for {image.architecture or 'no architecture'}.", field="architecture"
        )
    return image


def _rewritten(data: bytes, changed: dict[str, ArchivedImage], kept: list[str]) -> bytes:
    """The index with what was packed anew in the place of what was there, without what is not pushed."""
    value = json.loads(data)
    value.setdefault("mediaType", OCI_INDEX)
    value["manifests"] = [entry for entry in value["manifests"] if entry["digest"] in kept]
    for entry in value["manifests"]:
        if (image := changed.get(entry["digest"])) is not None:
            own = Descriptor(image.media_type, image.digest, len(image.manifest))
            entry.update(own.as_json())
    return json.dumps(value).encode()


def _image_of(files: Members, packer: Packer, data: bytes) -> ArchivedImage:
    manifest = parse(data)
    if manifest.config is None:
        raise BadArchive(f"{files.name} holds no image.", field="path")
    content = files.read(_blob(manifest.config.digest))
    value = _object(content)
    diff_ids = _diff_ids(value, len(manifest.layers))
    layers = [
        _layer(files, packer, _blob(item.digest), item, diff_id)
        for item, diff_id in zip(manifest.layers, diff_ids, strict=True)
        if not item.elsewhere
    ]
    kept = [item for item in manifest.layers if not item.elsewhere]
    config = ArchivedBlob(manifest.config, lambda: files.open(_blob(manifest.config.digest)))  # type: ignore[union-attr]
    if any(new.descriptor != old for new, old in zip(layers, kept, strict=True)):
        data, config = _repacked(data, config, layers)
    return _image(data, parse(data).media_type, value, (config, *layers))


def _repacked(data: bytes, config: ArchivedBlob, layers: list[ArchivedBlob]) -> tuple[bytes, ArchivedBlob]:
    """The manifest with other layers; Docker's own has no types but gzip, so that it becomes OCI's then."""
    value = json.loads(data)
    own = [entry for entry in value["layers"] if not entry.get("urls")]
    for entry, new in zip(own, layers, strict=True):
        entry.update(new.descriptor.as_json())
    if value.get("mediaType") == DOCKER_MANIFEST and not _is_dockers(layers):
        value["mediaType"] = OCI_MANIFEST
        config = replace(config, descriptor=replace(config.descriptor, media_type=OCI_CONFIG))
        value["config"] = config.descriptor.as_json()
        for entry in own:
            if entry["mediaType"] == DOCKER_LAYER:
                entry["mediaType"] = OCI_LAYERS[Packing.GZIP]
    return json.dumps(value).encode(), config


def _is_dockers(layers: list[ArchivedBlob]) -> bool:
    return all(layer.descriptor.media_type in _DOCKER_LAYERS for layer in layers)


def _from_docker(files: Members, packer: Packer) -> ArchivedImage:
    """What `docker save` of engines before 25 writes: manifest.json, a config, a directory per layer."""
    entries = files.json("manifest.json")
    if not isinstance(entries, list) or len(entries) != 1 or not isinstance(entries[0], dict):
        raise BadArchive(f"{files.name} does not hold exactly one image.", field="path")
    try:
        config_name, layer_names = str(entries[0]["Config"]), [str(name) for name in entries[0]["Layers"]]
    except (KeyError, TypeError) as error:
        raise BadArchive(f"manifest.json in {files.name} has no {error}.", field="path") from error
    content = files.read(config_name)
    value = _object(content)
    diff_ids = _diff_ids(value, len(layer_names))
    layers = [
        _layer(files, packer, name, None, diff_id)
        for name, diff_id in zip(layer_names, diff_ids, strict=True)
    ]
    is_dockers = _is_dockers(layers)
    config = Descriptor(DOCKER_CONFIG if is_dockers else OCI_CONFIG, digest_of(content), len(content))
    manifest = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST if is_dockers else OCI_MANIFEST,
        "config": config.as_json(),
        "layers": [layer.descriptor.as_json() for layer in layers],
    }
    blobs = (ArchivedBlob(config, lambda: files.open(config_name)), *layers)
    return _image(json.dumps(manifest).encode(), str(manifest["mediaType"]), value, blobs)


def _layer(files: Members, packer: Packer, name: str, told: Descriptor | None, diff_id: str) -> ArchivedBlob:
    if told is not None and told.media_type not in _LAYERS:
        return ArchivedBlob(told, lambda: files.open(name))
    packing, blob = packer.pack(lambda: files.open(name), told, diff_id)
    if blob.descriptor.media_type:
        return blob
    dockers = told is None or told.media_type in _DOCKER_LAYERS
    media_type = DOCKER_LAYER if dockers and packing is Packing.GZIP else OCI_LAYERS[packing]
    return replace(blob, descriptor=replace(blob.descriptor, media_type=media_type))


def _image(
    data: bytes, media_type: str, config: dict[str, Any], blobs: tuple[ArchivedBlob, ...]
) -> ArchivedImage:
    return ArchivedImage(data, media_type, str(config.get("architecture", "")), blobs)


def _object(config: bytes) -> dict[str, Any]:
    try:
        value = json.loads(config)
    except ValueError as error:
        raise BadArchive("The image's config is not JSON.", field="path") from error
    if not isinstance(value, dict):
        raise BadArchive("The image's config is not a JSON object.", field="path")
    return value


def _diff_ids(config: dict[str, Any], layers: int) -> list[str]:
    """The names of the unpacked layers; empty where the config does not tell one for each."""
    root = config.get("rootfs")
    told = root.get("diff_ids") if isinstance(root, dict) else None
    if isinstance(told, list) and len(told) == layers and all(isinstance(item, str) for item in told):
        return told
    return [""] * layers
