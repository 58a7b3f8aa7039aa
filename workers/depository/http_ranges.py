"""The Range header (RFC 9110, section 14), as far as clients of registries use it: one range of bytes."""

from __future__ import annotations

import re

from workers.depository.errors import RegistryError

_RANGE = re.compile(r"^bytes=(\d{0,18})-(\d{0,18})$")


def parse_range(header: str | None, size_bytes: int) -> range | None:
    """The bytes that are asked for; None: all of them, also when the header is one to be ignored.

    Raises RegistryError 416 for a range outside of the content.
    """
    match = _RANGE.match(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        wanted = range(max(0, size_bytes - int(last)), size_bytes)
    else:
        wanted = range(int(first), min(int(last) + 1, size_bytes) if last else size_bytes)
        if last and int(last) < int(first):
            return None
    if not wanted:
        raise RegistryError(
            416,
            "RANGE_INVALID",
            f"The content has {size_bytes} bytes.",
            headers={"Content-Range": f"bytes */{size_bytes}"},
        )
    return wanted
