"""What the master signs (Ed25519, RFC 8032) and what is sealed for one box (X25519 sealed boxes, libsodium).

A signed token is `base64url(payload) "." base64url(signature)`; the signature also covers a purpose, so that
a wish can never be used as a ticket.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from nacl.encoding import Base64Encoder
from nacl.exceptions import BadSignatureError, CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox
from nacl.signing import SigningKey, VerifyKey

from common.errors import Unauthorized
from common.files import read_secret, write_secret


class BadSignature(Unauthorized):
    """A token that the master did not sign for this purpose."""


def _pack(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unpack(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _message(purpose: str, payload: bytes) -> bytes:
    return b"openraas:" + purpose.encode() + b":" + payload


class Signer:
    """The master's private key; only the master's machine has it."""

    def __init__(self, seed: bytes) -> None:
        self._key = SigningKey(seed)

    @classmethod
    def load_or_create(cls, path: Path) -> Signer:
        """The key in `path` (0600), made on first use."""
        if not path.exists():
            write_secret(path, SigningKey.generate().encode(Base64Encoder).decode(), keep_existing=True)
        return cls(base64.b64decode(read_secret(path)))

    def sign(self, purpose: str, payload: bytes) -> str:
        """A token that says `payload` for `purpose`."""
        signature = self._key.sign(_message(purpose, payload)).signature
        return f"{_pack(payload)}.{_pack(signature)}"

    @property
    def public_key(self) -> str:
        """The half that boxes get, base64."""
        return self._key.verify_key.encode(Base64Encoder).decode()


class Verifier:
    """The master's public key."""

    def __init__(self, public_key: str) -> None:
        self._key = VerifyKey(public_key.encode(), Base64Encoder)

    def verify(self, purpose: str, token: str) -> bytes:
        """The payload of a token; raises BadSignature for anything that was not signed for `purpose`."""
        try:
            payload_text, signature_text = token.split(".")
            payload = _unpack(payload_text)
            self._key.verify(_message(purpose, payload), _unpack(signature_text))
        except (BadSignatureError, ValueError, binascii.Error) as error:
            raise BadSignature("The token was not signed by this master.") from error
        return payload


class SealKey:
    """A box's private key for what only this box may read."""

    def __init__(self, private_key: str) -> None:
        self._key = PrivateKey(private_key.encode(), Base64Encoder)

    @classmethod
    def generate(cls) -> str:
        """A fresh private key, base64."""
        return PrivateKey.generate().encode(Base64Encoder).decode()

    @property
    def public_key(self) -> str:
        """The half that may travel, base64."""
        return self._key.public_key.encode(Base64Encoder).decode()

    def unseal(self, sealed: str) -> str:
        """The text sealed for this key; raises BadSignature if it was sealed for another."""
        try:
            return SealedBox(self._key).decrypt(base64.b64decode(sealed)).decode()
        except (CryptoError, ValueError) as error:
            raise BadSignature(
                "The secret was sealed for another box.",
                remedy="Start the application again: that seals it for this one.",
            ) from error


def seal(public_key: str, text: str) -> str:
    """`text` for the owner of `public_key` alone, base64."""
    box = SealedBox(PublicKey(public_key.encode(), Base64Encoder))
    return base64.b64encode(box.encrypt(text.encode())).decode()
