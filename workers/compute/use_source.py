"""What a container uses, asked of the engine by plain HTTP, as the front process does with its output."""

from __future__ import annotations

import http.client
import json
import time
from typing import Any
from urllib.parse import quote

from common.use import InstanceUse
from workers.compute.errors import EngineUnavailable
from workers.compute.sockets import connect

NANOSECONDS = 1e9
# Engines tell "no limit" as all that the machine has, or as nearly 2**63.
NO_LIMIT_BYTES = 2**60


def read_use(urls: list[str], container: str, *, timeout_s: float) -> InstanceUse | None:
    """What a container uses now, from the first of these engines that has it; none if no engine runs it.

    Raises EngineUnavailable if no engine answers.
    """
    silent = []
    for url in urls:
        try:
            facts = _ask(url, container, timeout_s)
        except (OSError, ValueError, http.client.HTTPException) as error:
            silent.append(f"{url} ({error})")
            continue
        if facts is not None and (found := parse_use(facts, time.time())) is not None:
            return found
    if len(silent) == len(urls):
        raise EngineUnavailable(
            f"The box's container engine does not answer: {', '.join(silent)}.",
            remedy="Try again in a moment.",
        )
    return None


def parse_use(facts: dict[str, Any], at: float) -> InstanceUse | None:
    """An engine's answer (Docker Engine API, ContainerStats); none for a container that does not run."""
    memory = facts.get("memory_stats") or {}
    used_ns = (facts.get("cpu_stats") or {}).get("cpu_usage", {}).get("total_usage")
    if used_ns is None or "usage" not in memory:
        return None
    detail = memory.get("stats") or {}
    # Files that were read stay in memory as long as nobody needs it; cgroups 1 and 2 name them differently.
    idle = detail.get("total_inactive_file", detail.get("inactive_file", 0))
    limit = memory.get("limit") or 0
    networks = (facts.get("networks") or {}).values()
    return InstanceUse(
        at=at,
        cpu_s=used_ns / NANOSECONDS,
        memory_bytes=max(0, memory["usage"] - idle),
        memory_limit_bytes=limit if 0 < limit < NO_LIMIT_BYTES else None,
        received_bytes=sum(item.get("rx_bytes", 0) for item in networks),
        sent_bytes=sum(item.get("tx_bytes", 0) for item in networks),
    )


def _ask(url: str, container: str, timeout_s: float) -> dict[str, Any] | None:
    connection = connect(url, timeout_s=timeout_s)
    try:
        # Without `one-shot` the engine waits a second for the figures of before.
        connection.request("GET", f"/containers/{quote(container)}/stats?stream=false&one-shot=true")
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status in (http.client.NOT_FOUND, http.client.CONFLICT):
        return None
    if answer.status != http.client.OK:
        raise ValueError(f"status {answer.status}")
    if not body.strip():  # Podman's way to say that it does not run
        return None
    facts: dict[str, Any] = json.loads(body)
    return facts
