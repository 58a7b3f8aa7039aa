"""The cookie by which a browser is known on one instance's own origin. Pure but for the box's key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from common.files import read_secret, write_secret

# `__Host-`: only this origin can set it, and only over TLS or on this machine (RFC 6265bis, section 4.1.3.2).
NAME = "__Host-openraas"


@dataclass(frozen=True)
class Session:
    """Who holds it may use one generation of one instance until then (Unix time)."""

    instance: str
    generation: int
    until: float


class BadSession(Exception):
    """A cookie that this box did not make, or one that has expired."""

    def __init__(self, *, expired: bool) -> None:
        super().__init__("expired" if expired else "not made here")
        self.expired = expired


class CookieJar:
    """Makes and reads cookies with a key that never leaves the box."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def load_or_create(cls, path: Path) -> CookieJar:
        """The key in `path` (0600), made on first use; browsers stay signed in over a restart."""
        if not path.exists():
            write_secret(path, secrets.token_hex(32), keep_existing=True)
        return cls(bytes.fromhex(read_secret(path)))

    def make(self, session: Session) -> str:
        """The cookie's value."""
        text = f"{session.instance}.{session.generation}.{int(session.until)}"
        return f"{text}.{self._sign(text)}"

    def read(self, value: str) -> Session:
        """The session in a cookie's value; raises BadSession."""
        text, _, signature = value.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(text).encode()):
            raise BadSession(expired=False)
        instance, generation, until = text.rsplit(".", 2)
        session = Session(instance, int(generation), float(until))
        if session.until < time.time():
            raise BadSession(expired=True)
        return session

    def _sign(self, text: str) -> str:
        mac = hmac.digest(self._key, text.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


def header(value: str, max_age_s: float) -> str:
    """The Set-Cookie header."""
    return f"{NAME}={value}; Path=/; Max-Age={max(0, int(max_age_s))}; Secure; HttpOnly; SameSite=Lax"


def find(cookies: str) -> str | None:
    """The value of our cookie in a Cookie header."""
    for part in cookies.split(";"):
        name, _, value = part.strip().partition("=")
        if name == NAME:
            return value
    return None
