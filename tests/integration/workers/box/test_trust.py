"""A box believes the master's record of trust, and renews its certificate by itself."""

from __future__ import annotations

import datetime
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from common.files import read_secret
from common.names import TRUST, certificate_key
from common.reports import CertificateAsked
from common.signing import Signer
from common.tickets import BadTicket, FilesetTicket, LayerTicket, TicketChecker, issue
from common.trust import Trust, sign_certificate, sign_trust
from master.boxes.authority import Authority
from master.paths import MasterPaths
from master.trust.authorities import Authorities, rotate
from tests.support.box import TestBox, make_box
from tests.support.redis import RedisServer
from workers.box import trust as box_trust
from workers.box.certificates import certificate_request, is_due
from workers.box.config import BoxConfig
from workers.box.shut_out import ShutOut
from workers.box.trust import TrustKeeper

BOX = "b1"


@pytest.fixture
def master(tmp_path: Path) -> MasterPaths:
    return MasterPaths(tmp_path / "master")


@pytest.fixture
def box(tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> TestBox:
    for pause in ("LOOK_EVERY_S", "ASK_EVERY_S"):
        monkeypatch.setattr(box_trust, pause, 0.0)
    return make_box(BoxConfig(box=BOX, state_dir=tmp_path / "box"), redis_server)


def tell(box: TestBox, trust: Trust, signer: Signer | None = None) -> None:
    box.redis.set(TRUST, sign_trust(signer or box.signer, trust))


def sign(authority: Authority, asked: CertificateAsked) -> str:
    return authority.sign_box(asked.certificate_request, BOX, "127.0.0.1", "apps.test", ["compute"])


def asked(box: TestBox) -> list[CertificateAsked]:
    return [report for report in box.reports.all if isinstance(report, CertificateAsked)]


def test_a_box_asks_a_new_authority_for_a_certificate_and_takes_it(box: TestBox, master: MasterPaths) -> None:
    paths = box.context.paths
    keeper = TrustKeeper(box.context)
    tell(box, Authorities.load(master).trust([], time.time()))
    keeper.tidy()
    first = asked(box)[-1]
    old = sign(Authorities.load(master).in_office, first)
    box.redis.set(certificate_key(BOX), sign_certificate(box.signer, BOX, old))
    keeper.tidy()
    assert paths.certificate.read_text() == old
    count = len(asked(box))
    keeper.tidy()
    assert len(asked(box)) == count, "it has what it needs"

    both = rotate(master)
    assert both.successor is not None
    tell(box, both.trust([], time.time()).model_copy(update={"renew_from": time.time() - 1}))
    keeper.tidy()
    assert paths.authority.read_text() == both.trusted_pem
    new = sign(both.successor, asked(box)[-1])
    box.redis.set(certificate_key(BOX), sign_certificate(box.signer, BOX, new))
    keeper.tidy()
    certificate = x509.load_pem_x509_certificate(paths.certificate.read_bytes())
    key = load_pem_private_key(read_secret(paths.private_key).encode(), None)
    assert certificate.public_key() == key.public_key()
    assert both.successor.has_signed(paths.certificate.read_text())


def test_nobody_but_the_master_changes_what_a_box_trusts(box: TestBox, master: MasterPaths) -> None:
    before = box.context.paths.authority.read_text()
    keeper = TrustKeeper(box.context)
    tell(box, Authorities.load(master).trust([], time.time()), Signer(bytes(32)))
    keeper.tidy()
    assert box.context.paths.authority.read_text() == before


def test_an_older_record_is_not_believed_again(box: TestBox, master: MasterPaths) -> None:
    keeper = TrustKeeper(box.context)
    trust = Authorities.load(master).trust(["cellar"], 2000.0)
    tell(box, trust)
    keeper.tidy()
    tell(box, trust.model_copy(update={"at": 1000.0, "shut_out": frozenset()}))
    TrustKeeper(box.context).tidy()
    assert "cellar" in ShutOut(box.context.paths)


def test_a_certificate_for_another_box_or_another_key_is_not_taken(box: TestBox, master: MasterPaths) -> None:
    keeper = TrustKeeper(box.context)
    before = box.context.paths.certificate.read_text()
    keeper.tidy()
    tell(box, Authorities.load(master).trust([], time.time()))
    keeper.tidy()
    mine = sign(Authorities.load(master).in_office, asked(box)[-1])
    box.redis.set(certificate_key(BOX), sign_certificate(box.signer, "b2", mine))
    keeper.tidy()
    assert box.context.paths.certificate.read_text() == before
    stranger = make_certificate_of_another_key(master)
    box.redis.set(certificate_key(BOX), sign_certificate(box.signer, BOX, stranger))
    keeper.tidy()
    assert box.context.paths.certificate.read_text() == before


def make_certificate_of_another_key(master: MasterPaths) -> str:
    request = certificate_request(BOX, ec.generate_private_key(ec.SECP256R1()))
    return Authorities.load(master).in_office.sign_box(request, BOX, "127.0.0.1", "apps.test")


def test_a_certificate_is_renewed_after_two_thirds_of_its_life(box: TestBox) -> None:
    certificate = x509.load_pem_x509_certificate(box.context.paths.certificate.read_bytes())
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    third = (ends - begins) / 3
    assert not is_due(certificate, None, (begins + 2 * third - datetime.timedelta(minutes=1)).timestamp())
    assert is_due(certificate, None, (begins + 2 * third + datetime.timedelta(minutes=1)).timestamp())


def test_tickets_of_a_box_that_was_shut_out_open_nothing_any_more(box: TestBox, master: MasterPaths) -> None:
    shut_out = ShutOut(box.context.paths)
    checker = TicketChecker(box.context.verifier, shut_out)
    layers = LayerTicket(expires_at=time.time() + 60, box="cellar", blobs=frozenset())
    copy = FilesetTicket(
        expires_at=time.time() + 60, user="box.cellar", box=BOX, fileset="f1", version=1, action="get",
        size_limit_bytes=1,
    )  # fmt: skip
    tokens = [(issue(box.signer, layers), LayerTicket), (issue(box.signer, copy), FilesetTicket)]
    for token, kind in tokens:
        checker.check(token, kind)
    tell(box, Authorities.load(master).trust(["cellar"], time.time()))
    TrustKeeper(box.context).tidy()
    for token, kind in tokens:
        with pytest.raises(BadTicket, match="shut out"):
            checker.check(token, kind)
