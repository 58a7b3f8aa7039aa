"""An internal certificate authority: its key, and certificates for the master and each box.

Boxes and the command line trust it by its fingerprint, which travels in the join token. How one takes over from
another stands in `authorities.py`.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common.addresses import is_everywhere
from common.errors import BadInput
from common.files import read_secret, write_atomically, write_secret
from master.context import MasterPaths

AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 730
# A certificate of the master with less than this left is made anew at the next start.
RENEW_DAYS = 60
# Clocks of small boxes run behind.
GRACE = datetime.timedelta(days=1)
ROLE_URI = "urn:openraas:role:"


class Authority:
    """A certificate authority of this installation."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self._certificate = certificate

    @classmethod
    def load(cls, key_file: Path, certificate_file: Path) -> Authority:
        """The pair in these files. Raises BadInput if they are not a pair."""
        key = serialization.load_pem_private_key(read_secret(key_file).encode(), None)
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise BadInput(
                f"{key_file} is not the key of the authority in {certificate_file}.",
                remedy="Put the right one back from a backup.",
            )
        return cls(key, certificate)

    @property
    def pem(self) -> str:
        """The authority's own certificate."""
        return _pem(self._certificate)

    @property
    def made_at(self) -> float:
        """When it was made (Unix time)."""
        return (self._certificate.not_valid_before_utc + GRACE).timestamp()

    def has_signed(self, certificate_pem: str) -> bool:
        """Whether a certificate is one of its own."""
        return _signed_by(x509.load_pem_x509_certificate(certificate_pem.encode()), self._certificate)

    @property
    def fingerprint(self) -> str:
        """sha256 of the certificate's DER form, in hex: what a box and a person compare."""
        return self._certificate.fingerprint(hashes.SHA256()).hex()

    def sign_box(
        self, request_pem: str, box: str, address: str, domain: str, roles: Iterable[str] = ()
    ) -> str:
        """A certificate for a box: its address, its id, the names of instances on it, and its roles as URIs.

        What names the request asks for is ignored. Raises BadInput for a request that cannot be used.
        """
        try:
            request = x509.load_pem_x509_csr(request_pem.encode())
            key = request.public_key()
            good = request.is_signature_valid
        except Exception as error:
            # The library raises several unrelated types for keys and curves that it does not know.
            raise BadInput("The certificate request cannot be read.", field="certificate_request") from error
        if not good:
            raise BadInput(
                "The certificate request is not signed by its own key.", field="certificate_request"
            )
        names = [_general_name(item) for item in (address, box, f"*.{box}.{domain}")]
        names += [x509.UniformResourceIdentifier(f"{ROLE_URI}{role}") for role in sorted(roles)]
        return _pem(self._issue(key, box, names))

    def ensure_master(self, paths: MasterPaths, listen: str) -> None:
        """Make the master's key and certificate, unless there are good ones for this address."""
        names = _listen_names(listen)
        if _is_good(paths, names, self._certificate):
            return
        key = ec.generate_private_key(ec.SECP256R1())
        write_secret(paths.private_key, _key_pem(key))
        general = [_general_name(item) for item in names]
        write_atomically(paths.certificate, _pem(self._issue(key.public_key(), "OpenRaaS master", general)))

    def _issue(
        self, key: CertificatePublicKeyTypes, name: str, names: Iterable[x509.GeneralName]
    ) -> x509.Certificate:
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        return (
            _builder(name, key, CERTIFICATE_DAYS)
            .issuer_name(self._certificate.subject)
            .add_extension(x509.SubjectAlternativeName(list(names)), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )


def create(key_file: Path, certificate_file: Path) -> None:
    """Make an authority (its key 0600); the certificate is written last."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder("OpenRaaS internal authority", key.public_key(), AUTHORITY_DAYS)
    certificate = (
        builder.issuer_name(_subject("OpenRaaS internal authority"))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_secret(key_file, _key_pem(key))
    write_atomically(certificate_file, _pem(certificate))


def _builder(name: str, key: CertificatePublicKeyTypes, days: int) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_subject(name))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - GRACE)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _key_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _listen_names(listen: str) -> list[str]:
    names = ["localhost", "127.0.0.1", "::1"]
    if not is_everywhere(listen):
        return list(dict.fromkeys([listen, *names]))
    for addresses in psutil.net_if_addrs().values():
        for item in addresses:
            with suppress(ValueError):
                names.append(str(ipaddress.ip_address(item.address.partition("%")[0])))
    return list(dict.fromkeys(names))


def _is_good(paths: MasterPaths, names: list[str], authority: x509.Certificate) -> bool:
    if not (paths.private_key.exists() and paths.certificate.exists()):
        return False
    certificate = x509.load_pem_x509_certificate(paths.certificate.read_bytes())
    left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    has = {str(item.value) for item in extension.value}
    return (
        left > datetime.timedelta(days=RENEW_DAYS)
        and set(names) <= has
        and certificate.issuer == authority.subject
        and _signed_by(certificate, authority)
    )


def _signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception:  # noqa: BLE001 - any doubt means that a new one is made
        return False
    return True


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
