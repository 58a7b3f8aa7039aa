"""Paths below `/v2/` (OCI distribution specification 1.1, "Endpoints")."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from common.words import REPOSITORY, TAG, is_digest
from workers.depository.errors import RegistryError

_REPOSITORY = re.compile(REPOSITORY)
_TAG = re.compile(TAG)
_UPLOAD = re.compile(r"^[0-9a-f]{32}$")

Kind = Literal["base", "catalogue", "manifests", "blobs", "uploads", "tags", "referrers"]


@dataclass(frozen=True)
class Where:
    """What a path names. `reference` is a tag or digest, a digest, or the id of an upload ("" for a new one)."""

    kind: Kind
    repository: str = ""
    reference: str = ""


def parse_path(path: str) -> Where:
    """What `path` names; raises RegistryError for bad names, digests and everything unknown."""
    rest = path.removeprefix("/v2/")
    if path in ("/v2", "/v2/"):
        return Where("base")
    if rest == "_catalog":
        return Where("catalogue")
    if rest.endswith("/tags/list"):
        return Where("tags", _repository(rest.removesuffix("/tags/list")))
    head, slash, upload = rest.rpartition("/blobs/uploads/")
    if not slash and rest.endswith("/blobs/uploads"):
        head, slash, upload = rest.removesuffix("/blobs/uploads"), "/", ""
    if slash:
        if upload and not _UPLOAD.fullmatch(upload):
            raise RegistryError(404, "BLOB_UPLOAD_UNKNOWN", f"There is no upload {upload[:64]!r}.")
        return Where("uploads", _repository(head), upload)
    head, slash, reference = rest.rpartition("/blobs/")
    if slash:
        if not is_digest(reference):
            raise RegistryError(400, "DIGEST_INVALID", f"{reference[:100]!r} is not a sha256 digest.")
        return Where("blobs", _repository(head), reference)
    head, slash, reference = rest.rpartition("/referrers/")
    if slash:
        if not is_digest(reference):
            raise RegistryError(400, "DIGEST_INVALID", f"{reference[:100]!r} is not a sha256 digest.")
        return Where("referrers", _repository(head), reference)
    head, slash, reference = rest.rpartition("/manifests/")
    if slash:
        if not is_digest(reference) and not _TAG.fullmatch(reference):
            raise RegistryError(
                404, "MANIFEST_UNKNOWN", f"{reference[:140]!r} is neither a tag nor a digest."
            )
        return Where("manifests", _repository(head), reference)
    raise RegistryError(404, "UNSUPPORTED", "A depository has no such endpoint.")


def _repository(name: str) -> str:
    if len(name) > 128 or not _REPOSITORY.fullmatch(name):
        raise RegistryError(400, "NAME_INVALID", f"{name[:140]!r} is not the name of a repository.")
    return name
