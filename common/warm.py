"""Prewarmed instances: what makes two containers the same until one of them gets an owner."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from common.service import ServiceSpec
from common.words import Digest, MountMode

# Subjects of the wishes for them.
SUBJECT = "warm."


def warm_subject(application: str) -> str:
    """The subject under which boxes keep instances of an application ready."""
    return SUBJECT + application


def likeness(service: ServiceSpec, manifest: Digest, targets: Iterable[tuple[str, MountMode]]) -> str:
    """Equal for an instance and a prewarmed one that it may take over: all but the owner's files and secrets."""
    parts = [service.model_dump_json(), manifest, *(f"{mode.value} {path}" for path, mode in sorted(targets))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
