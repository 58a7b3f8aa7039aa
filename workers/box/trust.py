"""Whom this box trusts, kept on its disk, and its own certificate, renewed in time.

The box asks for a new certificate when two thirds of its life are over, or when the master has a new authority. The
key stays; it never leaves the box.
"""

from __future__ import annotations

import random
import ssl
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from common.errors import OpenRaaSError, Unauthorized
from common.files import read_secret, write_atomically
from common.logs import get_logger
from common.names import TRUST, certificate_key
from common.reports import CertificateAsked
from common.trust import Trust, read_certificate, read_trust
from workers.box.role import BoxContext
from workers.box.shut_out import kept_trust

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

log = get_logger(__name__)

# Exit codes of `workers.box.certificates`.
DUE, NOT_DUE = 3, 0

LOOK_EVERY_S = 10.0
# An answer takes as long as a report and a look.
ASK_EVERY_S = 30.0
# The answer changes with what it is asked of, and with time.
JUDGE_EVERY_S = 3600.0
JUDGE_S = 20.0


class TrustKeeper:
    """Called every few seconds by the worker's loop."""

    def __init__(self, context: BoxContext) -> None:
        self._context = context
        self._paths = context.paths
        self._looked_at = self._asked_at = float("-inf")
        self._trust = kept_trust(context.paths)
        self._judged: object = None
        self._judged_at = float("-inf")
        self._due = False

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
        except (Unauthorized, ValueError, ssl.SSLError) as error:
            log.warning("what the master says of trust is not believed", error=str(error))
        self._renew(now)

    def _take_trust(self, trust: Trust) -> None:
        if self._trust is not None and trust.at <= self._trust.at:
            return  # an older one says less
        ssl.create_default_context(cadata=trust.authorities)
        if self._paths.authority.read_text() != trust.authorities:
            write_atomically(self._paths.authority, trust.authorities)
            log.info("authorities changed")
        write_atomically(self._paths.trust, trust.model_dump_json())
        self._trust = trust

    def _take_certificate(self, pem: str) -> None:
        if self._paths.certificate.read_text() == pem:
            return
        from cryptography import x509

        certificate = x509.load_pem_x509_certificate(pem.encode())
        if certificate.public_key() != self._key().public_key():
            raise Unauthorized("The new certificate is for another key.")
        present = x509.load_pem_x509_certificate(self._paths.certificate.read_bytes())
        if certificate.not_valid_before_utc < present.not_valid_before_utc:
            return  # what was asked for long ago
        write_atomically(self._paths.certificate, pem)
        log.info("certificate renewed", until=certificate.not_valid_after_utc.isoformat())

    def _renew(self, now: float) -> None:
        if now - self._asked_at < ASK_EVERY_S or not self._is_due(now):
            return
        from workers.box.certificates import certificate_request

        # Boxes that began together do not ask together.
        self._asked_at = now + random.uniform(0, ASK_EVERY_S)  # noqa: S311
        request = certificate_request(self._context.config.box, self._key())
        self._context.reporter.send(
            CertificateAsked(subject="certificate", generation=0, certificate_request=request)
        )

    def _is_due(self, now: float) -> bool:
        trust = self._trust
        about = (
            self._paths.certificate.stat().st_mtime_ns,
            None if trust is None else (trust.issuing, time.time() >= trust.renew_from),
        )
        if about != self._judged or now - self._judged_at > JUDGE_EVERY_S:
            files = (str(self._paths.certificate), str(self._paths.trust))
            command = [sys.executable, "-m", "workers.box.certificates", *files]
            # Asked once, however it ends: a box that cannot judge today goes on with what it has.
            self._judged, self._judged_at, self._due = about, now, False
            try:
                answer = subprocess.run(command, timeout=JUDGE_S, check=False, capture_output=True, text=True)
            except (OSError, subprocess.TimeoutExpired) as error:
                log.warning("certificate not judged", error=str(error))
                return False
            if answer.returncode not in (DUE, NOT_DUE):
                log.warning("certificate not judged", error=answer.stderr[-500:])
            self._due = answer.returncode == DUE
        return self._due

    def _key(self) -> ec.EllipticCurvePrivateKey:
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        key = load_pem_private_key(read_secret(self._paths.private_key).encode(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise OpenRaaSError(
                f"{self._paths.private_key} is no key of a box.", remedy="Join anew with --again."
            )
        return key
