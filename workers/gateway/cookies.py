"""The cookie by which a browser is known on one instance's own origin. Pure but for the box's key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from pathlib import Path

from pydantic import ValidationError

from common.access import Way
from common.files import read_secret, write_secret
from common.words import Frozen, SessionMode

# `__Host-`: only this origin can set it, and only over TLS or on this machine (RFC 6265bis, section 4.1.3.2).
NAME = "__Host-openraas"


class Session(Frozen):
    """Who holds it may use one generation of one instance until then (Unix time), as far as its mode goes."""

    instance: str
    generation: int
    until: float
    mode: SessionMode = SessionMode.CONTROL
    # Ways of access that it opens beside the instance's own.
    also: frozenset[str] = frozenset()
    name: str = ""
    share: str | None = None
    # Tells this session from others of the same person.
    key: str = ""

    def opens(self, way: Way, own: Way) -> bool:
        """Whether it may use a way of access of the instance, whose own one is `own`."""
        if way.way != own.way and way.way not in self.also:
            return False
        return self.mode is SessionMode.CONTROL or way.can_be_watched


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
        text = _encode(session.model_dump_json(exclude_defaults=True).encode())
        return f"{text}.{self._sign(text)}"

    def read(self, value: str) -> Session:
        """The session in a cookie's value; raises BadSession."""
        text, _, signature = value.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(text).encode()):
            raise BadSession(expired=False)
        try:
            session = Session.model_validate_json(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        except (ValidationError, ValueError) as error:
            raise BadSession(expired=True) from error  # an earlier version of this box made it
        if session.until < time.time():
            raise BadSession(expired=True)
        return session

    def _sign(self, text: str) -> str:
        return _encode(hmac.digest(self._key, text.encode(), hashlib.sha256))


def _encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


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
