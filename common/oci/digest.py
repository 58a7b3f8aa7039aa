"""Digests as in the OCI image specification, section "Digests"; this project takes sha256 alone."""

from __future__ import annotations

import hashlib

from common.errors import BadInput
from common.words import is_digest


class BadDigest(BadInput):
    """Something that is not a sha256 digest, or content that is not what its digest says."""

    http_status = 400


def digest_of(data: bytes) -> str:
    """The digest of `data`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def hex_of(digest: str) -> str:
    """The hexadecimal part of a digest, safe as a file name; raises BadDigest for anything else."""
    if not is_digest(digest):
        raise BadDigest(
            f"{digest[:100]!r} is not a digest.",
            field="digest",
            remedy="Write it as sha256: and 64 hexadecimal digits.",
        )
    return digest.removeprefix("sha256:")
