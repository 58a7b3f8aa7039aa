"""The master tells boxes whom to trust, and signs again what they ask for."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from common.names import TRUST, certificate_key
from common.reports import CertificateAsked
from common.signing import Verifier
from common.trust import Trust, read_certificate, read_trust
from master.boxes.models import Box
from master.context import MasterContext
from master.lifecycle.reports import Reports
from master.trust import authorities
from master.trust.authorities import Authorities
from master.trust.notary import Notary
from tests.support.master import FakeBox, make_master
from tests.support.portal import Person, Portal
from tests.support.redis import RedisServer
from workers.box.certificates import certificate_request


@pytest.fixture
def master(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    return make_master(tmp_path, redis_server.url)


@pytest.fixture
def administrator(master: MasterContext) -> Person:
    return Portal(master).person("ada", "administrator")


def told(master: MasterContext) -> Trust:
    text = master.redis.get(TRUST)
    assert text is not None
    return read_trust(Verifier(master.signer.public_key), str(text))


def ask(master: MasterContext, box: str) -> str | None:
    """The box asks for a certificate; what it gets."""
    request = certificate_request("somebody-else", ec.generate_private_key(ec.SECP256R1()))
    report = CertificateAsked(subject="certificate", generation=0, certificate_request=request)
    Reports(master).take(box, report.model_dump_json())
    text = master.redis.get(certificate_key(box))
    return None if text is None else read_certificate(Verifier(master.signer.public_key), box, str(text))


def remove(master: MasterContext, box: str) -> None:
    with master.database.write() as session:
        session.get_one(Box, box).removed_at = time.time()


def test_the_record_is_written_when_something_changed_and_only_then(master: MasterContext) -> None:
    FakeBox(master, "attic")
    notary = Notary(master)
    assert [notary.run(), notary.run()] == [True, False]
    assert told(master).authorities == Authorities.load(master.paths).in_office.pem
    remove(master, "attic")
    assert notary.run()
    assert told(master).shut_out == {"attic"}
    authorities.rotate(master.paths)
    assert notary.run()
    assert told(master).authorities.count("BEGIN CERTIFICATE") == 2
    master.redis.set(TRUST, "forged")
    assert notary.run()
    assert told(master).shut_out == {"attic"}


def test_a_box_gets_a_certificate_of_the_authority_that_signs_now(
    master: MasterContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeBox(master, "attic")
    first = ask(master, "attic")
    assert first is not None
    assert Authorities.load(master.paths).in_office.has_signed(first)
    monkeypatch.setattr(authorities, "KNOWN_AFTER_S", -5.0)
    successor = authorities.rotate(master.paths).successor
    assert successor is not None
    second = ask(master, "attic")
    assert second is not None
    assert successor.has_signed(second)


def test_a_box_that_was_removed_gets_none(master: MasterContext) -> None:
    FakeBox(master, "attic")
    remove(master, "attic")
    assert ask(master, "attic") is None


def test_the_old_authority_stays_until_every_box_has_a_certificate_of_the_new_one(
    master: MasterContext, administrator: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authorities, "KNOWN_AFTER_S", -5.0)
    for box in ("attic", "cellar"):
        FakeBox(master, box)
        ask(master, box)
    old = administrator.call("GET", "/api/v1/authority").json
    assert old["successor"] is None
    made = administrator.call("POST", "/api/v1/authority/rotate")
    assert made.status_code == 201
    ask(master, "attic")
    refused = administrator.call("POST", "/api/v1/authority/retire", json={})
    assert (refused.status_code, refused.json["field"]) == (409, "force")
    assert "cellar" in refused.json["message"]
    assert "attic" not in refused.json["message"]
    ask(master, "cellar")
    done = administrator.call("POST", "/api/v1/authority/retire", json={})
    assert done.status_code == 200
    assert done.json["in_office"]["fingerprint"] == made.json["successor"]["fingerprint"]
    assert done.json["restart_needed"]


def test_only_an_administrator_replaces_the_authority(master: MasterContext) -> None:
    operator = Portal(master).person("olga", "operator")
    for verb in ("rotate", "retire"):
        assert operator.call("POST", f"/api/v1/authority/{verb}", json={}).status_code == 403
