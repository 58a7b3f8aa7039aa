"""Mirrors on the master: who may ask, where secrets are, and what a box's word is worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.images import DescribedImage
from common.reports import Failed, Mirrored, MirrorProgress, Report
from common.wishes import HoldWish, MirrorWish
from common.words import Role
from master.context import MasterContext
from master.images.services import list_tags
from master.lifecycle.reconcile import Reconciler
from master.lifecycle.reports import Reports
from master.mirrors.models import Mirror
from tests.support.certificates import CertificateAuthority
from tests.support.master import FakeBox, make_master
from tests.support.platforms import new_index, platform_image
from tests.support.portal import Person, Portal
from tests.support.redis import RedisServer

SECRET = "a-password-of-elsewhere"
AMD, ARM = platform_image("amd64", b"one"), platform_image("arm64", b"two")


@pytest.fixture
def master(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    return make_master(tmp_path, redis_server.url, lost_after_s=0.0)


@pytest.fixture
def olga(master: MasterContext) -> Person:
    return Portal(master).person("olga", "operator")


def ask(person: Person, **body: object) -> dict[str, Any]:
    answer = person.call("POST", "/api/v1/mirrors", json={"source": "nginx:1.27", **body})
    assert answer.status_code == 202, answer.text
    return dict(answer.json)


def look(person: Person, mirror: dict[str, Any]) -> dict[str, Any]:
    return dict(person.call("GET", f"/api/v1/mirrors/{mirror['id']}").json)


def tell(master: MasterContext, box: str, report: Report) -> bool:
    return Reports(master).take(box, report.model_dump_json())


def wish_of(box: FakeBox, mirror: dict[str, Any]) -> MirrorWish:
    wish = box.wishes()[f"depository/mirror.{mirror['id']}"]
    assert isinstance(wish, MirrorWish)
    return wish


def described(*, tag: str = "x:1") -> DescribedImage:
    return DescribedImage.model_validate(new_index(tag, AMD, ARM).model_dump(exclude={"repository", "tag"}))


def about(mirror: dict[str, Any]) -> dict[str, Any]:
    return {"subject": f"mirror.{mirror['id']}", "generation": 0}


def test_the_password_is_sealed_for_the_box_and_stands_nowhere_else(
    master: MasterContext, olga: Person, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    box = FakeBox(master, "attic")
    mirror = ask(olga, username="ada", password=SECRET)
    assert "password" not in json.dumps(mirror)
    sealed = wish_of(box, mirror).sealed
    assert sealed is not None
    assert json.loads(box.seal_key.unseal(sealed)) == ["ada", SECRET]
    database = b"".join(path.read_bytes() for path in master.paths.root.rglob("*") if path.is_file())
    redis_values = json.dumps([str(master.redis.hgetall(key)) for key in master.redis.keys("wish:*")])
    printed = capsys.readouterr()
    for text in (database.decode(errors="replace"), redis_values, caplog.text, printed.out, printed.err):
        assert SECRET not in text
    tell(master, "attic", Failed(**about(mirror), reason="no-source", message="docker.io has none."))
    with master.database.read() as session:
        assert session.get_one(Mirror, mirror["id"]).sealed is None


def test_only_operators_may_ask_and_bad_names_are_refused(master: MasterContext, olga: Person) -> None:
    FakeBox(master, "attic")
    ada = Portal(master).person("ada")
    assert ada.call("POST", "/api/v1/mirrors", json={"source": "nginx"}).status_code == 403
    for body in ({"source": "http://x"}, {"source": "nginx", "name": "Bad Name"}, {"source": "x@sha256:1"}):
        assert olga.call("POST", "/api/v1/mirrors", json=body).status_code == 422, body


def test_names_and_architectures_are_chosen_if_nobody_says(master: MasterContext, olga: Person) -> None:
    answer = olga.call("POST", "/api/v1/mirrors", json={"source": "nginx"})
    assert (answer.status_code, "No depository is up" in answer.text) == (503, True)
    FakeBox(master, "pi", roles=frozenset({Role.COMPUTE}), architecture="arm64")
    FakeBox(master, "attic", roles=frozenset({Role.DEPOSITORY}))
    mirror = ask(olga)
    assert (mirror["source"], mirror["repository"], mirror["tag"], mirror["box"]) == (
        "docker.io/library/nginx:1.27", "nginx", "1.27", "attic",
    )  # fmt: skip
    assert mirror["architectures"] == ["arm64"]
    assert ask(olga, source="ghcr.io/team/app", name="ours:2")["repository"] == "ours"


def test_what_was_fetched_gets_its_tag_and_the_wish_goes(master: MasterContext, olga: Person) -> None:
    box = FakeBox(master, "attic")
    mirror = ask(olga)
    assert tell(master, "attic", MirrorProgress(**about(mirror), size_bytes=100, done_bytes=40))
    assert look(olga, mirror)["done_bytes"] == 40
    assert tell(master, "attic", Mirrored(**about(mirror), image=described()))
    done = look(olga, mirror)
    assert (done["state"], done["digest"]) == ("done", described().digest)
    with master.database.read() as session:
        (row,) = list_tags(session)
        assert (row.tag.repository, row.tag.tag, row.architectures) == ("nginx", "1.27", ["amd64", "arm64"])
    assert f"depository/mirror.{mirror['id']}" not in box.wishes()
    assert not tell(master, "attic", Mirrored(**about(mirror), image=described())), "it is over"


def test_only_the_box_that_was_asked_may_report_and_only_what_was_asked(
    master: MasterContext, olga: Person
) -> None:
    FakeBox(master, "attic")
    FakeBox(master, "other", disk={"lent_bytes": 1})
    pinned = ask(olga, source=f"nginx@{AMD.digest}", name="nginx:1")
    assert pinned["box"] == "attic"
    assert not tell(master, "other", Mirrored(**about(pinned), image=described()))
    assert tell(master, "attic", Mirrored(**about(pinned), image=described()))
    assert "another image" in look(olga, pinned)["error"]
    with master.database.read() as session:
        assert list_tags(session) == []


def test_a_lost_wish_is_written_again_and_a_lost_box_fails_the_mirror(
    master: MasterContext, olga: Person
) -> None:
    box = FakeBox(master, "attic")
    mirror = ask(olga)
    master.redis.delete("wish:attic")
    Reconciler(master).run()
    assert wish_of(box, mirror).source == "docker.io/library/nginx:1.27"
    box.go_silent()
    Reconciler(master).run()
    Reconciler(master).run()
    assert (look(olga, mirror)["state"], "attic" in look(olga, mirror)["error"]) == ("failed", True)


def test_a_mirror_can_be_stopped(master: MasterContext, olga: Person) -> None:
    box = FakeBox(master, "attic")
    mirror = ask(olga)
    assert olga.call("DELETE", f"/api/v1/mirrors/{mirror['id']}").status_code == 204
    assert look(olga, mirror)["error"] == "It was stopped."
    assert box.wishes() == {}
    assert [item["id"] for item in olga.call("GET", "/api/v1/mirrors").json["mirrors"]] == [mirror["id"]]


def test_a_mirror_that_is_over_can_be_forgotten_and_its_image_stays(
    master: MasterContext, olga: Person
) -> None:
    FakeBox(master, "attic")
    mirror = ask(olga)
    assert tell(master, "attic", Mirrored(**about(mirror), image=described()))
    assert olga.call("DELETE", f"/api/v1/mirrors/{mirror['id']}").status_code == 204
    assert olga.call("GET", "/api/v1/mirrors").json["mirrors"] == []
    assert olga.call("DELETE", f"/api/v1/mirrors/{mirror['id']}").status_code == 404
    with master.database.read() as session:
        assert [row.tag.repository for row in list_tags(session)] == ["nginx"]


def test_a_second_depository_fetches_a_mirrored_image_at_once(master: MasterContext, olga: Person) -> None:
    attic = FakeBox(master, "attic")
    mirror = ask(olga, box="attic")
    assert tell(master, "attic", Mirrored(**about(mirror), image=described()))
    cellar = FakeBox(master, "cellar")
    attic.hold({blob.digest for item in (described(), AMD, ARM) for blob in item.blobs})
    assert Reconciler(master).run()
    (wish,) = cellar.wishes().values()
    assert isinstance(wish, HoldWish)
    assert (wish.wanted, wish.image.manifest) == ("held", described().digest)
    assert all(blob.boxes == ["attic"] for blob in wish.image.blobs)


def test_the_authority_of_a_private_registry_goes_to_the_box_and_must_be_one(
    master: MasterContext, olga: Person
) -> None:
    box = FakeBox(master, "attic")
    authority = CertificateAuthority("private").certificate.decode()
    assert wish_of(box, ask(olga, ca=authority)).ca == authority
    answer = olga.call("POST", "/api/v1/mirrors", json={"source": "nginx", "ca": "no certificate"})
    assert (answer.status_code, answer.json["field"]) == (422, "ca")


def test_a_removed_box_fails_the_mirror_and_a_full_one_is_chosen_last(
    master: MasterContext, olga: Person
) -> None:
    FakeBox(master, "full", alert="Full.")
    FakeBox(master, "gone")
    mirror = ask(olga, username="ada", password=SECRET)
    assert look(olga, mirror)["box"] == "gone"
    assert olga.call("DELETE", "/api/v1/boxes/gone").status_code == 204
    assert (look(olga, mirror)["state"], "gone" in look(olga, mirror)["error"]) == ("failed", True)
    with master.database.read() as session:
        assert session.get_one(Mirror, mirror["id"]).sealed is None
