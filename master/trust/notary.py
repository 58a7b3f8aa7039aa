"""Tells boxes whom to trust, and renews their certificates. The lifecycle calls it."""

from __future__ import annotations

import time

import redis
from sqlalchemy import select
from sqlalchemy.orm import Session

from common.errors import BadInput, Unauthorized
from common.logs import get_logger
from common.names import TRUST, certificate_key
from common.reports import CertificateAsked
from common.signing import Verifier
from common.trust import MOST_SHUT_OUT, REMEMBERED_S, Trust, read_trust, sign_certificate, sign_trust
from master.boxes.models import Box
from master.context import MasterContext
from master.db.session import after_commit
from master.trust.authorities import Authorities

log = get_logger(__name__)

# A box that has not taken its new certificate by then asks again.
ISSUED_S = 3600


class Notary:
    """Keeps the signed record of trust in Redis as it should be."""

    def __init__(self, context: MasterContext) -> None:
        self._context = context
        self._redis = context.redis
        self._verifier = Verifier(context.signer.public_key)

    def run(self) -> bool:
        """Write the record if it is not there or says something else; returns whether. Raises redis.RedisError."""
        now = time.time()
        with self._context.database.read() as session:
            wanted = Authorities.load(self._context.paths).trust(shut_out(session, now), now)
        told = self._told()
        if told is not None and told.model_copy(update={"at": wanted.at}) == wanted:
            return False
        self._redis.set(TRUST, sign_trust(self._context.signer, wanted))
        return True

    def _told(self) -> Trust | None:
        text = self._redis.get(TRUST)
        if text is None:
            return None
        try:
            return read_trust(self._verifier, str(text))
        except Unauthorized as error:
            log.warning("record of trust written anew", error=str(error))
            return None


def shut_out(session: Session, now: float) -> list[str]:
    """Boxes that were removed lately: tickets that they got may not have expired yet."""
    removed = select(Box.id).where(Box.removed_at > now - REMEMBERED_S).order_by(Box.removed_at.desc())
    return list(session.scalars(removed.limit(MOST_SHUT_OUT)))


def renew_certificate(session: Session, context: MasterContext, name: str, asked: CertificateAsked) -> bool:
    """Sign a box's request and let the box have the certificate; returns whether it may have one.

    What the request says of names and roles does not count; they stand in SQL.
    """
    box = session.get(Box, name)
    if box is None or box.removed_at is not None:
        return False
    authority = Authorities.load(context.paths).issuing(time.time())
    try:
        certificate = authority.sign_box(
            asked.certificate_request, box.id, box.address, context.settings.applications_domain, box.roles
        )
    except BadInput as error:
        log.warning("certificate not renewed", box=name, error=str(error))
        return False
    box.certificate = certificate
    token = sign_certificate(context.signer, name, certificate)

    def hand_over() -> None:
        try:
            context.redis.set(certificate_key(name), token, ex=ISSUED_S)
        except redis.RedisError as error:
            log.warning("certificate not handed over, the box will ask again", error=str(error))

    after_commit(session, hand_over)
    log.info("certificate renewed", box=name)
    return True
