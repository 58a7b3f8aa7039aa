"""DES as RFB uses it: single, on blocks of eight bytes, with the bits of each byte of the key the other way round.

It protects nothing by today's measure (RFC 6143, section 7.2.2, says so). Here it only tells the server of a screen,
on a network that the box and this container share, which of two doors a session comes through.
"""

from __future__ import annotations

KEY_BYTES = 8


def encrypt(key: bytes, blocks: bytes, *, back: bool = False) -> bytes:
    """`blocks` encrypted (or `back` to what they were) with a key of at most eight bytes."""
    # Only a box on which a screen is looked at pays for it (6 MB).
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
    from cryptography.hazmat.primitives.ciphers import Cipher, modes

    padded = key[:KEY_BYTES].ljust(KEY_BYTES, b"\0")
    # Three times the same key is single DES.
    cipher = Cipher(TripleDES(bytes(_mirrored(byte) for byte in padded) * 3), modes.ECB())  # noqa: S305
    work = cipher.decryptor() if back else cipher.encryptor()
    return work.update(blocks) + work.finalize()


def _mirrored(byte: int) -> int:
    return int(f"{byte:08b}"[::-1], 2)
