"""Manifests that are pushed: checked, kept, and with a tag handed on to the master."""

from __future__ import annotations

import json
import time
from typing import Any

from common.oci.digest import digest_of
from common.oci.manifests import LIMIT_BYTES, BadManifest, Manifest, parse
from common.words import is_digest
from workers.box.front import Exchange
from workers.depository.addresses import Where
from workers.depository.errors import RegistryError
from workers.depository.holdings import Holdings
from workers.depository.tags import TagClient
from workers.depository.upload import PUSH_PIN_S

_CONFIG_LIMIT_BYTES = 8 * 2**20
# What build tools attach to an image (provenance) and list beside it in an index.
_NO_PLATFORM = ("", "unknown")


class PushedManifests:
    """PUT of manifests ("Pushing Manifests")."""

    def __init__(self, holdings: Holdings, tags: TagClient, *, box: str) -> None:
        self._holdings = holdings
        self._tags = tags
        self._box = box

    def put(self, exchange: Exchange, where: Where, token: str) -> None:
        """Keep a manifest whose blobs are all here; the master decides about its tag."""
        data = _body(exchange)
        digest = digest_of(data)
        if is_digest(where.reference) and where.reference != digest:
            raise RegistryError(
                400, "DIGEST_INVALID", f"The manifest has the digest {digest}, not {where.reference}."
            )
        try:
            manifest = parse(data, exchange.headers.get("Content-Type"))
        except BadManifest as error:
            raise RegistryError(400, "MANIFEST_INVALID", str(error)) from error
        self._check_references(manifest, where.repository)
        self._holdings.add(self._holdings.store.put(data, digest), manifest.media_type, where.repository)
        kept = [digest, *(item.digest for item in manifest.references)]
        self._holdings.pin(kept, time.time() + PUSH_PIN_S)
        if not is_digest(where.reference):
            self._tag(where, data, manifest, digest, token)
        headers = {"Location": f"/v2/{where.repository}/manifests/{digest}", "Docker-Content-Digest": digest}
        exchange.answer(201, headers=headers)

    def _check_references(self, manifest: Manifest, repository: str) -> None:
        for item in manifest.references:
            blob = self._holdings.find(item.digest, repository)
            if blob is None:
                raise RegistryError(
                    404,
                    "MANIFEST_BLOB_UNKNOWN",
                    f"{repository} has no blob {item.digest}, which the manifest names: push it first.",
                )
            if blob.size_bytes != item.size_bytes:
                raise RegistryError(
                    400,
                    "SIZE_INVALID",
                    f"Blob {item.digest} has {blob.size_bytes} bytes, the manifest says {item.size_bytes}.",
                )

    def _tag(self, where: Where, data: bytes, manifest: Manifest, digest: str, token: str) -> None:
        """A tag names an image for one platform: of an index that has just one, that one."""
        if manifest.is_index:
            platforms = [item for item in manifest.manifests if item.architecture not in _NO_PLATFORM]
            if len(platforms) == 1:
                digest = platforms[0].digest
                data = self._holdings.store.read(digest, LIMIT_BYTES)
                manifest = parse(data)
        own = {"digest": digest, "size_bytes": len(data), "media_type": manifest.media_type}
        blobs = [own] + [
            {"digest": item.digest, "size_bytes": item.size_bytes, "media_type": item.media_type}
            for item in manifest.references
        ]
        facts = {
            "repository": where.repository,
            "tag": where.reference,
            "digest": digest,
            "media_type": manifest.media_type,
            "box": self._box,
            "manifest": data.decode(),
            "blobs": blobs,
            "architecture": self._architecture(manifest),
        }
        self._tags.put(facts, token)

    def _architecture(self, manifest: Manifest) -> str:
        if manifest.config is None:
            return ""
        content = self._holdings.store.read(manifest.config.digest, _CONFIG_LIMIT_BYTES)
        try:
            config: Any = json.loads(content)
            return str(config.get("architecture", ""))[:32]
        except (ValueError, AttributeError):
            return ""  # an artifact that is no image runs nowhere; the master says so when it is deployed


def _body(exchange: Exchange) -> bytes:
    data = bytearray()
    for piece in exchange.body():
        data += piece
        if len(data) > LIMIT_BYTES:
            raise RegistryError(413, "SIZE_INVALID", f"A manifest may have {LIMIT_BYTES} bytes.")
    return bytes(data)
