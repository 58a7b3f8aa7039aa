"""Manifests that are pushed: checked, kept, and with a tag handed on to the master."""

from __future__ import annotations

import time

from common.images import NO_ARCHITECTURE
from common.oci.digest import digest_of
from common.oci.manifests import LIMIT_BYTES, BadManifest, Manifest, parse
from common.words import is_digest
from workers.box.front import Exchange
from workers.depository.addresses import Where
from workers.depository.described import describe
from workers.depository.errors import RegistryError
from workers.depository.holdings import Holdings
from workers.depository.referrers import Referrers
from workers.depository.tags import TagClient
from workers.depository.upload import PUSH_PIN_S


class PushedManifests:
    """PUT of manifests ("Pushing Manifests")."""

    def __init__(self, holdings: Holdings, referrers: Referrers, tags: TagClient, *, box: str) -> None:
        self._holdings = holdings
        self._referrers = referrers
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
            self._check_references(manifest, where.repository)
            self._keep(data, digest, manifest, where.repository)
            if not is_digest(where.reference):
                self._tag(where, data, manifest, token)
        except BadManifest as error:
            raise RegistryError(400, "MANIFEST_INVALID", str(error)) from error
        headers = {"Location": f"/v2/{where.repository}/manifests/{digest}", "Docker-Content-Digest": digest}
        if manifest.subject is not None:
            headers["OCI-Subject"] = manifest.subject.digest
        exchange.answer(201, headers=headers)

    def _keep(self, data: bytes, digest: str, manifest: Manifest, repository: str) -> None:
        self._holdings.add(self._holdings.store.put(data, digest), manifest.media_type, repository)
        self._referrers.record(repository, digest, len(data), manifest)
        self._referrers.pushed(repository, digest, manifest)
        kept = [digest, *(item.digest for item in manifest.references)]
        self._holdings.pin(kept, time.time() + PUSH_PIN_S)

    def _check_references(self, manifest: Manifest, repository: str) -> None:
        """All blobs of an image must be here; of an index some image, for others may be left out on purpose."""
        missing = [item for item in manifest.references if not self._has(item.digest, repository)]
        if missing and not (manifest.is_index and self._has_some(manifest, repository)):
            raise RegistryError(
                404,
                "MANIFEST_BLOB_UNKNOWN",
                f"{repository} has no blob {missing[0].digest}, which the manifest names: push it first.",
            )
        for item in manifest.references:
            blob = self._holdings.find(item.digest, repository)
            if blob is not None and blob.size_bytes != item.size_bytes:
                raise RegistryError(
                    400,
                    "SIZE_INVALID",
                    f"Blob {item.digest} has {blob.size_bytes} bytes, the manifest says {item.size_bytes}.",
                )

    def _has(self, digest: str, repository: str) -> bool:
        return self._holdings.find(digest, repository) is not None

    def _has_some(self, index: Manifest, repository: str) -> bool:
        return any(
            self._has(item.digest, repository)
            for item in index.manifests
            if item.architecture not in NO_ARCHITECTURE
        )

    def _tag(self, where: Where, data: bytes, manifest: Manifest, token: str) -> None:
        image = describe(self._holdings, data, manifest, where.repository)
        facts = {"repository": where.repository, "tag": where.reference, "box": self._box}
        self._tags.put({**image.model_dump(mode="json"), **facts}, token)
        self._referrers.tell_again(where.repository)


def _body(exchange: Exchange) -> bytes:
    data = bytearray()
    for piece in exchange.body():
        data += piece
        if len(data) > LIMIT_BYTES:
            raise RegistryError(413, "SIZE_INVALID", f"A manifest may have {LIMIT_BYTES} bytes.")
    return bytes(data)
