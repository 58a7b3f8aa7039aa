"""Sending a blob, or a range of it: by nginx, or from here where the owner limits what may go out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from workers.box.front import Exchange
from workers.depository.bandwidth import Bandwidth

# What goes out between two looks at the limit.
STEP_BYTES = 256 * 1024


@dataclass(frozen=True)
class Part:
    """Bytes of a file; `place` is where nginx finds it, none without an nginx in front. No range: all of it."""

    file: BinaryIO
    wanted: range | None
    size_bytes: int
    place: str | None


def send(
    exchange: Exchange, part: Part, bandwidth: Bandwidth, headers: Mapping[str, str] | None = None
) -> None:
    """Answer with these bytes (RFC 9110, section 14.4)."""
    told = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", **(headers or {})}
    if part.place is not None and not bandwidth.is_limited:
        exchange.answer(200, headers={**told, "X-Accel-Redirect": part.place})
        return
    wanted = part.wanted if part.wanted is not None else range(part.size_bytes)
    if part.wanted is not None:
        told["Content-Range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{part.size_bytes}"
    exchange.begin(200 if part.wanted is None else 206, len(wanted), headers=told)
    if not bandwidth.is_limited:
        exchange.send_file(part.file, wanted.start, len(wanted))
        return
    for start in range(wanted.start, wanted.stop, STEP_BYTES):
        length = min(STEP_BYTES, wanted.stop - start)
        bandwidth.take(length)
        exchange.send_file(part.file, start, length)
