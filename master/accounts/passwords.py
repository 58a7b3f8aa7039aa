"""Passwords and tokens: how they are made, kept and compared."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from common.errors import Unavailable

# Argon2 takes 64 MiB for each check: a rush of sign-ins must not take the machine.
_AT_ONCE = threading.BoundedSemaphore(2)
WAIT_S = 10.0
# Without l, I, O, 0 and 1, which people mistake for one another; 16 of them are 93 bits.
_ALPHABET = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"

_hasher = PasswordHasher()
# Checked when there is no such person, so that the time taken does not tell.
_nobody = _hasher.hash(secrets.token_urlsafe())


def generate_password() -> str:
    """A password that people can copy from a screen: four groups of four."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(4))


def hash_password(password: str) -> str:
    """The Argon2id hash to keep. Raises Unavailable if too many are being made or checked."""
    with _taking_turns():
        return _hasher.hash(password)


def verify_password(password_hash: str | None, password: str) -> bool:
    """Whether the password belongs to the hash; None stands for nobody and takes as long.

    Raises Unavailable if too many are being checked.
    """
    with _taking_turns():
        try:
            return _hasher.verify(password_hash or _nobody, password) and bool(password_hash)
        except (VerificationError, InvalidHashError):
            return False


@contextmanager
def _taking_turns() -> Iterator[None]:
    if not _AT_ONCE.acquire(timeout=WAIT_S):
        raise Unavailable("Too many people are signing in.", remedy="Try again in a moment.")
    try:
        yield
    finally:
        _AT_ONCE.release()


def new_token(prefix: str = "") -> str:
    """A fresh token with 256 random bits."""
    return prefix + secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    """What is kept of a token. It is random enough that a plain sha256 gives nothing away."""
    return hashlib.sha256(token.encode()).hexdigest()
