"""Who may do what with a repository, checked offline against the master's key.

Bearer tokens as in the distribution project's token authentication: a RepositoryTicket that the master issued as
realm, or the LayerTicket of a placement, with which a box reads the blobs of one image.
"""

from __future__ import annotations

from common.tickets import BadTicket, LayerTicket, RepositoryTicket, TicketChecker
from workers.box.front import Exchange
from workers.depository.addresses import Where
from workers.depository.errors import RegistryError


class Access:
    """The gate of one depository."""

    def __init__(self, checker: TicketChecker, *, box: str, realm: str) -> None:
        self._checker = checker
        self._box = box
        self._realm = realm

    def check(self, exchange: Exchange, where: Where, action: str) -> LayerTicket | RepositoryTicket:
        """The ticket of a request that allows `action`; raises RegistryError 401 with the challenge."""
        token = bearer(exchange)
        if token is None:
            raise self._challenge(where, action, "UNAUTHORIZED", "A token is needed.")
        try:
            return self._layers(token, where, action)
        except BadTicket:
            pass
        try:
            ticket = self._checker.check(token, RepositoryTicket)
        except BadTicket as error:
            raise self._challenge(where, action, "UNAUTHORIZED", str(error), "invalid_token") from error
        if ticket.box not in (None, self._box):
            raise self._challenge(
                where, action, "UNAUTHORIZED", "The token is for another box.", "invalid_token"
            )
        if not self._suffices(ticket, where, action):
            message = f"The token does not allow to {action} {where.repository or 'the catalogue'}."
            raise self._challenge(where, action, "DENIED", message, "insufficient_scope")
        return ticket

    def _layers(self, token: str, where: Where, action: str) -> LayerTicket:
        ticket = self._checker.check(token, LayerTicket)
        if action != "pull" or where.reference not in ticket.blobs:
            raise BadTicket("The ticket is for other blobs.")
        return ticket

    def _suffices(self, ticket: RepositoryTicket, where: Where, action: str) -> bool:
        if where.kind == "catalogue":
            return ticket.catalogue
        return where.kind == "base" or self.allows(ticket, where.repository, action)

    @staticmethod
    def allows(ticket: LayerTicket | RepositoryTicket, repository: str, action: str) -> bool:
        """Whether a ticket lets do `action` with a repository as a whole."""
        return isinstance(ticket, RepositoryTicket) and action in ticket.actions.get(repository, ())

    def _challenge(
        self, where: Where, action: str, code: str, message: str, error: str | None = None
    ) -> RegistryError:
        challenge = f'Bearer realm="{self._realm}",service="{self._box}"'
        if where.repository:
            actions = {"pull": "pull", "push": "pull,push", "delete": "delete"}[action]
            challenge += f',scope="repository:{where.repository}:{actions}"'
        elif where.kind == "catalogue":
            challenge += ',scope="registry:catalog:*"'
        if error:
            challenge += f',error="{error}"'
        return RegistryError(401, code, message, headers={"WWW-Authenticate": challenge})


def bearer(exchange: Exchange) -> str | None:
    """The token of a request."""
    scheme, _, token = exchange.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token else None
