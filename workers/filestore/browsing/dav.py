"""`/webdav/`: the home for file managers and programs (RFC 4918), by WsgiDAV inside the home's sandbox.

What is put appears whole or not at all. Locks live as long as the session's process. Names that are no UTF-8 or hold
control characters cannot be told in XML and are left out; the file page shows them.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from wsgidav.dav_error import DAVError
from wsgidav.error_printer import ErrorPrinter
from wsgidav.fs_dav_provider import FileResource, FilesystemProvider, FolderResource
from wsgidav.http_authenticator import HTTPAuthenticator
from wsgidav.request_resolver import RequestResolver
from wsgidav.wsgidav_app import WsgiDAVApp

from common.errors import Forbidden
from workers.box.front import BUFFER_BYTES, Exchange
from workers.filestore.archive import Pieces
from workers.filestore.browsing.route import MAY, ROOT

MOUNT = "/webdav"
_READING = frozenset({"GET", "HEAD", "OPTIONS", "PROPFIND"})


class _Writer:
    """What WsgiDAV writes a file with: beside the tree, to be renamed into it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._file = place.open("xb", buffering=0)

    def writelines(self, pieces: Iterable[bytes]) -> None:
        try:
            for piece in pieces:
                rest = memoryview(piece)
                while rest:
                    rest = rest[self._file.write(rest) :]
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DAVError(HTTPStatus.INSUFFICIENT_STORAGE, "The home is full.") from error
            raise

    def close(self) -> None:
        os.fsync(self._file.fileno())
        self._file.close()

    def give_up(self) -> None:
        self._file.close()
        self.place.unlink(missing_ok=True)


class _File(FileResource):  # type: ignore[misc]
    """A file whose new content takes its place by one rename."""

    _writer: _Writer | None = None

    def begin_write(self, *, content_type: str | None = None) -> _Writer:  # noqa: ARG002 - WsgiDAV's signature
        self._writer = _Writer(self.provider.aside / f"once-{secrets.token_hex(12)}")
        return self._writer

    def end_write(self, *, with_errors: bool) -> None:
        writer, self._writer = self._writer, None
        if writer is None:
            return
        if with_errors:
            writer.give_up()
            return
        writer.place.chmod(self._mode())
        writer.place.rename(self._file_path)

    def _mode(self) -> int:
        try:
            return os.stat(self._file_path).st_mode & 0o777  # noqa: PTH116 - WsgiDAV's path is text
        except FileNotFoundError:
            return 0o644


class _NewFile(_File):
    """A file that is not there before it is whole."""

    def __init__(self, path: str, environ: dict[str, Any], file_path: str) -> None:
        # FileResource's own would look at the file.
        super(FileResource, self).__init__(path, environ)
        self._file_path = file_path
        self.name = Path(file_path).name


class _Folder(FolderResource):  # type: ignore[misc]
    def get_member_names(self) -> list[str]:
        return [name for name in super().get_member_names() if _can_be_told(name)]

    def create_empty_resource(self, name: str) -> _NewFile:
        path = f"{self.path.rstrip('/')}/{name}"
        return _NewFile(path, self.environ, self.provider._loc_to_file_path(path, self.environ))


class _Provider(FilesystemProvider):  # type: ignore[misc]
    def __init__(self, data: Path, aside: Path) -> None:
        super().__init__(str(data), fs_opts={"follow_symlinks": False})
        self.aside = aside

    def get_resource_inst(self, path: str, environ: dict[str, Any]) -> _File | _Folder | None:
        found = super().get_resource_inst(path, environ)
        if isinstance(found, FolderResource):
            return _Folder(path, environ, found._file_path)
        return _File(path, environ, found._file_path) if found is not None else None


def _can_be_told(name: str) -> bool:
    with suppress(UnicodeEncodeError):
        name.encode()
        return all(sign >= " " and sign != "\x7f" for sign in name)
    return False


class DavRoute:
    """The part of the session's server that speaks WebDAV."""

    prefix = MOUNT

    def __init__(self, data: Path, aside: Path) -> None:
        logging.getLogger("wsgidav").setLevel(logging.ERROR)
        self._app = WsgiDAVApp(
            {
                "provider_mapping": {"/": _Provider(data, aside)},
                "mount_path": MOUNT,
                "middleware_stack": [ErrorPrinter, HTTPAuthenticator, RequestResolver],
                # The front has checked the token; here everybody is the home's owner.
                "simple_dc": {"user_mapping": {"*": True}},
                "http_authenticator": {"accept_basic": True, "accept_digest": False},
                "property_manager": None,
                "lock_storage": True,
                "honor_mtime_header": True,
                "suppress_version_info": True,
                "verbose": 1,
                "logging": {"enable": False},
            }
        )

    def handle(self, exchange: Exchange) -> None:
        """Answer one request."""
        may = exchange.headers.get(MAY, "").split(",")
        # WsgiDAV knows the whole home only: what was shared of it is opened by the file page.
        if exchange.headers.get(ROOT) or "read" not in may:
            raise Forbidden("This does not open the whole home.", remedy="Open it on the file page.")
        if "write" not in may and exchange.method not in _READING:
            raise Forbidden("This token only reads.")
        if exchange.method == "PROPFIND" and exchange.headers.get("Depth", "infinity").lower() == "infinity":
            # RFC 4918, section 9.1: a server may refuse to walk everything at once.
            exchange.answer(403, _FINITE, headers={"Content-Type": "application/xml; charset=utf-8"})
            return
        _answer(self._app, exchange)


_FINITE = (
    b'<?xml version="1.0" encoding="utf-8"?>\n<D:error xmlns:D="DAV:"><D:propfind-finite-depth/></D:error>\n'
)


def _answer(app: WsgiDAVApp, exchange: Exchange) -> None:
    began: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> None:  # noqa: ARG001
        began[:] = [(status, headers)]

    pieces = app(_environ(exchange), start_response)
    try:
        iterator = iter(pieces)
        first = next(iterator, b"")  # WSGI may begin its answer as late as with the first piece (PEP 3333)
        status, told = began[0]
        headers = {
            name: value for name, value in told if name.lower() not in ("content-length", "connection")
        }
        length = next((int(value) for name, value in told if name.lower() == "content-length"), None)
        code = int(status.split()[0])
        if length is None and code not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            exchange.stream(code, _chain(first, iterator), headers=headers)
            return
        exchange.begin(code, length or 0, headers=headers)
        if exchange.method != "HEAD":
            exchange.send(_chain(first, iterator))
    finally:
        if hasattr(pieces, "close"):
            pieces.close()


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _environ(exchange: Exchange) -> dict[str, Any]:
    """PEP 3333's environment of a request."""
    parts = urlsplit(exchange.target)
    host, _, port = exchange.headers.get("Host", "localhost").rpartition(":")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": exchange.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote(parts.path, "latin-1").removeprefix(MOUNT) or "/",
        "QUERY_STRING": parts.query,
        "SERVER_NAME": host or "localhost",
        "SERVER_PORT": port if port.isdigit() else "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": exchange.headers.get("X-Forwarded-Proto", "http"),
        "wsgi.input": io.BufferedReader(Pieces(exchange.body()), BUFFER_BYTES),
        "wsgi.input_terminated": True,
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in exchange.headers.items():
        key = name.upper().replace("-", "_")
        environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
    environ.pop("HTTP_AUTHORIZATION", None)
    return environ
