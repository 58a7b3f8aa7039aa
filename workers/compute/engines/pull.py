"""A pull that can be cancelled at any moment, over the engine's socket.

Docker's SDK gives no hold on a pull before the engine's first line of progress, which does not come while a
depository is silent; closing the connection is what tells the engine to stop.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading

from workers.compute.errors import BadImage, PullCancelled, PullFailed
from workers.compute.sockets import connect

# An engine that unpacks a large layer on a slow disk says nothing for a while.
SILENCE_S = 600.0

# How engines word that the image itself is at fault, so that other sources will not help.
_BAD = ("manifest invalid", "unsupported", "no matching manifest", "verification failed", "invalid tar")


class StreamedPull:
    """`POST target` answers with lines of JSON until the image is there; one with `error` means it is not."""

    def __init__(self, url: str, target: str, reference: str) -> None:
        self._reference = reference
        self._target = target
        self._connection = connect(url, timeout_s=SILENCE_S)
        self._lock = threading.Lock()
        self._cancelled = False

    def wait(self) -> None:
        """Raises PullFailed, BadImage or PullCancelled."""
        try:
            with self._lock:
                self._check()
                self._connection.connect()
            self._connection.request("POST", self._target, headers={"Content-Length": "0"})
            response = self._connection.getresponse()
            if response.status != http.client.OK:
                raise self._failed(_message(response.read(65536)))
            for line in response:
                if error := _error_in(line):
                    raise self._failed(error)
            self._check()
        except (OSError, http.client.HTTPException) as error:
            self._check()
            raise self._failed(str(error) or type(error).__name__) from error
        finally:
            with self._lock:
                self._connection.close()

    def cancel(self) -> None:
        """The engine notices that nobody listens and gives up its downloads."""
        with self._lock:
            self._cancelled = True
            if self._connection.sock is not None:
                self._connection.sock.shutdown(socket.SHUT_RDWR)

    def _check(self) -> None:
        if self._cancelled:
            raise PullCancelled(f"The pull of {self._reference} was cancelled.")

    def _failed(self, why: str) -> PullFailed | BadImage:
        kind = BadImage if any(word in why.lower() for word in _BAD) else PullFailed
        return kind(f"The image {self._reference} could not be pulled: {why}.")


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace").strip() or "the engine gave no reason"


def _error_in(line: bytes) -> str:
    try:
        entry = json.loads(line)
    except ValueError:
        return ""
    return str(entry.get("error") or "") if isinstance(entry, dict) else ""
