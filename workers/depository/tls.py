"""TLS over large reads: a whole stretch of records with one call to the kernel.

`ssl.SSLSocket` asks the kernel twice for each record of 16 KiB. Taking in what has arrived at once and decrypting
it from memory (`ssl.MemoryBIO`) halves the processor time of a transfer ([benchmarks](../../docs/benchmarks.md)).
"""

from __future__ import annotations

import io
import socket
import ssl

# About what arrives between two looks on a fast link; more only costs memory.
READ_BYTES = 256 * 1024


class TlsStream:
    """A connected socket under TLS, with the part of a socket's interface that `http.client` uses.

    Like a socket's, its descriptor stays open while a file made from it is.
    """

    def __init__(self, raw: socket.socket, context: ssl.SSLContext, server_name: str) -> None:
        """Shake hands; raises OSError (`ssl.SSLError` among them) and closes `raw` then."""
        self._raw = raw
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._files = 0
        self._closed = False
        try:
            self._shake_hands()
        except BaseException:
            raw.close()
            raise

    def _shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                self._take_in()
            else:
                self._flush()
                return

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._raw.sendall(self._outgoing.read())

    def _take_in(self) -> None:
        count = self._raw.recv_into(self._buffer)
        if count:
            self._incoming.write(self._buffer[:count])
        else:
            self._incoming.write_eof()

    def recv_into(self, into: memoryview) -> int:
        """Some bytes, at most one record; 0 at the end. Raises TimeoutError and other OSErrors."""
        while True:
            try:
                count: int = self._tls.read(len(into), into)  # type: ignore[assignment]
            except ssl.SSLWantReadError:
                self._flush()  # an answer to a change of keys
                self._take_in()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return 0
            else:
                return count

    def sendall(self, data: bytes) -> None:
        """Send all of it. Raises TimeoutError and other OSErrors."""
        self._tls.write(data)
        self._flush()

    def makefile(self, mode: str = "rb") -> io.BufferedReader:  # noqa: ARG002
        """What is received, as a file."""
        self._files += 1
        return io.BufferedReader(_Received(self))

    def forget_file(self) -> None:
        """A file made from it was closed."""
        self._files -= 1
        self._close_if_unused()

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        """An option of the socket below."""
        return self._raw.getsockopt(level, option, size)

    def shutdown(self, how: int) -> None:
        """End the connection, also while another thread reads from it."""
        self._raw.shutdown(how)

    def close(self) -> None:
        """Close it once no file made from it is open any more."""
        self._closed = True
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._closed and self._files == 0:
            self._raw.close()


class _Received(io.RawIOBase):
    def __init__(self, stream: TlsStream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, into: memoryview) -> int:  # type: ignore[override]
        return self._stream.recv_into(into)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._stream.forget_file()
