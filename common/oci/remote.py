"""Names of images in registries elsewhere, as people write them: `nginx`, `ghcr.io/team/app:1`, `host/x@sha256:…`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from common.errors import BadInput
from common.words import is_digest

DOCKER_HUB = "docker.io"
# Where Docker Hub really answers.
_DOCKER_HUB_HOST = "registry-1.docker.io"
_HOST = re.compile(
    r"^(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]{0,251}[a-zA-Z0-9])?|\[[0-9a-fA-F:]{2,45}\])(?::\d{1,5})?$"
)
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"^{_PART}(?:/{_PART})*$")
_TAG = re.compile(r"^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$")
_LOOPBACK = re.compile(r"^(?:localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])(?::\d+)?$")


@dataclass(frozen=True)
class Remote:
    """An image in a registry: `reference` is a tag or a digest."""

    registry: str
    repository: str
    reference: str

    def url(self, *, tls: bool = False) -> str:
        """Where the registry answers: without `tls` plain HTTP on loopback alone, as container engines do it."""
        host = _DOCKER_HUB_HOST if self.registry == DOCKER_HUB else self.registry
        return f"{'http' if _LOOPBACK.match(host) and not tls else 'https'}://{host}"

    @property
    def is_on_loopback(self) -> bool:
        """Whether it is a registry of the machine that asks."""
        return _LOOPBACK.match(self.registry) is not None

    def __str__(self) -> str:
        separator = "@" if is_digest(self.reference) else ":"
        return f"{self.registry}/{self.repository}{separator}{self.reference}"

    @property
    def short_name(self) -> str:
        """The repository without what only Docker Hub puts before the names of its own images."""
        is_official = self.registry == DOCKER_HUB and self.repository.startswith("library/")
        return self.repository.removeprefix("library/") if is_official else self.repository


def parse_remote(text: str) -> Remote:
    """The image that `text` names; raises BadInput. Without a registry it is Docker Hub's, without a tag `latest`."""
    rest, at, digest = text.partition("@")
    head, slash, tail = rest.partition("/")
    is_host = slash and ("." in head or ":" in head or head == "localhost")
    registry, path = (head, tail) if is_host else (DOCKER_HUB, rest)
    if registry in ("index.docker.io", _DOCKER_HUB_HOST):
        registry = DOCKER_HUB
    repository, colon, tag = path.rpartition(":")
    if not colon:
        repository, tag = path, "latest"
    if registry == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    fits = (
        _HOST.match(registry) and _REPOSITORY.match(repository) and len(repository) <= 255 and _TAG.match(tag)
    )
    if not fits or (at and not is_digest(digest)):
        raise BadInput(
            f"{text[:200]!r} is not the name of an image in a registry.",
            field="source",
            remedy="Write it like nginx:1.27, ghcr.io/team/app:1 or registry.example.org:5000/app@sha256:….",
        )
    return Remote(registry, repository, digest if at else tag)
