"""What a stranger says in a message is bounded before anybody counts with it or writes it to a file."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from common.errors import Unauthorized
from common.reports import read_report
from common.signing import Signer, Verifier
from common.status import BoxStatus
from common.wishes import PURPOSE, OfferWish, read_wish, sign_wish
from common.words import BoxKind, Endpoint, Resources, Role


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::1", "fd00::7", "box-1.example.org", "localhost", "a_service", "198.51.100.7"]
)
def test_the_usual_hosts_are_hosts(host: str) -> None:
    assert Endpoint(host=host, port=22).host == host


@pytest.mark.parametrize(
    "host",
    [
        "",
        "-oProxyCommand=touch",
        "10.0.0.1\n    ProxyCommand touch /tmp/x",
        "10.0.0.1\n",
        "a b",
        "a;b",
        "fe80::1%eth0",
        "x" * 300,
    ],
)
def test_a_host_cannot_add_a_line_to_another_programs_file(host: str) -> None:
    with pytest.raises(ValidationError):
        Endpoint(host=host, port=22)


def status(**changes: object) -> str:
    """A box's status record, with changes at the top."""
    record = BoxStatus(
        box="box-1", epoch="b", sequence=0, redis_epoch="e", at=0.0, roles=frozenset(Role), kind=BoxKind.SERVER,
        open=True, fixed=True, architecture="amd64", capacity=Resources(), used=Resources(),
        disk={"lent_bytes": 1},  # type: ignore[arg-type]
    )  # fmt: skip
    return json.dumps({**json.loads(record.model_dump_json()), **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"at": float("nan")},
        {"load": float("inf")},
        {"capacity": {"cpu": float("inf")}},
        {"capacity": {"memory_bytes": 10**400}},
        {"capacity": {"gpu": -1}},
        {"disk": {"lent_bytes": 10**400}},
        {"coordinate": {"x_ms": float("nan")}},
        {"architecture": "x" * 1000},
    ],
)
def test_a_status_has_numbers_that_can_be_counted_with(changes: dict[str, object]) -> None:
    BoxStatus.read(status())
    with pytest.raises(ValidationError):
        BoxStatus.read(status(**changes))


@pytest.mark.parametrize(
    "changes", [{"at": float("nan")}, {"generation": 10**30}, {"exit_code": 10**30}, {"generation": -1}]
)
def test_a_report_has_numbers_that_fit_into_a_row(changes: dict[str, object]) -> None:
    good = {"kind": "stopped", "subject": "i-1", "generation": 1, "at": 1.0}
    read_report(json.dumps(good))
    with pytest.raises(ValidationError):
        read_report(json.dumps({**good, **changes}))


NEWER = {"of_a_newer_version": {"any": ["thing"]}}


def test_what_a_newer_box_says_besides_in_its_status_is_left_aside() -> None:
    plain = json.loads(
        status(filestore={"host": "box-1", "port": 22}, filesets=[{"fileset": "f", "version": 1}])
    )
    newer = {**plain, **NEWER}
    for nested in ("capacity", "used", "disk", "coordinate", "filestore"):
        newer[nested] = {**plain[nested], **NEWER}
    newer["filesets"] = [{**plain["filesets"][0], **NEWER}]
    assert BoxStatus.read(json.dumps(newer)) == BoxStatus.read(json.dumps(plain))


@pytest.mark.parametrize(
    "report",
    [
        {"kind": "stopped", "subject": "i-1", "generation": 1, "at": 1.0},
        {"kind": "exported", "subject": "i-1.f", "generation": 1, "at": 1.0, "fileset": "f", "host_key": "k",
         "public_keys": [], "endpoint": {"host": "box-1", "port": 22, **NEWER}},
    ],
)  # fmt: skip
def test_what_a_newer_box_says_besides_in_a_report_is_left_aside(report: dict[str, object]) -> None:
    assert read_report(json.dumps({**report, **NEWER})).subject == report["subject"]


def test_a_wish_with_what_this_version_does_not_know_is_refused() -> None:
    wish = OfferWish(subject="i-1", generation=1, version=1, wanted="offered", blobs=[])
    signer = Signer(bytes(32))
    verifier = Verifier(signer.public_key)
    assert read_wish(verifier, "b", sign_wish(signer, "b", wish)) == wish
    newer = json.dumps({**wish.model_dump(mode="json"), **NEWER}).encode()
    with pytest.raises(Unauthorized, match="unknown form"):
        read_wish(verifier, "b", signer.sign(f"{PURPOSE}:b", newer))


def test_an_ipv6_address_stands_in_brackets_in_a_url() -> None:
    assert Endpoint(host="2001:db8::7", port=8090, tls=True).url == "https://[2001:db8::7]:8090"
    assert Endpoint(host="127.0.0.1", port=8090).url == "http://127.0.0.1:8090"
