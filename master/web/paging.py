"""Lists in pages, the same everywhere: `limit` and `offset`, and a Link header (RFC 8288) to the pages around."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar
from urllib.parse import urlencode

from flask import Response, request
from pydantic import BaseModel, Field

from master.web.current import reply

T = TypeVar("T")

MAXIMUM_LIMIT = 1000
MAXIMUM_OFFSET = 10**9


class Page(BaseModel):
    """Which part of a list. The Link header of the answer has the addresses of the parts around it."""

    limit: int = Field(100, ge=1, le=MAXIMUM_LIMIT, description="How many at most.")
    offset: int = Field(0, ge=0, le=MAXIMUM_OFFSET, description="How many to leave out at the start.")

    @property
    def and_one(self) -> int:
        """How many to read in order to know whether there are more."""
        return self.limit + 1

    def cut(self, items: Sequence[T]) -> Sequence[T]:
        """The part of a list that is there whole."""
        return items[self.offset : self.offset + self.and_one]


def reply_page(answer: BaseModel, page: Page, *, more: bool) -> Response:
    """A part of a list as the answer; `more`: it goes on after this part."""
    response = reply(answer)
    links = []
    if more:
        links.append(_link(page.offset + page.limit, page.limit, "next"))
    if page.offset:
        links.append(_link(max(0, page.offset - page.limit), page.limit, "prev"))
        links.append(_link(0, page.limit, "first"))
    if links:
        response.headers["Link"] = ", ".join(links)
    return response


def _link(offset: int, limit: int, relation: str) -> str:
    rest = [
        (name, value) for name, value in request.args.items(multi=True) if name not in ("offset", "limit")
    ]
    query = urlencode([*rest, ("limit", limit), ("offset", offset)])
    return f'<{request.path}?{query}>; rel="{relation}"'
