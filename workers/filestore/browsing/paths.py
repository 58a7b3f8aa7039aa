"""Paths as they travel: bytes of names, percent-encoded where they are not plain text (RFC 3986, section 2.1).

A name on Linux is any bytes but `/` and NUL: it may be no text at all, or hold a line end. As percent-encoded ASCII
it passes through JSON, queries and pages unharmed.
"""

from __future__ import annotations

from urllib.parse import quote_from_bytes, unquote_to_bytes

from common.errors import BadInput

# limits.h: NAME_MAX and PATH_MAX.
NAME_BYTES, PATH_BYTES = 255, 4096


def decode(text: str, *, field: str = "path") -> bytes:
    """The path relative to the top, without empty steps; raises BadInput for what cannot name anything there."""
    path = unquote_to_bytes(text)
    steps = [step for step in path.split(b"/") if step not in (b"", b".")]
    if b".." in steps or b"\0" in path:
        raise BadInput("The path leads out of the home.", field=field, remedy="Leave '..' out.")
    if any(len(step) > NAME_BYTES for step in steps):
        raise BadInput(
            f"A name is longer than {NAME_BYTES} bytes.", field=field, remedy="Choose a shorter one."
        )
    joined = b"/".join(steps)
    if len(joined) >= PATH_BYTES:
        raise BadInput(
            f"The path is longer than {PATH_BYTES} bytes.",
            field=field,
            remedy="Use fewer or shorter folders.",
        )
    return joined


def encode(path: bytes) -> str:
    """A path as it travels."""
    return quote_from_bytes(path, safe="/")


def shown(name: bytes) -> str:
    """A name for people: what is no text, or would break a line, is replaced."""
    text = name.decode(errors="replace")
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def join(folder: bytes, name: bytes) -> bytes:
    """A path below a path; either may be the top."""
    return b"/".join(part for part in (folder, name) if part)


def split(path: bytes) -> tuple[bytes, bytes]:
    """Folder and name."""
    folder, _, name = path.rpartition(b"/")
    return folder, name
