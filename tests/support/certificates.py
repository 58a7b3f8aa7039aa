"""A certificate authority for tests."""

from __future__ import annotations

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


class CertificateAuthority:
    """Signs certificates for addresses; everything is in PEM."""

    def __init__(self, name: str) -> None:
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        basic = x509.BasicConstraints(ca=True, path_length=None)
        self.certificate = self._sign(self._name, self._key.public_key(), basic)

    def sign(self, address: str, box: str | None = None) -> tuple[bytes, bytes]:
        """A certificate for an IP address (of a box), and its private key."""
        key = ec.generate_private_key(ec.SECP256R1())
        known: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(address))]
        names = x509.SubjectAlternativeName([*known, *([x509.DNSName(box)] if box else [])])
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, address)])
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return self._sign(subject, key.public_key(), names), private

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, extension: x509.ExtensionType
    ) -> bytes:
        now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(1)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name)
        builder = builder.public_key(key).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - day).not_valid_after(now + day)
        signed = builder.add_extension(extension, critical=True).sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)
