"""A Redis user per box that reaches the box's own keys and no other's."""

from __future__ import annotations

import hashlib
import secrets
from urllib.parse import quote, urlsplit

import redis

from common.addresses import bracketed, is_everywhere, is_loopback
from common.logs import get_logger
from common.names import BOXES, redis_rules
from common.settings import Settings

log = get_logger(__name__)

DEFAULT_PORT = 6379


def user_name(box: str) -> str:
    """The name of a box's Redis user."""
    return f"box-{box}"


def new_password() -> str:
    """A fresh password for a box; 256 random bits."""
    return secrets.token_urlsafe(32)


def hash_password(password: str) -> str:
    """What Redis and the database keep of it (`ACL SETUSER … #<sha256>`)."""
    return hashlib.sha256(password.encode()).hexdigest()


def admit(client: redis.Redis, box: str, password_hash: str) -> None:
    """Make or replace the box's user and list it among the boxes. Raises redis.RedisError."""
    rules = ("reset", "on", f"#{password_hash}", *redis_rules(box))
    client.execute_command("ACL", "SETUSER", user_name(box), *rules)  # type: ignore[no-untyped-call]
    client.sadd(BOXES, box)
    _save(client)


def dismiss(client: redis.Redis, box: str) -> None:
    """Take the box's user away; its connections are closed at once. Raises redis.RedisError."""
    client.acl_deluser(user_name(box))
    client.srem(BOXES, box)
    _save(client)


def _save(client: redis.Redis) -> None:
    """Write the users to Redis's own file, where it has one; else `restore` brings them back."""
    try:
        if client.config_get("aclfile").get("aclfile"):
            client.acl_save()
    except redis.ResponseError as error:
        log.warning("Redis users not saved", error=str(error))


def url_for_box(settings: Settings, own_url: str, box: str, password: str, *, reached_at: str) -> str:
    """The Redis URL that the box gets: the master's own, but the box's user, and TLS unless on loopback.

    `own_url` is the URL that the master uses; `reached_at` is the host under which the box reached the
    master, for a master that listens on every address.
    """
    user = f"{quote(user_name(box))}:{quote(password)}@"
    parts = urlsplit(own_url)
    host = parts.hostname or ""
    database = "/0" if parts.scheme == "unix" or parts.path in ("", "/") else parts.path
    if parts.scheme != "unix" and not is_loopback(host):
        return f"{parts.scheme}://{user}{bracketed(host)}:{parts.port or DEFAULT_PORT}{database}"
    listen = reached_at if is_everywhere(settings.listen) else settings.listen
    if not is_loopback(listen):
        return f"rediss://{user}{bracketed(listen)}:{settings.redis_port}{database}"
    scheme = "redis" if parts.scheme == "unix" else parts.scheme
    return f"{scheme}://{user}127.0.0.1:{parts.port or settings.redis_port}{database}"
