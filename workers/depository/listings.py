"""What clients look around with: the base, repositories, tags and referrers, page by page.

Distribution specification 1.1, "Determining Support", "Listing Tags" and "Listing Referrers". The list of
repositories stands in CNCF distribution's own specification alone ("Listing Repositories").
"""

from __future__ import annotations

from urllib.parse import urlencode

from common.oci.manifests import OCI_INDEX
from workers.box.front import Exchange
from workers.depository.access import Access, bearer
from workers.depository.addresses import Where
from workers.depository.errors import RegistryError
from workers.depository.holdings import Holdings
from workers.depository.referrers import Referrers
from workers.depository.tags import TagClient

VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}
# What a page has when nobody says how much; clients follow the link to the next.
CATALOGUE_PAGE = 1000


class Listings:
    """All answers that are lists; each checks the right to read what it lists."""

    def __init__(self, holdings: Holdings, referrers: Referrers, tags: TagClient, access: Access) -> None:
        self._holdings = holdings
        self._referrers = referrers
        self._tags = tags
        self._access = access

    def handle(self, exchange: Exchange, where: Where) -> None:
        """Answer GET and HEAD."""
        if exchange.method not in ("GET", "HEAD"):
            raise RegistryError(405, "UNSUPPORTED", f"{exchange.method} is not answered here.")
        self._access.check(exchange, where, "pull")
        match where.kind:
            case "tags":
                self._list_tags(exchange, where.repository)
            case "referrers":
                self._list_referrers(exchange, where)
            case "catalogue":
                self._list_repositories(exchange)
            case _:
                exchange.answer_json(200, {}, headers=VERSION)

    def _list_tags(self, exchange: Exchange, repository: str) -> None:
        names = sorted(self._tags.names(repository, bearer(exchange) or ""))
        if not names and not self._holdings.has_repository(repository):
            raise RegistryError(404, "NAME_UNKNOWN", f"There is no repository {repository}.")
        if last := exchange.query.get("last"):
            names = [name for name in names if name > last]
        page = names[: _wanted(exchange, len(names))]
        headers = dict(VERSION)
        if page and len(page) < len(names):
            headers |= _link(f"/v2/{repository}/tags/list", n=str(len(page)), last=page[-1])
        exchange.answer_json(200, {"name": repository, "tags": page}, headers=headers)

    def _list_repositories(self, exchange: Exchange) -> None:
        wanted = min(_wanted(exchange, CATALOGUE_PAGE), CATALOGUE_PAGE)
        names = self._holdings.repositories(exchange.query.get("last", ""), wanted + 1)
        page = names[:wanted]
        headers = dict(VERSION)
        if page and len(page) < len(names):
            headers |= _link("/v2/_catalog", n=str(len(page)), last=page[-1])
        exchange.answer_json(200, {"repositories": page}, headers=headers)

    def _list_referrers(self, exchange: Exchange, where: Where) -> None:
        kind, after = exchange.query.get("artifactType", ""), exchange.query.get("last", "")
        body, more = self._referrers.index(where.repository, where.reference, kind, after)
        headers = {"Content-Type": OCI_INDEX, **VERSION}
        if kind:
            headers["OCI-Filters-Applied"] = "artifactType"
        if more:
            filters = {"artifactType": kind} if kind else {}
            headers |= _link(f"/v2/{where.repository}/referrers/{where.reference}", last=more, **filters)
        exchange.answer(200, body, headers=headers)


def _wanted(exchange: Exchange, default: int) -> int:
    text = exchange.query.get("n")
    if text is None:
        return default
    if not text.isdecimal() or len(text) > 9:
        raise RegistryError(400, "PAGINATION_NUMBER_INVALID", f"n is {text[:20]!r} and not a number.")
    return int(text)


def _link(path: str, **query: str) -> dict[str, str]:
    """The header that leads to the next page (RFC 8288)."""
    return {"Link": f'<{path}?{urlencode(query)}>; rel="next"'}
