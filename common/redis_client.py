"""Connections to Redis that never hang: every wait has a limit, and an own one far away speaks TLS."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import redis

from common.addresses import is_loopback
from common.hangup import KEEP_ALIVE


def check_url(url: str) -> None:
    """Refuse a Redis URL that would send passwords in the clear. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError("a Redis URL starts with redis://, rediss:// or unix://")
    if parts.scheme == "redis" and not is_loopback(parts.hostname or ""):
        raise ValueError(f"Redis at {parts.hostname} needs TLS: write rediss://")


def socket_options(timeout_s: float) -> dict[str, Any]:
    """Options with which a link that swallows packets is noticed within seconds, not never."""
    return {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": min(timeout_s, 2.0),
        "socket_keepalive": True,
        "socket_keepalive_options": KEEP_ALIVE,
        "health_check_interval": 5,
    }


def connect(url: str, *, timeout_s: float = 5.0, ca_file: str | None = None) -> redis.Redis:
    """A client for `url`; `ca_file` verifies a `rediss://` server. Raises ValueError for a bad URL."""
    check_url(url)
    options = socket_options(timeout_s)
    if url.startswith("unix://"):
        options = {"socket_timeout": timeout_s}
    if url.startswith("rediss://") and ca_file:
        options["ssl_ca_certs"] = ca_file
    # A box may have written any bytes: what is not UTF-8 is wrong further on, and ends nobody's connection here.
    client: redis.Redis = redis.Redis.from_url(
        url, decode_responses=True, encoding_errors="replace", **options
    )
    return client
