"""The platform's own Redis: on loopback with a random password, or with TLS where others must reach it."""

from __future__ import annotations

import secrets
import time
from urllib.parse import quote, urlsplit

import redis

from common import needs
from common.addresses import is_everywhere, is_loopback
from common.errors import Unavailable
from common.files import read_secret, write_atomically, write_secret
from common.redis_client import connect
from common.settings import Settings
from common.supervision import Program
from master.up.layout import Layout

# Older ones know no selectors, by which a box reaches its own keys alone.
LEAST_VERSION = 7
START_S = 30.0
POLL_S = 0.02


def program(settings: Settings, layout: Layout) -> Program:
    """The Redis server; writes its configuration, its users file and the URL (0600) that the master uses."""
    far = not is_loopback(settings.listen)
    password = _password(layout)
    layout.redis.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not layout.redis_users.exists():
        # From then on Redis itself writes this file: boxes that join get users of their own.
        write_secret(layout.redis_users, f"user default on >{password} ~* &* +@all\n")
    configuration = layout.redis / "redis.conf"
    write_atomically(configuration, _configuration(settings, layout, far=far), mode=0o600)
    scheme = "rediss" if far else "redis"
    write_secret(
        layout.master.redis_url, f"{scheme}://:{quote(password)}@127.0.0.1:{settings.redis_port}/0\n"
    )
    server = needs.find(needs.REDIS) or needs.REDIS.command
    return Program("redis", (server, str(configuration)), priority=10, directory=layout.redis, stop_wait_s=20)


def _password(layout: Layout) -> str:
    """The one in force, so that a second start fits the users file of the first."""
    if layout.master.redis_url.exists() and layout.redis_users.exists():
        known = urlsplit(read_secret(layout.master.redis_url)).password
        if known:
            return known
    layout.redis_users.unlink(missing_ok=True)
    return secrets.token_urlsafe(32)


def _configuration(settings: Settings, layout: Layout, *, far: bool) -> str:
    lines = [
        "daemonize no",
        "supervised no",
        'logfile ""',
        "protected-mode yes",
        f'dir "{layout.redis}"',
        f'aclfile "{layout.redis_users}"',
        # Without the log of changes a restart of Redis loses the queues; snapshots add nothing to it.
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        "maxmemory-policy noeviction",
        "tcp-keepalive 30",
    ]
    if far:
        paths = layout.master
        lines += [
            "bind " + ("* -::*" if is_everywhere(settings.listen) else f"127.0.0.1 {settings.listen}"),
            "port 0",
            f"tls-port {settings.redis_port}",
            f'tls-cert-file "{paths.certificate}"',
            f'tls-key-file "{paths.private_key}"',
            f'tls-ca-cert-file "{paths.authority}"',
            "tls-auth-clients no",
        ]
    else:
        lines += ["bind 127.0.0.1", f"port {settings.redis_port}"]
    return "\n".join(lines) + "\n"


def wait(url: str, layout: Layout, *, limit_s: float = START_S) -> None:
    """Until the platform's own Redis answers and has read its data. Raises Unavailable."""
    deadline = time.monotonic() + limit_s
    client = connect(url, timeout_s=2.0, ca_file=str(layout.master.authority))
    try:
        while True:
            try:
                client.ping()
                return
            except redis.RedisError as error:  # a refused connection, or "loading the dataset"
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"Redis did not start: {error}.",
                        remedy=f"Look into {layout.master.logs / 'redis.log'}.",
                    ) from error
            time.sleep(POLL_S)
    finally:
        client.close()


def check_given(settings: Settings, layout: Layout) -> None:
    """Raises Unavailable unless the operator's own Redis (`OPENRAAS_REDIS_URL`) answers and is let in to."""
    client = connect(
        settings.redis_url, timeout_s=settings.redis_timeout_s, ca_file=str(layout.master.authority)
    )
    host = urlsplit(settings.redis_url).hostname or settings.redis_url
    try:
        version = str(client.info("server").get("redis_version", ""))
    except redis.RedisError as error:
        raise Unavailable(
            f"The Redis at {host} does not answer: {error}.",
            field="redis_url",
            remedy="Start it, correct OPENRAAS_REDIS_URL, or unset that to use one of our own.",
        ) from error
    finally:
        client.close()
    check_version(version, host)


def check_version(version: str, host: str) -> None:
    """Raises Unavailable for a Redis (or Valkey, which says which Redis it is like) that is too old."""
    major = version.partition(".")[0]
    if not major.isdecimal() or int(major) < LEAST_VERSION:
        raise Unavailable(
            f"The Redis at {host} has the version {version or 'that it does not tell'}, and {LEAST_VERSION}.0 is "
            "the oldest that keeps boxes apart (selectors in the rights of its users).",
            field="redis_url",
            remedy="Update it, or unset OPENRAAS_REDIS_URL to use one of our own.",
        )
