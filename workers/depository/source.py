"""One persistent connection to a depository, from which ranges of blobs are read."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from common.tcp import round_trip_ms
from common.tls import BoxConnection
from common.words import Endpoint
from workers.depository.bandwidth import Bandwidth
from workers.depository.errors import Abandoned, SourceError, SourceLacks, SourceRefused, SourceSilent
from workers.depository.tls import TlsStream

_STEP_BYTES = 256 * 1024
_MOST_DOCUMENT_BYTES = 4 * 2**20


class _LargeReads(BoxConnection):
    def secured(self, raw: socket.socket, trust: ssl.SSLContext, box: str) -> TlsStream:
        return TlsStream(raw, trust, box)


class Line:
    """A connection to one depository. It reconnects by itself; one thread uses it at a time."""

    def __init__(
        self,
        endpoint: Endpoint,
        box: str,
        ticket: str,
        *,
        authority: Path,
        timeout_s: float,
        bandwidth: Bandwidth,
    ) -> None:
        self._bandwidth = bandwidth
        self._ticket = ticket
        self._fresh = True
        self._closed = False
        if endpoint.tls:
            self._http: http.client.HTTPConnection = _LargeReads(
                endpoint, box, authorities=authority, timeout_s=timeout_s
            )
        else:
            self._http = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=timeout_s)

    def connect(self) -> None:
        """Reach the depository; raises SourceSilent or SourceError."""
        if self._closed:
            raise Abandoned("the transfer has ended")
        if self._http.sock is not None:
            return
        try:
            self._http.connect()
        except TimeoutError as error:
            raise SourceSilent("it does not answer") from error
        except (OSError, http.client.HTTPException) as error:
            raise SourceError(f"it cannot be reached ({error})") from error
        self._fresh = True

    @property
    def round_trip_ms(self) -> float | None:
        """The shortest round trip that this connection has seen, in milliseconds; none: not connected."""
        sock = self._http.sock
        return None if sock is None else round_trip_ms(sock)

    def close(self) -> None:
        """End the connection, also in the middle of an answer that another thread is reading."""
        self._closed = True
        sock = self._http.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def read(
        self, path: str, offset: int, into: memoryview, total_bytes: int, wanted: Callable[[], bool]
    ) -> None:
        """Fill `into` with the bytes of the blob at `path` from `offset` on.

        Raises SourceLacks, SourceRefused, SourceSilent, Abandoned once `wanted` says no, else SourceError.
        """
        self._talk(lambda: self._ask(path, offset, len(into), total_bytes, into, wanted))

    def read_document(self, path: str) -> bytes:
        """A small answer whole. Raises as `read` does."""
        content = b""

        def ask() -> None:
            nonlocal content
            self.connect()
            self._http.request("GET", path, headers={"Authorization": f"Bearer {self._ticket}"})
            answer = self._http.getresponse()
            self._check_status(answer, 200)
            content = answer.read(_MOST_DOCUMENT_BYTES)
            if not answer.isclosed():
                raise SourceRefused("its answer is too long")
            self._fresh = False

        self._talk(ask)
        return content

    def _talk(self, ask: Callable[[], None]) -> None:
        try:
            try:
                ask()
            except (ConnectionError, http.client.RemoteDisconnected):
                if self._fresh:
                    raise
                # The server closed a connection that had been idle (RFC 9112, section 9.3.1): ask again.
                self._reset()
                self.connect()
                ask()
        except SourceLacks:
            raise  # the answer was read to its end: the connection is still good
        except SourceError:
            self._reset()
            raise
        except TimeoutError as error:
            self._reset()
            raise SourceSilent("it stopped sending") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._reset()
            raise SourceError(f"the connection broke ({error or type(error).__name__})") from error

    def _reset(self) -> None:
        self._http.close()

    def _ask(
        self,
        path: str,
        offset: int,
        length: int,
        total_bytes: int,
        into: memoryview,
        wanted: Callable[[], bool],
    ) -> None:
        self.connect()
        headers = {
            "Authorization": f"Bearer {self._ticket}",
            "Range": f"bytes={offset}-{offset + length - 1}",
            "Accept-Encoding": "identity",
        }
        self._http.request("GET", path, headers=headers)
        connection = self._http.sock
        answer = self._http.getresponse()
        self._check(answer, offset, length, total_bytes)
        # What came with the headers first, then past the file that has them, which would read record by record.
        filled = answer.readinto(into[: len(answer.fp.peek(1)[:length])])
        while filled < length:
            step = into[filled : filled + _STEP_BYTES]
            self._bandwidth.take(len(step))
            self._fill(step, connection)
            filled += len(step)
            if not wanted():
                raise Abandoned("the range came from elsewhere")
        answer.length = 0
        answer.read()  # ends the answer, so that the connection can be used again
        self._fresh = False

    @staticmethod
    def _fill(step: memoryview, connection: socket.socket | TlsStream) -> None:
        filled = 0
        while filled < len(step):
            count = connection.recv_into(step[filled:])
            if not count:
                raise SourceError("it ended its answer early")
            filled += count

    @staticmethod
    def _check_status(answer: http.client.HTTPResponse, *good: int) -> None:
        if answer.status in (404, 410):
            answer.read()
            raise SourceLacks("it does not hold the blob")
        if answer.status in (401, 403):
            raise SourceRefused("it does not accept the ticket")
        if answer.status not in good:
            raise SourceError(f"it answered {answer.status}")

    def _check(self, answer: http.client.HTTPResponse, offset: int, length: int, total_bytes: int) -> None:
        self._check_status(answer, 200, 206)
        whole = offset == 0 and length == total_bytes
        told = answer.getheader("Content-Range", "")
        if answer.status == 206 and told != f"bytes {offset}-{offset + length - 1}/{total_bytes}":
            raise SourceRefused(f"it answered with another range ({told[:60]})")
        if answer.status == 200 and not whole:
            raise SourceRefused("it does not serve ranges")
        if answer.length != length:
            raise SourceRefused("its answer has another length than the range")
