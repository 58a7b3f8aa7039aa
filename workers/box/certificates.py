"""A box's own certificate: whether it is to be renewed, and the request for the next one.

`python -m workers.box.certificates CERTIFICATE TRUST` answers the first by its exit code: the library for it takes
9 MB, which the worker need not hold for a question that it has once an hour.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from common.trust import Trust
from workers.box.trust import DUE, NOT_DUE

LIFE_BEFORE_RENEWAL = 2 / 3


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


if __name__ == "__main__":
    certificate_file, trust_file = (Path(argument) for argument in sys.argv[1:])
    known = Trust.model_validate_json(trust_file.read_text()) if trust_file.exists() else None
    present = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    sys.exit(DUE if is_due(present, known, time.time()) else NOT_DUE)
