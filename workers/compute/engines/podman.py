"""Podman, through its Docker-compatible socket, and where that falls short through its own interface."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from docker.types import LogConfig, Ulimit

from workers.compute.engine import Pull
from workers.compute.engines.docker import LOG_BYTES, DockerEngine, own_limit
from workers.compute.engines.pull import StreamedPull

# What Podman leaves itself where the kernel's pid_max is the default; the limit that counts is `pids`.
PROCESSES = 32768


class PodmanEngine(DockerEngine):
    """Podman 4 and later, with its service running as root."""

    name = "podman"
    # aardvark-dns and dnsname listen on the bridge, where Docker's resolver is inside the container.
    gateway_resolves_names = True

    @classmethod
    def recognises(cls, version: Mapping[str, Any]) -> bool:
        """Whether the answer to `/version` is this engine's."""
        return any("Podman" in component.get("Name", "") for component in version.get("Components") or ())

    def _takes_zstd(self, version: str) -> bool:  # noqa: ARG002
        return True  # since version 1.7, of 2019

    def pull(self, reference: str) -> Pull:
        """See Engine. The compatible pull insists on TLS even on loopback; Podman's own can be told."""
        query = urlencode({"reference": reference, "tlsVerify": "false", "quiet": "false"})
        return StreamedPull(self._url, f"/v4.0.0/libpod/images/pull?{query}", reference)

    def _ulimits(self) -> list[Ulimit]:
        # Without a word about processes Podman sets a limit of its own, which not every machine allows.
        processes = own_limit(resource.RLIMIT_NPROC, PROCESSES)
        return [*super()._ulimits(), Ulimit(name="nproc", soft=processes, hard=processes)]

    def _log_config(self) -> Any:
        return LogConfig(type="k8s-file", config={"max-size": str(LOG_BYTES)})
