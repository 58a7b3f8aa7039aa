"""Whose chunk list of a blob is believed.

The first report of a verified blob makes its list; a report from another box with the same list confirms
it. While it is unconfirmed, a different list withdraws it, because nobody can say which of the two boxes is
wrong; a confirmed one stands against a single box that differs, which is logged.
"""

from __future__ import annotations

import re

from sqlalchemy.orm import Session

from common.logs import get_logger
from common.oci.chunks import fits
from common.reports import BlobHeld
from common.wishes import ChunkList
from master.images.models import BlobChunks

log = get_logger(__name__)

_HASH = re.compile(r"[0-9a-f]{64}")


def is_well_formed(blob: BlobHeld) -> bool:
    """Whether a chunk list can be that of the blob: its name, its size, as many hashes as chunks."""
    listed = blob.chunk_list
    return fits(listed, blob.digest, blob.size_bytes) and all(_HASH.fullmatch(item) for item in listed.chunks)


def record_chunks(session: Session, box: str, blob: BlobHeld) -> None:
    """Take in what `box` computed of one blob that it verified whole."""
    if not is_well_formed(blob):
        log.warning("chunk list refused", box=box, blob=blob.digest, error="it does not fit the blob")
        return
    row = session.get(BlobChunks, blob.digest)
    if row is None:
        session.add(_row(box, blob.chunk_list))
    elif _same(row, blob.chunk_list):
        if row.confirmed_by is None and row.made_by != box:
            row.confirmed_by = box
    elif row.confirmed_by is not None:
        log.warning("chunk list differs", box=box, blob=blob.digest, made_by=row.made_by)
    else:
        log.warning("chunk list withdrawn", box=box, blob=blob.digest, made_by=row.made_by)
        session.delete(row)
    session.flush()


def _row(box: str, chunks: ChunkList) -> BlobChunks:
    return BlobChunks(
        digest=chunks.blob,
        size_bytes=chunks.size_bytes,
        chunk_bytes=chunks.chunk_bytes,
        chunks=list(chunks.chunks),
        made_by=box,
    )


def _same(row: BlobChunks, chunks: ChunkList) -> bool:
    return (row.size_bytes, row.chunk_bytes, row.chunks) == (
        chunks.size_bytes,
        chunks.chunk_bytes,
        list(chunks.chunks),
    )
