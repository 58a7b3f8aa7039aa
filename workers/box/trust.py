"""Whom this box trusts, kept on its disk, and its own certificate, renewed in time.

The box asks for a new certificate when two thirds of its life are over, or when the master has a new authority. The
key stays; it never leaves the box.
"""

from __future__ import annotations

import random
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID

from common.errors import OpenRaaSError, Unauthorized
from common.files import read_secret, write_atomically
from common.logs import get_logger
from common.names import TRUST, certificate_key
from common.reports import CertificateAsked
from common.trust import Trust, read_certificate, read_trust
from workers.box.role import BoxContext
from workers.box.shut_out import kept_trust

log = get_logger(__name__)

LOOK_EVERY_S = 10.0
# An answer takes as long as a report and a look.
ASK_EVERY_S = 30.0
LIFE_BEFORE_RENEWAL = 2 / 3


class TrustKeeper:
    """Called every few seconds by the worker's loop."""

    def __init__(self, context: BoxContext) -> None:
        self._context = context
        self._paths = context.paths
        self._looked_at = self._asked_at = float("-inf")
        self._trust = kept_trust(context.paths)

    def tidy(self) -> None:
        """Take in what the master says, if it is time to look. Raises redis.RedisError."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = now
        box = self._context.config.box
        trust, certificate = self._context.redis.mget([TRUST, certificate_key(box)])
        try:
            if trust is not None:
                self._take_trust(read_trust(self._context.verifier, str(trust)))
            if certificate is not None:
                self._take_certificate(read_certificate(self._context.verifier, box, str(certificate)))
        except (Unauthorized, ValueError) as error:
            log.warning("what the master says of trust is not believed", error=str(error))
        self._renew(now)

    def _take_trust(self, trust: Trust) -> None:
        if self._trust is not None and trust.at <= self._trust.at:
            return  # an older one says less
        x509.load_pem_x509_certificates(trust.authorities.encode())
        if self._paths.authority.read_text() != trust.authorities:
            write_atomically(self._paths.authority, trust.authorities)
            log.info("authorities changed")
        write_atomically(self._paths.trust, trust.model_dump_json())
        self._trust = trust

    def _take_certificate(self, pem: str) -> None:
        if self._paths.certificate.read_text() == pem:
            return
        certificate = x509.load_pem_x509_certificate(pem.encode())
        if certificate.public_key() != self._key().public_key():
            raise Unauthorized("The new certificate is for another key.")
        present = self._certificate()
        if certificate.not_valid_before_utc < present.not_valid_before_utc:
            return  # what was asked for long ago
        write_atomically(self._paths.certificate, pem)
        log.info("certificate renewed", until=certificate.not_valid_after_utc.isoformat())

    def _renew(self, now: float) -> None:
        if now - self._asked_at < ASK_EVERY_S or not is_due(self._certificate(), self._trust, time.time()):
            return
        # Boxes that began together do not ask together.
        self._asked_at = now + random.uniform(0, ASK_EVERY_S)  # noqa: S311
        request = certificate_request(self._context.config.box, self._key())
        self._context.reporter.send(
            CertificateAsked(subject="certificate", generation=0, certificate_request=request)
        )

    def _certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self._paths.certificate.read_bytes())

    def _key(self) -> ec.EllipticCurvePrivateKey:
        key = load_pem_private_key(read_secret(self._paths.private_key).encode(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise OpenRaaSError(
                f"{self._paths.private_key} is no key of a box.", remedy="Join anew with --again."
            )
        return key


def is_due(certificate: x509.Certificate, trust: Trust | None, now: float) -> bool:
    """Whether a certificate is to be renewed now (Unix time)."""
    begins, ends = (
        at.timestamp() for at in (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    )
    if now > begins + LIFE_BEFORE_RENEWAL * (ends - begins):
        return True
    if trust is None or now < trust.renew_from:
        return False
    try:
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(trust.issuing.encode()))
    except Exception:  # noqa: BLE001 - the library has several unrelated errors for "not by this one"
        return True
    return False


def certificate_request(box: str, key: ec.EllipticCurvePrivateKey) -> str:
    """A request for a certificate of this key (PKCS #10, PEM)."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, box)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()
