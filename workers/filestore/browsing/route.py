"""`/files/<fileset>/…`: what a file page and programs ask of a home, inside its sandbox.

nginx asks the box's front about the ticket first and says in headers what it allows: below which path (`ROOT`), and
which of `read`, `write` and `add` (`MAY`). Nobody else reaches the socket on which this answers.
"""

from __future__ import annotations

import mimetypes
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from urllib.parse import quote_from_bytes, urlencode

from common.errors import BadInput, Forbidden, NotFound, OpenRaaSError
from workers.box.front import Exchange
from workers.filestore import archive
from workers.filestore.browsing import beneath, paths, tree
from workers.filestore.browsing.errors import explained
from workers.filestore.browsing.uploads import Upload, Uploads
from workers.filestore.browsing.zipping import zipped

ROOT, MAY, PORTAL = "X-Openraas-Files-Root", "X-Openraas-Files-May", "X-Openraas-Files-Portal"
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_PATH = re.compile(r"/files/[a-z0-9-]+/([a-z]+)")
# Whatever a file holds, a browser that shows it from here runs nothing of it.
_SAFE = {
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Cache-Control": "private, no-cache",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True)
class Asked:
    """One request: where its paths begin, and what its ticket allows."""

    exchange: Exchange
    top: int
    root: bytes
    may: frozenset[str]
    is_file: bool = False

    def path(self, name: str = "path") -> bytes:
        """A path of the query. What was shared may be a single file: then there is no other."""
        path = paths.decode(self.exchange.query.get(name, ""), field=name)
        if self.is_file and path:
            raise NotFound("A single file was shared.", field=name)
        return path

    def number(self, name: str, default: int, *, most: int) -> int:
        """A whole number of the query; raises BadInput."""
        text = self.exchange.query.get(name, str(default))
        if not re.fullmatch(r"\d{1,18}", text) or int(text) > most:
            raise BadInput(f"{name} has to be a whole number up to {most}.", field=name)
        return int(text)

    def flag(self, name: str) -> bool:
        """A yes or no of the query."""
        return self.exchange.query.get(name) == "1"

    def needs(self, right: str) -> None:
        """Raises Forbidden unless the ticket allows it."""
        if right not in self.may:
            raise Forbidden(f"This ticket does not allow to {right}.", remedy="Ask the owner of the files.")


class FilesRoute:
    """Answers for one home, whose tree is open as `data`; `aside` is where what comes and goes lies meanwhile."""

    prefix = "/files/"

    def __init__(self, data: int, aside: int) -> None:
        self._data = data
        self._aside = aside
        self._uploads = Uploads(aside)
        self._verbs: dict[tuple[str, str], tuple[str, Callable[[Asked], None]]] = {
            ("GET", "list"): ("read", self._list),
            ("GET", "usage"): ("read", self._usage),
            ("GET", "content"): ("read", self._content),
            ("HEAD", "content"): ("read", self._content),
            ("PUT", "content"): ("add", self._put),
            ("GET", "upload"): ("add", self._offset),
            ("PATCH", "upload"): ("add", self._upload),
            ("DELETE", "upload"): ("add", self._forget),
            ("POST", "form"): ("add", self._form),
            ("POST", "folder"): ("write", self._folder),
            ("POST", "move"): ("write", self._move),
            ("POST", "remove"): ("write", self._remove),
        }

    def handle(self, exchange: Exchange) -> None:
        """Answer one request."""
        match = _PATH.fullmatch(exchange.path)
        found = self._verbs.get((exchange.method, match[1])) if match else None
        if found is None:
            raise NotFound(f"There is nothing to {exchange.method} here.", field="path")
        right, verb = found
        with self._scope(exchange) as asked:
            asked.needs(right)
            verb(asked)

    @contextmanager
    def _scope(self, exchange: Exchange) -> Iterator[Asked]:
        root = paths.decode(exchange.headers.get(ROOT, ""))
        may = frozenset(exchange.headers.get(MAY, "").split(","))
        with explained(root):
            top = beneath.open_beneath(self._data, root, tree.READ)
        try:
            yield Asked(exchange, top, root, may, is_file=tree.kind_of(top, root) == "file")
        finally:
            os.close(top)

    # Reading

    def _list(self, asked: Asked) -> None:
        path = asked.path()
        if asked.is_file:
            facts, name = os.fstat(asked.top), paths.split(asked.root)[1]
            entries = [_told(tree.Entry(name, "file", facts.st_size, facts.st_mtime), b"")]
            asked.exchange.answer_json(200, {"file": True, "entries": entries, "total": 1, "cut": False})
            return
        listing = tree.list_folder(
            asked.top,
            path,
            offset=asked.number("offset", 0, most=tree.MOST_SCANNED),
            limit=asked.number("limit", 200, most=tree.MOST_LISTED),
        )
        entries = [_told(entry, paths.join(path, entry.name)) for entry in listing.entries]
        asked.exchange.answer_json(
            200, {"file": False, "entries": entries, "total": listing.total, "cut": listing.cut}
        )

    def _usage(self, asked: Asked) -> None:
        free, whole = tree.room(self._data)
        largest = [
            {"path": paths.encode(path), "shown": paths.shown(path), "size_bytes": size}
            for path, size in (tree.heaviest(asked.top) if not asked.is_file else ())
        ]
        asked.exchange.answer_json(200, {"free_bytes": free, "size_bytes": whole, "largest": largest})

    def _content(self, asked: Asked) -> None:
        path = asked.path()
        with tree.opened(asked.top, path) if not asked.is_file else _borrowed(asked.top) as handle:
            name = paths.split(paths.join(asked.root, path))[1] or b"home"
            if tree.kind_of(handle, name) == "file":
                _send_file(asked.exchange, handle, name)
            else:
                _send_folder(asked.exchange, handle, name)

    # Uploads

    def _asked_upload(self, asked: Asked) -> Upload:
        if asked.is_file:
            raise Forbidden("A single file was shared; nothing can be added to it.")
        modified = asked.number("modified", 0, most=2**53)
        return Upload(
            top=asked.top,
            path=asked.path(),
            size_bytes=asked.number("size", 0, most=2**43),
            modified_at=modified / 1000 if modified else None,
            replace=_may_replace(asked),
            root=asked.root,
        )

    def _offset(self, asked: Asked) -> None:
        asked.exchange.answer_json(200, {"offset": self._uploads.offset(self._asked_upload(asked))})

    def _upload(self, asked: Asked) -> None:
        upload = self._asked_upload(asked)
        offset = asked.number("offset", 0, most=2**43)
        done = self._uploads.write(upload, offset, asked.exchange.body())
        asked.exchange.answer_json(200, {"offset": done, "done": done == upload.size_bytes})

    def _forget(self, asked: Asked) -> None:
        self._uploads.forget(self._asked_upload(asked))
        asked.exchange.answer(204)

    def _put(self, asked: Asked) -> None:
        size = self._uploads.write_whole(self._asked_upload(asked), asked.exchange.body())
        asked.exchange.answer_json(201, {"size_bytes": size})

    def _form(self, asked: Asked) -> None:
        """A plain form with files. It ends on the portal's page, which says how it went."""
        # Only a session pays for it, not the front, which shares this module.
        from workers.filestore.browsing import forms

        folder, count, problem = asked.path(), 0, ""
        if asked.is_file:
            raise Forbidden("A single file was shared; nothing can be added to it.")
        try:
            content_type = asked.exchange.headers.get("Content-Type", "")
            for name, pieces in forms.files(content_type, asked.exchange.body()):
                path = paths.decode(quote_from_bytes(paths.join(folder, name)))
                upload = Upload(asked.top, path, 0, None, _may_replace(asked), asked.root)
                self._uploads.write_whole(upload, pieces)
                count += 1
        except OpenRaaSError as error:
            problem = str(error)
        portal = asked.exchange.headers.get(PORTAL, "")
        if not portal:
            raise BadInput("The ticket names no page to go on with.", field="ticket")
        query = urlencode({"path": paths.encode(folder), "uploaded": count, "problem": problem[:400]})
        asked.exchange.answer(303, headers={"Location": f"{portal}{'&' if '?' in portal else '?'}{query}"})

    # Changes

    def _folder(self, asked: Asked) -> None:
        tree.make_folder(asked.top, asked.path())
        asked.exchange.answer(204)

    def _move(self, asked: Asked) -> None:
        tree.move(asked.top, asked.path(), asked.path("to"), replace=asked.flag("replace"))
        asked.exchange.answer(204)

    def _remove(self, asked: Asked) -> None:
        tree.remove(asked.top, asked.path(), self._aside)
        asked.exchange.answer(204)

    def sweep(self) -> None:
        """Forget old uploads."""
        self._uploads.sweep()


def _may_replace(asked: Asked) -> bool:
    """Who may only add replaces nothing of the owner's."""
    return asked.flag("replace") and "write" in asked.may


def _told(entry: tree.Entry, path: bytes) -> dict[str, object]:
    return {
        "path": paths.encode(path),
        "name": paths.shown(entry.name),
        "kind": entry.kind,
        "size_bytes": entry.size_bytes,
        "modified_at": entry.modified_at,
    }


@contextmanager
def _borrowed(handle: int) -> Iterator[int]:
    yield handle


def _disposition(name: bytes) -> str:
    """RFC 6266: a plain name for old clients, and the real one."""
    plain = re.sub(rb"[^A-Za-z0-9._-]", b"_", name).decode()
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote_from_bytes(name, safe='')}"


def _send_folder(exchange: Exchange, handle: int, name: bytes) -> None:
    if exchange.query.get("as") == "zip":
        kind, suffix, pieces = "application/zip", b".zip", zipped(handle)
    else:
        kind, suffix, pieces = "application/x-tar", b".tar", archive.pack(handle)
    headers = {**_SAFE, "Content-Type": kind, "Content-Disposition": _disposition(name + suffix)}
    if exchange.method == "HEAD":
        exchange.answer(200, headers=headers)
        return
    exchange.stream(200, pieces, headers=headers)


def _send_file(exchange: Exchange, handle: int, name: bytes) -> None:
    facts = os.fstat(handle)
    tag = f'"{facts.st_ino:x}-{facts.st_size:x}-{facts.st_mtime_ns:x}"'
    kind = mimetypes.guess_type(paths.shown(name))[0] or "application/octet-stream"
    headers = {
        **_SAFE,
        "Content-Type": kind,
        "Content-Disposition": _disposition(name),
        "ETag": tag,
        "Accept-Ranges": "bytes",
    }
    if exchange.headers.get("If-None-Match") == tag:
        exchange.answer(304, headers=headers)
        return
    status, offset, length = _part(exchange.headers, tag, facts.st_size)
    if status == 416:
        exchange.answer(416, headers={"Content-Range": f"bytes */{facts.st_size}"})
        return
    if status == 206:
        headers["Content-Range"] = f"bytes {offset}-{offset + length - 1}/{facts.st_size}"
    exchange.begin(status, length, headers=headers)
    if exchange.method != "HEAD":
        with os.fdopen(os.dup(handle), "rb", buffering=0) as file:
            exchange.send_file(file, offset, length)


def _part(headers: Message, tag: str, size: int) -> tuple[int, int, int]:
    """Status, offset and length for a request's range (RFC 9110, section 14); several ranges: the whole."""
    match = _RANGE.fullmatch(headers.get("Range", ""))
    if match is None or match[0] == "bytes=-" or headers.get("If-Range", tag) != tag:
        return 200, 0, size
    first, last = match[1], match[2]
    if not first:
        length = min(int(last), size)
        return (206, size - length, length) if length else (416, 0, 0)
    start, end = int(first), min(int(last) if last else size - 1, size - 1)
    if start >= size:
        return 416, 0, 0
    return (206, start, end - start + 1) if end >= start else (200, 0, size)
