"""Joining: one-time tokens, certificates, and what a box is let into."""

from __future__ import annotations

import concurrent.futures
import hashlib
import ipaddress
import ssl
from pathlib import Path

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from common import names
from common.errors import OpenRaaSError
from common.join import JoinAnswer, JoinRequest, JoinToken
from common.signing import SealKey
from common.words import BoxKind, Role
from master.boxes import services
from master.boxes.api import TRIES
from master.context import MasterContext
from master.lifecycle.reconcile import Reconciler
from master.trust.authorities import Authorities
from tests.support.master import FakeBox, make_master
from tests.support.portal import Person, Portal
from tests.support.redis import RedisServer, free_port, redis_process, run_redis


@pytest.fixture
def master(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    return make_master(tmp_path, redis_server.url)


@pytest.fixture
def portal(master: MasterContext) -> Portal:
    return Portal(master)


@pytest.fixture
def operator(portal: Portal) -> Person:
    return portal.person("olga", "operator")


def certificate_request(names_asked: list[str] | None = None) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "anything")])
    )
    if names_asked:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in names_asked]), critical=False
        )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def request(token: str, box: str = "attic", **changes: object) -> dict[str, object]:
    values = JoinRequest(
        secret=JoinToken.parse(token).secret,
        box=box,
        kind=BoxKind.DESKTOP,
        roles=frozenset(Role),
        open=True,
        fixed=True,
        address="127.0.0.1",
        certificate_request=certificate_request(),
        seal_key=SealKey(SealKey.generate()).public_key,
    )
    return {**values.model_dump(mode="json"), **changes}


def token_of(operator: Person, **body: object) -> str:
    answer = operator.call("POST", "/api/v1/boxes/token", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json["token"])


def join(portal: Portal, body: dict[str, object]) -> JoinAnswer:
    answer = portal.client.post("/api/v1/boxes/join", json=body)
    assert answer.status_code == 200, answer.text
    return JoinAnswer.model_validate_json(answer.data)


def test_a_box_joins_and_reaches_redis_as_its_own_user(portal: Portal, operator: Person) -> None:
    answer = join(portal, request(token_of(operator)))
    client = redis.Redis.from_url(answer.redis_url, decode_responses=True)
    assert client.hgetall(names.wish_key("attic")) == {}
    with pytest.raises(redis.exceptions.NoPermissionError):
        client.smembers(names.BOXES)
    assert portal.context.redis.sismember(names.BOXES, "attic")
    listed = operator.call("GET", "/api/v1/boxes").json["boxes"]
    assert [(item["id"], item["up"], item["own"]) for item in listed] == [("attic", False, True)]
    assert answer.master_key == portal.context.signer.public_key


def test_the_certificate_is_for_the_boxs_names_whatever_was_asked_for(
    portal: Portal, operator: Person
) -> None:
    body = request(
        token_of(operator), address="192.0.2.7", certificate_request=certificate_request(["bank.example"])
    )
    answer = join(portal, body)
    certificate = x509.load_pem_x509_certificate(answer.certificate.encode())
    authority = x509.load_pem_x509_certificate(answer.authority.encode())
    certificate.verify_directly_issued_by(authority)
    names_given = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names_given.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("192.0.2.7")]
    assert names_given.get_values_for_type(x509.DNSName) == ["attic", "*.attic.localhost"]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_the_tokens_fingerprint_is_that_of_the_authority_that_the_portal_shows(
    portal: Portal, operator: Person
) -> None:
    token = JoinToken.parse(token_of(operator))
    shown = ssl.PEM_cert_to_DER_cert(portal.client.get("/ca.crt").text)
    assert hashlib.sha256(shown).hexdigest() == token.fingerprint


def test_a_token_lets_only_one_box_join_even_if_many_try_at_once(portal: Portal, operator: Person) -> None:
    token = token_of(operator)

    def attempt(number: int) -> str:
        try:
            return services.join(
                portal.context, JoinRequest.model_validate(request(token, f"box-{number}"))
            ).box
        except OpenRaaSError as error:
            return f"{error.http_status}"

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(attempt, range(8)))
    assert sorted(results)[:-1] == ["401"] * 7
    assert len(portal.context.redis.smembers(names.BOXES)) == 1


def test_unknown_used_and_expired_tokens_are_refused_alike(portal: Portal, operator: Person) -> None:
    used = token_of(operator)
    join(portal, request(used))
    with portal.context.database.write() as session:
        authority = Authorities.load(portal.context.paths).in_office
        expired = str(services.make_token(session, authority, operator.user, -1))
    unknown = f"{'0' * 64}.{'x' * 32}"
    answers = [
        portal.client.post("/api/v1/boxes/join", json=request(token, "cellar"))
        for token in (used, expired, unknown)
    ]
    assert [answer.status_code for answer in answers] == [401] * 3
    assert len({answer.text for answer in answers}) == 1
    assert answers[0].json["field"] == "secret"
    assert "openraas box token" in answers[0].json["remedy"]


def test_a_refused_join_does_not_use_the_token_up(portal: Portal, operator: Person) -> None:
    token = token_of(operator)
    for field, value in (
        ("certificate_request", "no request"),
        ("address", "not an address!"),
        ("box", "Not A Label"),
        ("roles", []),
    ):
        answer = portal.client.post("/api/v1/boxes/join", json={**request(token), field: value})
        assert answer.status_code == 422, answer.text
        assert answer.json["field"] == field
    join(portal, request(token))


def test_only_its_owner_joins_a_box_again(portal: Portal, operator: Person) -> None:
    first = join(portal, request(token_of(operator)))
    other = portal.person("otto", "operator")
    answer = portal.client.post("/api/v1/boxes/join", json=request(token_of(other)))
    assert (answer.status_code, answer.json["field"]) == (409, "box")
    second = join(portal, request(token_of(operator)))
    assert redis.Redis.from_url(second.redis_url).ping()
    with pytest.raises(redis.exceptions.AuthenticationError):
        redis.Redis.from_url(first.redis_url).ping()


def test_a_box_belongs_to_the_person_whom_its_owner_names(portal: Portal, operator: Person) -> None:
    ada = portal.person("ada", "user")
    join(portal, request(token_of(operator), owner="ada"))
    assert [item["own"] for item in ada.call("GET", "/api/v1/boxes").json["boxes"]] == [True]
    assert [item["own"] for item in operator.call("GET", "/api/v1/boxes").json["boxes"]] == [False]


def test_an_owner_whom_nobody_knows_is_named_and_the_token_stays_good(
    portal: Portal, operator: Person
) -> None:
    token = token_of(operator)
    refused = portal.client.post("/api/v1/boxes/join", json=request(token, owner="nobody"))
    assert (refused.status_code, refused.json["field"]) == (422, "owner")
    join(portal, request(token))


def test_a_token_is_made_by_operators_only(portal: Portal) -> None:
    assert portal.client.post("/api/v1/boxes/token", json={}).status_code == 401
    assert portal.person("ada").call("POST", "/api/v1/boxes/token", json={}).status_code == 403


def test_a_persons_own_token_admits_their_own_machine_and_no_filestore(portal: Portal) -> None:
    ada, eve = portal.person("ada"), portal.person("eve")
    token = str(ada.call("POST", "/api/v1/boxes/own-token", json={}).json["token"])
    lending = ["compute", "depository"]
    for changes, field in (({}, "roles"), ({"roles": lending, "owner": "eve"}, "owner")):
        answer = portal.client.post("/api/v1/boxes/join", json=request(token, **changes))
        assert (answer.status_code, answer.json["field"]) == (403, field)
    assert portal.client.post("/api/v1/boxes/join", json=request(token, roles=lending)).status_code == 200
    assert ada.call("GET", "/api/v1/boxes/attic").json["own"] is True
    assert eve.call("GET", "/api/v1/boxes/attic").json["own"] is False


def test_the_token_of_somebody_who_was_shut_out_meanwhile_admits_nothing(portal: Portal) -> None:
    ada, boss = portal.person("ada"), portal.person("boss", "administrator")
    token = str(ada.call("POST", "/api/v1/boxes/own-token", json={}).json["token"])
    assert boss.call("PATCH", "/api/v1/users/ada", json={"state": "disabled"}).status_code == 200
    answer = portal.client.post("/api/v1/boxes/join", json=request(token, roles=["compute"]))
    assert (answer.status_code, answer.json["field"]) == (403, "secret")


def test_a_joins_answer_and_the_database_keep_no_secret_in_the_clear(
    portal: Portal, operator: Person
) -> None:
    token = token_of(operator)
    answer = join(portal, request(token))
    password = answer.redis_url.split(":")[2].split("@")[0]
    raw = b"".join(path.read_bytes() for path in portal.context.paths.root.glob("openraas.db*"))
    assert password.encode() not in raw
    assert JoinToken.parse(token).secret.encode() not in raw


def test_who_tries_to_join_too_often_has_to_wait(portal: Portal) -> None:
    unknown = request(f"{'0' * 64}.{'x' * 32}")
    codes = [portal.client.post("/api/v1/boxes/join", json=unknown).status_code for _ in range(TRIES + 1)]
    assert codes == [401] * TRIES + [429]


def test_boxes_get_their_redis_users_back_after_redis_lost_everything(
    tmp_path: Path,
) -> None:
    with run_redis(tmp_path / "redis") as server:
        portal = Portal(make_master(tmp_path / "master", server.url))
        operator = portal.person("olga", "operator")
        answer = join(portal, request(token_of(operator)))
        portal.context.redis.acl_deluser("box-attic")
        portal.context.redis.flushall()
        assert Reconciler(portal.context).run()
        assert redis.Redis.from_url(answer.redis_url).ping()
        assert portal.context.redis.sismember(names.BOXES, "attic")


def test_redis_users_outlive_redis_where_it_has_a_users_file(tmp_path: Path) -> None:
    users = tmp_path / "users.acl"
    port, password = free_port(), "a-password"
    users.write_text(f"user default on >{password} ~* &* +@all\n")
    with redis_process(tmp_path, port, password, "--aclfile", str(users)):
        portal = Portal(make_master(tmp_path / "master", f"redis://:{password}@127.0.0.1:{port}/0"))
        join(portal, request(token_of(portal.person("olga", "operator"))))
        assert "user box-attic on" in users.read_text()


def test_a_removed_box_is_shut_out_and_its_name_is_free(portal: Portal, operator: Person) -> None:
    answer = join(portal, request(token_of(operator)))
    assert portal.person("ada").call("DELETE", "/api/v1/boxes/attic").status_code == 403
    assert operator.call("DELETE", "/api/v1/boxes/attic").status_code == 204
    with pytest.raises(redis.exceptions.AuthenticationError):
        redis.Redis.from_url(answer.redis_url).ping()
    assert operator.call("GET", "/api/v1/boxes/attic").status_code == 404
    assert portal.context.redis.smembers(names.BOXES) == set()
    join(portal, request(token_of(portal.person("otto", "operator"))))


def test_a_box_with_the_only_copy_of_a_fileset_is_removed_by_force_only(
    portal: Portal, operator: Person
) -> None:
    from tests.support.master import add_fileset

    add_fileset(portal.context, "maps", FakeBox(portal.context, "attic"))
    answer = operator.call("DELETE", "/api/v1/boxes/attic")
    assert answer.status_code == 409
    assert "maps" in answer.json["message"]
    assert operator.call("DELETE", "/api/v1/boxes/attic?force=true").status_code == 204


def test_a_box_that_pretends_to_be_another_is_not_believed(master: MasterContext) -> None:
    attic, cellar = FakeBox(master, "attic"), FakeBox(master, "cellar")
    master.redis.set(names.status_key("cellar"), attic.status.model_dump_json())
    assert set(services.statuses(master.redis)) == {"attic"}
    master.redis.set(names.status_key("cellar"), "no status")
    assert set(services.statuses(master.redis)) == {"attic"}
    cellar.beat()
    assert set(services.statuses(master.redis)) == {"attic", "cellar"}


def test_a_cordoned_box_is_shown_so(portal: Portal, operator: Person) -> None:
    FakeBox(portal.context, "attic")
    answer = operator.call("POST", "/api/v1/boxes/attic/cordon", json={"cordoned": True})
    assert (answer.status_code, answer.json["cordoned"], answer.json["up"]) == (200, True, True)


def test_without_redis_nobody_joins_and_the_token_stays_good(tmp_path: Path) -> None:
    with run_redis(tmp_path / "redis") as server:
        portal = Portal(make_master(tmp_path / "master", server.url, redis_timeout_s=0.5))
        token = token_of(portal.person("olga", "operator"))
    answer = portal.client.post("/api/v1/boxes/join", json=request(token))
    assert answer.status_code == 503
    with portal.context.database.read() as session:
        from master.boxes.models import JoinSecret

        assert [row.used_by_box for row in session.query(JoinSecret)] == [None]
