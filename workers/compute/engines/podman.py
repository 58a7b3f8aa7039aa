"""Podman, through its Docker-compatible socket, and where that falls short through its own interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from docker.types import LogConfig

from workers.compute.engine import Pull
from workers.compute.engines.docker import LOG_BYTES, DockerEngine
from workers.compute.engines.pull import StreamedPull


class PodmanEngine(DockerEngine):
    """Podman 4 and later, with its service running as root."""

    name = "podman"
    # aardvark-dns and dnsname listen on the bridge, where Docker's resolver is inside the container.
    gateway_resolves_names = True

    @classmethod
    def recognises(cls, version: Mapping[str, Any]) -> bool:
        """Whether the answer to `/version` is this engine's."""
        return any("Podman" in component.get("Name", "") for component in version.get("Components") or ())

    def pull(self, reference: str) -> Pull:
        """See Engine. The compatible pull insists on TLS even on loopback; Podman's own can be told."""
        query = urlencode({"reference": reference, "tlsVerify": "false", "quiet": "false"})
        return StreamedPull(self._url, f"/v4.0.0/libpod/images/pull?{query}", reference)

    def _log_config(self) -> Any:
        return LogConfig(type="k8s-file", config={"max-size": str(LOG_BYTES)})
