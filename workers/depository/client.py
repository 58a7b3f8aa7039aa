"""How the box's worker speaks to the fetcher in the front process."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable

from pydantic import TypeAdapter

from common.errors import Unavailable
from common.transfers import Transfer
from common.unix_http import UnixConnection
from common.wishes import ImageSource
from workers.box.config import BoxPaths
from workers.depository.control import PREFIX
from workers.depository.errors import Cancelled, TransferError
from workers.depository.facts import TransferFacts

SOCKET = "layers.sock"
# A question is answered within milliseconds, or within the time that it says it waits.
ANSWER_S = 10.0
POLL_S = 1.0
_TRANSFERS = TypeAdapter(list[Transfer])


class LayersClient:
    """Plan, hold and cancel images; safe to use from several threads."""

    def __init__(self, paths: BoxPaths) -> None:
        self._socket = paths.run / SOCKET

    def plan(self, image: ImageSource, user: str = "") -> None:
        """Let the engine pull this image from the loopback port. Raises Unavailable without a front process."""
        self._post("plan", image, user)

    def hold(
        self, image: ImageSource, user: str = "", *, unwanted: Callable[[], bool] = lambda: False
    ) -> TransferFacts:
        """Fetch all blobs that are missing and return when they are in the store.

        `unwanted` is asked every second and ends the transfer. Raises Cancelled, TransferError if no
        depository can give it (the message says which were tried), Unavailable without a front process.
        """
        self._post("hold", image, user)
        while True:
            facts = self.transfer(image.manifest, wait_s=POLL_S)
            if facts.state == "done":
                return facts
            if facts.state == "failed":
                raise TransferError(facts.error)
            if facts.state == "cancelled":
                raise Cancelled(f"The transfer of {image.name} was cancelled.")
            if facts.state == "unknown":
                raise Unavailable(f"The transfer of {image.name} was forgotten.")
            if unwanted():
                self.cancel(image.manifest, user)

    def transfer(self, manifest: str, *, wait_s: float = 0.0) -> TransferFacts:
        """How the transfer of an image stands, waiting up to `wait_s` for its end."""
        body = self._ask("GET", f"transfers/{manifest}?wait_s={wait_s}", answer_s=ANSWER_S + wait_s)
        return TransferFacts.model_validate_json(body)

    def running(self, *, wait_s: float = 0.0) -> list[Transfer]:
        """All transfers that run, waiting up to `wait_s` for one to begin."""
        return _TRANSFERS.validate_json(
            self._ask("GET", f"running?wait_s={wait_s}", answer_s=ANSWER_S + wait_s)
        )

    def cancel(self, manifest: str, user: str = "") -> None:
        """`user` does not want the image any more."""
        self._ask("POST", f"cancel/{manifest}?user={user}")

    def _post(self, action: str, image: ImageSource, user: str) -> None:
        body = json.dumps({"image": image.model_dump(mode="json"), "user": user})
        self._ask("POST", action, body.encode())

    def _ask(self, method: str, path: str, body: bytes = b"", *, answer_s: float = ANSWER_S) -> bytes:
        connection = UnixConnection(self._socket, timeout_s=answer_s)
        try:
            connection.request(method, PREFIX + path, body=body)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(
                f"The box's front process does not answer on {self._socket}: {error}.",
                remedy="It is restarted by itself; see its log if this goes on.",
            ) from error
        finally:
            connection.close()
        if answer.status >= 400:
            raise TransferError(_message(content, answer.status))
        return content


def _message(content: bytes, status: int) -> str:
    try:
        return str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        return f"The box's front process answered {status}."
