"""What the box's own worker asks of the fetcher, over a Unix socket that only this user can open."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.errors import BadInput, NotFound
from common.signing import Verifier
from common.wishes import ImageSource
from common.words import is_digest
from workers.box.config import BoxConfig, BoxPaths
from workers.box.front import Exchange
from workers.box.table import Table
from workers.depository.fetcher import shared_fetcher

PREFIX = "/_layers/"
# The longest that one question may wait for its answer; the client asks again.
MOST_WAIT_S = 20.0
_MOST_BODY_BYTES = 64 * 2**20


class WantedImage(BaseModel):
    """The body of plan and hold."""

    model_config = ConfigDict(extra="forbid")

    image: ImageSource
    user: str = Field("", max_length=128, description="Who may cancel it again.")


class Control:
    """plan, hold, cancel, how a transfer stands, and all that run."""

    prefix = PREFIX

    def __init__(self, config: BoxConfig, paths: BoxPaths, table: Table, verifier: Verifier) -> None:  # noqa: ARG002
        self._fetcher = shared_fetcher(config, paths, table)

    def handle(self, exchange: Exchange) -> None:
        """Answer one question."""
        action, _, digest = exchange.path.removeprefix(PREFIX).partition("/")
        match exchange.method, action:
            case "POST", "plan":
                wanted = _wanted(exchange)
                self._fetcher.plan(wanted.image, wanted.user)
                exchange.answer(204)
            case "POST", "hold":
                wanted = _wanted(exchange)
                self._fetcher.hold(wanted.image, wanted.user)
                exchange.answer(204)
            case "POST", "cancel":
                self._fetcher.cancel(_digest(digest), exchange.query.get("user", ""))
                exchange.answer(204)
            case "GET", "running":
                wait_s = _seconds(exchange.query.get("wait_s", "0"))
                found = [item.model_dump(mode="json") for item in self._fetcher.running.look(wait_s)]
                exchange.answer_json(200, found)
            case "GET", "transfers":
                wait_s = _seconds(exchange.query.get("wait_s", "0"))
                facts = self._fetcher.wait(_digest(digest), wait_s)
                exchange.answer(
                    200, facts.model_dump_json().encode(), headers={"Content-Type": "application/json"}
                )
            case _:
                raise NotFound(f"There is no {exchange.method} {exchange.path}.")


def _wanted(exchange: Exchange) -> WantedImage:
    body = bytearray()
    for piece in exchange.body():
        body += piece
        if len(body) > _MOST_BODY_BYTES:
            raise BadInput("The image source is too long.", field="image")
    try:
        return WantedImage.model_validate_json(bytes(body))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"{field}: {first['msg']}.", field=field) from error


def _digest(text: str) -> str:
    if not is_digest(text):
        raise BadInput(f"{text[:100]!r} is not a digest.", field="digest")
    return text


def _seconds(text: str) -> float:
    try:
        return min(max(float(text), 0.0), MOST_WAIT_S)
    except ValueError as error:
        raise BadInput(f"{text[:20]!r} is not a number of seconds.", field="wait_s") from error
