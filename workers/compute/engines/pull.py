"""A pull that can be cancelled at any moment, over the engine's socket.

Docker's SDK gives no hold on a pull before the engine's first line of progress, which does not come while a
depository is silent; closing the connection is what tells the engine to stop.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterable
from typing import Any

from workers.compute.errors import BadImage, PullCancelled, PullFailed
from workers.compute.sockets import connect

# An engine that unpacks a large layer on a slow disk says nothing for a while.
SILENCE_S = 600.0

# How engines word that the image itself is at fault, so that other sources will not help.
_BAD = ("manifest invalid", "unsupported", "no matching manifest", "verification failed", "invalid tar")

# How Docker tells of a layer: the beginning of its digest, and these words when nothing more is to be done.
_ID_LENGTH = 12
_ALREADY_THERE, _COMPLETE = "Already exists", "Pull complete"


class StreamedPull:
    """`POST target` answers with lines of JSON until the image is there; one with `error` means it is not."""

    def __init__(self, url: str, target: str, reference: str) -> None:
        self._reference = reference
        self._target = target
        self._connection = connect(url, timeout_s=SILENCE_S)
        self._lock = threading.Lock()
        self._cancelled = False
        self._told = False
        self._complete: set[str] = set()

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
                entry = _entry(line)
                if error := str(entry.get("error") or ""):
                    raise self._failed(error)
                self._note(entry)
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

    def unpacked(self, digests: Iterable[str]) -> list[str]:
        """Those that the engine had to unpack; all, where it does not tell of layers."""
        if not self._told:
            return list(digests)
        return [digest for digest in digests if digest.partition(":")[2].startswith(tuple(self._complete))]

    def _note(self, entry: dict[str, Any]) -> None:
        """Docker tells of each layer, by the beginning of its digest, how it stands."""
        layer, status = str(entry.get("id") or ""), entry.get("status")
        if len(layer) != _ID_LENGTH:
            return
        if status in (_ALREADY_THERE, _COMPLETE):
            self._told = True
        if status == _COMPLETE:
            self._complete.add(layer)

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


def _entry(line: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}
