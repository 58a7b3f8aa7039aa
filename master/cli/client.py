"""The REST client of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from common import __version__
from common.errors import OpenRaaSError, Unavailable
from master.cli.target import Target, find

API = "/api/v1"
CONNECT_S = 5.0
ANSWER_S = 30.0
PAGE = 500
_BAD_INPUT = frozenset({400, 404, 405, 413, 415, 422})


class Refused(OpenRaaSError):
    """The master answered with an error; bad input exits with 2, everything else with 1."""

    def __init__(
        self, message: str, *, status: int, field: str | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(message, field=field, remedy=remedy)
        self.http_status = status
        self.exit_code = 2 if status in _BAD_INPUT else 1


class BrokenOff(Unavailable):
    """What has come in is not all."""


def part(text: str) -> str:
    """A name as one part of a path."""
    return quote(text, safe="")


def check(answer: httpx.Response) -> httpx.Response:
    """The answer, if it is a good one; raises Refused with what the other side says."""
    if answer.is_success:
        return answer
    answer.read()
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    errors = problem.get("errors")
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):  # as registries answer
        problem = errors[0]
    remedy = problem.get("remedy")
    if answer.status_code == 401 and problem.get("field") is None:  # a wrong password names its field
        remedy = "Sign in again: openraas login URL."
    message = problem.get("message") or f"{answer.url.host} answered with status {answer.status_code}."
    raise Refused(str(message), status=answer.status_code, field=problem.get("field"), remedy=remedy)


def unreachable(where: str, error: httpx.HTTPError) -> Unavailable:
    """What a person reads when a server does not answer."""
    reason = str(error) or type(error).__name__
    return Unavailable(
        f"{where} does not answer: {reason}.", remedy="See that it runs and that the address is right."
    )


class Client:
    """Calls of the REST interface; use as a context manager."""

    def __init__(self, target: Target | None = None) -> None:
        self.target = target or find()
        self._http = httpx.Client(
            base_url=self.target.server,
            headers={
                "User-Agent": f"openraas/{__version__}",
                "Accept": "application/json",
                **({"Authorization": f"Bearer {self.target.token}"} if self.target.token else {}),
            },
            timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
            verify=self.target.tls() if self.target.server.startswith("https") else True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One call with a path from the root; raises Refused or Unavailable."""
        try:
            return check(self._http.request(method, path, **options))
        except httpx.HTTPError as error:
            raise unreachable(f"The master at {self.target.server}", error) from error

    def get(self, path: str, /, **params: Any) -> Any:
        """The JSON answer to a GET below the API."""
        return self.request("GET", API + path, params=params).json()

    def get_all(self, path: str, key: str, **params: Any) -> list[dict[str, Any]]:
        """All pages of a list below the API; `key` is where the answer has it."""
        answer = self.request("GET", API + path, params={"limit": PAGE, **params})
        found: list[dict[str, Any]] = answer.json()[key]
        while (following := answer.links.get("next")) is not None:
            answer = self.request("GET", following["url"])
            found += answer.json()[key]
        return found

    @contextmanager
    def stream(self, path: str, *, silence_s: float = ANSWER_S, **params: Any) -> Iterator[httpx.Response]:
        """The answer to a GET below the API while it comes in; raises Refused, Unavailable or BrokenOff."""
        began = False
        timeout = httpx.Timeout(ANSWER_S, connect=CONNECT_S, read=silence_s)
        try:
            with self._http.stream("GET", API + path, params=params, timeout=timeout) as answer:
                check(answer)
                began = True
                yield answer
        except httpx.HTTPError as error:
            if began:
                raise BrokenOff(f"The answer of {self.target.server} broke off: {error}.") from error
            raise unreachable(f"The master at {self.target.server}", error) from error

    def send(self, method: str, path: str, body: object = None, /, **params: Any) -> Any:
        """The JSON answer (or None) to a call that changes something."""
        options: dict[str, Any] = {"params": params}
        if body is not None:
            options["json"] = body
        answer = self.request(method, API + path, **options)
        return answer.json() if answer.content else None
