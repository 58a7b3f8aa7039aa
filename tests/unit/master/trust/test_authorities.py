"""One authority takes over from another, and every file is right whenever it is cut off."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from common.errors import BadInput, Conflict
from common.words import Role
from master.boxes.authority import Authority
from master.paths import MasterPaths
from master.trust.authorities import KNOWN_AFTER_S, Authorities, retire, rotate, settle
from workers.box.certificates import certificate_request


@pytest.fixture
def paths(tmp_path: Path) -> MasterPaths:
    return MasterPaths(tmp_path)


def certificates(pem: str) -> list[str]:
    """The fingerprints in a file of certificates."""
    found = x509.load_pem_x509_certificates(pem.encode())
    return [item.fingerprint(hashes.SHA256()).hex() for item in found]


def sign(authority: Authority) -> x509.Certificate:
    request = certificate_request("attic", ec.generate_private_key(ec.SECP256R1()))
    pem = authority.sign_box(request, "attic", "192.0.2.7", "apps.test", [Role.FILESTORE, Role.COMPUTE])
    assert authority.has_signed(pem)
    return x509.load_pem_x509_certificate(pem.encode())


def test_the_first_authority_is_made_once_and_alone_trusted(paths: MasterPaths) -> None:
    first = Authorities.load(paths)
    assert Authorities.load(paths).in_office.fingerprint == first.in_office.fingerprint
    assert first.successor is None
    assert certificates(paths.trusted.read_text()) == [first.in_office.fingerprint]
    assert first.trust([], 5.0).issuing == first.in_office.pem
    assert paths.authority_key.stat().st_mode & 0o777 == 0o600


def test_a_certificate_says_the_boxs_roles(paths: MasterPaths) -> None:
    names = sign(Authorities.load(paths).in_office).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    roles = names.value.get_values_for_type(x509.UniformResourceIdentifier)
    assert roles == ["urn:openraas:role:compute", "urn:openraas:role:filestore"]


def test_a_successor_signs_only_once_all_know_of_it_and_both_are_trusted(paths: MasterPaths) -> None:
    old = Authorities.load(paths).in_office
    both = rotate(paths)
    assert both.successor is not None
    assert certificates(both.trusted_pem) == [old.fingerprint, both.successor.fingerprint]
    now = time.time()
    assert both.issuing(now).fingerprint == old.fingerprint
    assert both.issuing(now + KNOWN_AFTER_S + 2).fingerprint == both.successor.fingerprint
    told = both.trust(["cellar"], now)
    assert (told.issuing, told.shut_out) == (both.successor.pem, frozenset({"cellar"}))
    assert told.renew_from >= now + KNOWN_AFTER_S - 2
    with pytest.raises(Conflict, match="being replaced already"):
        rotate(paths)


def test_the_old_one_is_trusted_until_the_master_shows_a_certificate_of_the_new_one(
    paths: MasterPaths,
) -> None:
    settle(paths, "192.0.2.1")
    old = Authorities.load(paths).in_office
    successor = rotate(paths).successor
    assert successor is not None
    after = retire(paths)
    assert after.in_office.fingerprint == successor.fingerprint
    assert certificates(after.trusted_pem) == [successor.fingerprint, old.fingerprint]
    assert old.has_signed(paths.certificate.read_text())
    settled = settle(paths, "192.0.2.1")
    assert certificates(settled.trusted_pem) == [successor.fingerprint]
    assert successor.has_signed(paths.certificate.read_text())
    with pytest.raises(Conflict, match="no successor"):
        retire(paths)


def test_a_retirement_that_was_cut_off_is_completed(paths: MasterPaths) -> None:
    Authorities.load(paths)
    successor = rotate(paths).successor
    assert successor is not None
    paths.next_authority_key.replace(paths.authority_key)  # and then the power went
    after = Authorities.load(paths)
    assert after.in_office.fingerprint == successor.fingerprint
    assert after.successor is None


def test_a_key_of_another_authority_is_refused_with_a_remedy(paths: MasterPaths, tmp_path: Path) -> None:
    Authorities.load(paths)
    other = MasterPaths(tmp_path / "other")
    Authorities.load(other)
    other.authority_key.replace(paths.authority_key)
    with pytest.raises(BadInput, match="is not the key") as caught:
        Authorities.load(paths)
    assert "backup" in str(caught.value.remedy)
