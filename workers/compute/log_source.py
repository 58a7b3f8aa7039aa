"""The output of a container that is there, asked of the engine by plain HTTP.

The front process uses this: the engines' SDKs cost more memory than the rest of it.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

from workers.compute.errors import EngineError, EngineUnavailable
from workers.compute.log_frames import Frames
from workers.compute.sockets import connect

PIECE_BYTES = 64 * 1024


class LiveOutput:
    """What a container printed and, if it is followed, prints until it ends. Close it."""

    def __init__(self, connection: http.client.HTTPConnection, target: str, *, framed: bool) -> None:
        self._connection = connection
        self._frames = Frames() if framed else None
        connection.connect()
        # Kept because http.client lets go of the socket of an answer that lasts as long as its connection.
        self.socket: socket.socket = connection.sock
        connection.request("GET", target)
        self._answer: http.client.HTTPResponse | None = None

    def pieces(self) -> Iterator[bytes]:
        """The output as it comes. Raises EngineError, OSError or HTTPException when the engine breaks off."""
        answer = self.answer()
        while piece := answer.read1(PIECE_BYTES):
            yield self._frames.feed(piece) if self._frames else piece

    def answer(self) -> http.client.HTTPResponse:
        """The head of the engine's answer; Podman sends none before a followed container's next line."""
        if self._answer is None:
            self._answer = self._connection.getresponse()
            if self._answer.status != http.client.OK:
                why = self._answer.read(PIECE_BYTES).decode(errors="replace").strip()
                self.close()
                raise EngineError(f"The engine does not give the container's output: {why}.")
        return self._answer

    def close(self) -> None:
        """Let go of the engine."""
        if self._answer is not None:
            self._answer.close()
        self._connection.close()


def open_output(
    urls: list[str], container: str, *, lines: int, follow: bool, timeout_s: float
) -> LiveOutput | None:
    """The output of a container in the first of these engines that has it; none if no engine does.

    `timeout_s` limits every wait but those of a followed output. Raises EngineUnavailable if no engine answers,
    EngineError if one refuses.
    """
    silent = []
    for url in urls:
        try:
            found = _ask(url, container, timeout_s)
            if found is None:
                continue
            query = urlencode(
                {"stdout": "true", "stderr": "true", "tail": lines, "follow": str(follow).lower()}
            )
            target = f"/containers/{quote(container)}/logs?{query}"
            output = LiveOutput(connect(url, timeout_s=timeout_s), target, framed=not found["Config"]["Tty"])
            if follow:
                output.socket.settimeout(None)
            else:
                output.answer()
        except (OSError, ValueError, http.client.HTTPException) as error:
            silent.append(f"{url} ({error})")
            continue
        return output
    if len(silent) == len(urls):
        raise EngineUnavailable(
            f"The box's container engine does not answer: {', '.join(silent)}.",
            remedy="Try again in a moment.",
        )
    return None


def _ask(url: str, container: str, timeout_s: float) -> dict[str, Any] | None:
    connection = connect(url, timeout_s=timeout_s)
    try:
        connection.request("GET", f"/containers/{quote(container)}/json")
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status == http.client.NOT_FOUND:
        return None
    if answer.status != http.client.OK:
        raise ValueError(f"status {answer.status}")
    facts: dict[str, Any] = json.loads(body)
    return facts
