"""Uploads of blobs (OCI distribution specification 1.1, "Pushing blobs"): in one piece or in chunks.

An upload is a file under the store's `ingest/` and a row of the box's table, so that it survives a restart;
how far it came is the length of the file.
"""

from __future__ import annotations

import os
import re
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

from common.oci.digest import BadDigest
from common.words import is_digest
from workers.box.front import Exchange
from workers.box.room import NoRoom, Room
from workers.box.table import Table
from workers.depository.errors import RegistryError
from workers.depository.holdings import Holdings
from workers.depository.living import open_living

_SCHEMA = """CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY, repository TEXT NOT NULL, changed_at REAL NOT NULL)"""
_CONTENT_RANGE = re.compile(r"^(?:bytes[ =])?(\d{1,18})-(\d{1,18})(?:/.*)?$")
# What was pushed stays for so long whatever the room, until the master wishes it to be held.
PUSH_PIN_S = 600.0


class Uploads:
    """The uploads of one box."""

    def __init__(self, table: Table, holdings: Holdings, room: Room, *, idle_s: float) -> None:
        self._table = table
        self._holdings = holdings
        self._store = holdings.store
        self._room = room
        self._idle_s = idle_s
        self._busy: set[str] = set()
        self._lock = threading.Lock()
        table.create(_SCHEMA)

    def start(self, exchange: Exchange, repository: str) -> None:
        """POST: begin an upload; with `digest` the body is the whole blob."""
        self._forget_idle()
        upload = uuid.uuid4().hex
        self._table.write("INSERT INTO uploads VALUES (?, ?, ?)", (upload, repository, time.time()))
        self._path(upload).touch()
        if "digest" in exchange.query:
            try:
                self.finish(exchange, repository, upload)
            except BaseException:
                self._discard(upload)  # the client was not told its name and cannot go on
                raise
            return
        self._answer(exchange, HTTPStatus.ACCEPTED, repository, upload)

    def append(self, exchange: Exchange, repository: str, upload: str) -> None:
        """PATCH: the next bytes."""
        with self._open(upload, repository):
            self._receive(exchange, repository, upload)
        # Not before the upload is free again: the client goes on at once.
        self._answer(exchange, HTTPStatus.ACCEPTED, repository, upload)

    def finish(self, exchange: Exchange, repository: str, upload: str) -> None:
        """PUT: perhaps the last bytes, then the digest of all."""
        digest = exchange.query.get("digest", "")
        if not is_digest(digest):
            raise RegistryError(400, "DIGEST_INVALID", f"{digest[:100]!r} is not a sha256 digest.")
        with self._open(upload, repository):
            self._receive(exchange, repository, upload)
            try:
                measured = self._store.commit(self._path(upload), digest)
            except BadDigest as error:
                self._discard(upload)
                raise RegistryError(400, "DIGEST_INVALID", str(error)) from error
            self._holdings.add(measured, "", repository)
            self._holdings.pin([digest], time.time() + PUSH_PIN_S)
            self._discard(upload)
        location = f"/v2/{repository}/blobs/{digest}"
        exchange.answer(HTTPStatus.CREATED, headers={"Location": location, "Docker-Content-Digest": digest})

    def status(self, exchange: Exchange, repository: str, upload: str) -> None:
        """GET: how far it came."""
        with self._open(upload, repository):
            pass
        self._answer(exchange, HTTPStatus.NO_CONTENT, repository, upload)

    def cancel(self, exchange: Exchange, repository: str, upload: str) -> None:
        """DELETE: forget it."""
        with self._open(upload, repository):
            self._discard(upload)
        exchange.answer(HTTPStatus.NO_CONTENT)

    def _forget_idle(self) -> None:
        before = time.time() - self._idle_s
        idle = self._table.all("SELECT id FROM uploads WHERE changed_at < ?", (before,))
        with self._lock:
            forgotten = {row["id"] for row in idle} - self._busy
        for upload in forgotten:
            self._discard(upload)

    def _path(self, upload: str) -> Path:
        return self._store.ingest_path(f"{upload}.upload")

    @contextmanager
    def _open(self, upload: str, repository: str) -> Iterator[None]:
        """The upload for one request alone."""
        row = self._table.one("SELECT repository FROM uploads WHERE id = ?", (upload,))
        unknown = RegistryError(404, "BLOB_UPLOAD_UNKNOWN", f"There is no upload {upload}; begin again.")
        if row is None or row["repository"] != repository:
            raise unknown
        try:
            kept = open_living(self._path(upload), os.O_RDWR)
        except FileNotFoundError:
            raise unknown from None
        with kept, self._alone(upload):
            yield

    @contextmanager
    def _alone(self, upload: str) -> Iterator[None]:
        with self._lock:
            if upload in self._busy:
                raise RegistryError(409, "BLOB_UPLOAD_INVALID", f"Another request writes upload {upload}.")
            self._busy.add(upload)
        try:
            yield
        finally:
            with self._lock:
                self._busy.discard(upload)

    def _receive(self, exchange: Exchange, repository: str, upload: str) -> None:
        path = self._path(upload)
        offset = path.stat().st_size
        self._check_range(exchange, repository, upload, offset)
        try:
            # By the upload's name, so that what lies there of it already counts once.
            with self._room.growing(upload) as room, path.open("ab") as file:
                for piece in exchange.body():
                    offset += len(piece)
                    room.reach(offset)
                    file.write(piece)
        except NoRoom as error:
            self._discard(upload)
            raise RegistryError(error.http_status, "SIZE_INVALID", str(error)) from error
        self._table.write("UPDATE uploads SET changed_at = ? WHERE id = ?", (time.time(), upload))

    @staticmethod
    def _check_range(exchange: Exchange, repository: str, upload: str, offset: int) -> None:
        header = exchange.headers.get("Content-Range")
        if header is None:
            return
        match = _CONTENT_RANGE.match(header.strip())
        if match is None:
            raise RegistryError(400, "BLOB_UPLOAD_INVALID", f"Content-Range {header[:80]!r} cannot be read.")
        first, last = int(match[1]), int(match[2])
        length = exchange.headers.get("Content-Length")
        fits = length is None or int(length) == last - first + 1
        if first != offset or not fits:
            raise RegistryError(
                416,
                "BLOB_UPLOAD_INVALID",
                f"The upload has {offset} bytes; go on from there.",
                headers={"Location": f"/v2/{repository}/blobs/uploads/{upload}", **_headers(upload, offset)},
            )

    def _discard(self, upload: str) -> None:
        self._table.write("DELETE FROM uploads WHERE id = ?", (upload,))
        self._path(upload).unlink(missing_ok=True)

    def _answer(self, exchange: Exchange, status: int, repository: str, upload: str) -> None:
        size = self._path(upload).stat().st_size
        headers = {"Location": f"/v2/{repository}/blobs/uploads/{upload}"}
        exchange.answer(status, headers={**headers, **_headers(upload, size)})


def _headers(upload: str, size: int) -> dict[str, str]:
    return {"Range": f"0-{max(0, size - 1)}", "Docker-Upload-UUID": upload}
