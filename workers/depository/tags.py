"""Tags live in the master's SQL: questions about them are forwarded with the client's own token.

So no box can choose which image a tag names.
"""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from common.tls import trusting
from common.words import Digest, Endpoint
from workers.depository.errors import RegistryError

M = TypeVar("M", bound=BaseModel)

ANSWER_S = 10.0
_MOST_ANSWER_BYTES = 16 * 2**20
_CODES = {401: "UNAUTHORIZED", 403: "DENIED", 404: "MANIFEST_UNKNOWN", 405: "UNSUPPORTED", 409: "DENIED"}


class _Named(BaseModel):
    """What a name is: a tag (its digest), a repository (its tags), or both."""

    digest: Digest | None = None
    tags: list[str] | None = None


class TagClient:
    """Asks the master. All methods raise RegistryError with the master's own message."""

    def __init__(self, master: Endpoint, *, authority: Path, answer_s: float = ANSWER_S) -> None:
        self._master = master
        self._authority = authority
        self._answer_s = answer_s

    def find(self, repository: str, tag: str, token: str) -> str:
        """The digest that the tag names now."""
        answer = _read(_Named, self._ask("GET", f"/{quote(repository)}/{quote(tag)}", token))
        if answer.digest is None:
            raise RegistryError(404, "MANIFEST_UNKNOWN", f"There is no image {repository}:{tag}.")
        return answer.digest

    def names(self, repository: str, token: str) -> list[str]:
        """All tags of a repository; empty if the master knows none."""
        try:
            answer = _read(_Named, self._ask("GET", f"/{quote(repository)}", token))
        except RegistryError as error:
            if error.http_status == 404:
                return []
            raise
        return answer.tags or []

    def remove(self, repository: str, reference: str, token: str) -> None:
        """Remove a tag, or with a digest all tags of the repository that name it."""
        self._ask("DELETE", f"/{quote(repository)}/{quote(reference)}", token)

    def put(self, facts: dict[str, Any], token: str) -> None:
        """Let a tag name an image that was pushed here."""
        self._ask("PUT", "", token, facts)

    def _ask(self, method: str, path: str, token: str, body: object = None) -> bytes:
        connection = self._connect()
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body)
        try:
            connection.request(method, f"/api/v1/images/tags{path}", body=data, headers=headers)
            answer = connection.getresponse()
            content = answer.read(_MOST_ANSWER_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise RegistryError(
                503,
                "UNAVAILABLE",
                f"The master at {self._master.url}, which keeps the tags, does not answer: {error}.",
            ) from error
        finally:
            connection.close()
        if answer.status >= 400:
            raise _refusal(answer.status, content)
        return content

    def _connect(self) -> http.client.HTTPConnection:
        master = self._master
        if not master.tls:
            return http.client.HTTPConnection(master.host, master.port, timeout=self._answer_s)
        return http.client.HTTPSConnection(
            master.host, master.port, timeout=self._answer_s, context=trusting(self._authority)
        )


def _refusal(status: int, content: bytes) -> RegistryError:
    try:
        message = str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        message = f"The master answered {status}."
    if status == 422:  # clients of registries know 400 for bad input
        return RegistryError(400, "MANIFEST_INVALID", message)
    return RegistryError(status, _CODES.get(status, "DENIED" if status < 500 else "UNAVAILABLE"), message)


def _read(model: type[M], content: bytes) -> M:
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise RegistryError(502, "UNAVAILABLE", "The master's answer cannot be read.") from error
