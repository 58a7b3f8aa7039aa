"""The two passwords of a screen, made for each instance: one lets its holder type, the other only look on.

TigerVNC reads them from a file that the box mounts into the container. The gateway reads the same file and answers
the server's challenge itself, so a browser never learns a password.
"""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import NotFound
from common.words import SessionMode
from workers.gateway.desktop.des import encrypt

FILE = "vnc-passwords"
LENGTH = 8  # all that the protocol's DES key has place for (RFC 6143, section 7.2.2)
# Not a secret: every implementation has it, so that a passing glance at the file shows nothing.
_FILE_KEY = bytes((23, 82, 107, 6, 35, 78, 88, 7))
_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True)
class Passwords:
    """What a screen's server asks for; never shown."""

    control: str = field(repr=False)
    watch: str = field(repr=False)

    @classmethod
    def make(cls) -> Passwords:
        """Two new ones."""
        first, second = ("".join(secrets.choice(_ALPHABET) for _ in range(LENGTH)) for _ in range(2))
        return cls(first, second)

    def of(self, mode: SessionMode) -> str:
        """The one for a session that may do this."""
        return self.control if mode is SessionMode.CONTROL else self.watch

    def obscured(self) -> bytes:
        """The file's content: two blocks of eight bytes, the first for control."""
        return b"".join(encrypt(_FILE_KEY, word.encode()) for word in (self.control, self.watch))

    @classmethod
    def read(cls, file: Path) -> Passwords:
        """The passwords in a file; raises NotFound if there is none, or half of one."""
        try:
            content = file.read_bytes()
        except FileNotFoundError as error:
            raise NotFound("This screen has no passwords on this box.") from error
        if len(content) != 2 * LENGTH:
            raise NotFound(
                "The passwords of this screen cannot be read.", remedy="Start the application again."
            )
        first, second = (encrypt(_FILE_KEY, content[at : at + LENGTH], back=True) for at in (0, LENGTH))
        return cls(first.decode(), second.decode())
