"""Filesets on the master: who sees them, where they are put, and which version counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.reports import FilesetHeld
from common.signing import Verifier
from common.status import DiskUse
from common.tickets import FilesetTicket, TicketChecker
from common.words import InstanceState, Role
from master.context import MasterContext
from master.deployments.models import Deployment, Instance, Mount
from master.filesets import services
from master.filesets.models import Fileset, FilesetCopy, FilesetKind
from master.images.models import Image
from tests.support.master import GIB, FakeBox, add_fileset, add_user, make_master
from tests.support.portal import Person, Portal
from tests.support.redis import RedisServer


@pytest.fixture
def master(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    return make_master(tmp_path, redis_server.url, max_upload_bytes=GIB)


@pytest.fixture
def portal(master: MasterContext) -> Portal:
    return Portal(master)


def put(person: Person, name: str, **values: object) -> dict[str, object]:
    answer = person.call("POST", "/api/v1/filesets", json={"name": name, "size_bytes": 1000, **values})
    assert answer.status_code == 201, answer.text
    body: dict[str, object] = answer.json
    return body


def problem(person: Person, name: str, **values: object) -> tuple[int, str | None]:
    answer = person.call("POST", "/api/v1/filesets", json={"name": name, "size_bytes": 1000, **values})
    return answer.status_code, answer.json["field"]


def arrive(master: MasterContext, box: str, fileset: str, version: int, size: int = 1000) -> None:
    """The box reports that it holds this version."""
    with master.database.write() as session:
        services.record_fileset_held(
            session,
            box,
            FilesetHeld(
                subject=f"fileset.{fileset}",
                generation=1,
                fileset=fileset,
                fileset_version=version,
                size_bytes=size,
                files=3,
            ),
        )


def boxes_of(answer: dict[str, object]) -> list[str]:
    return [transfer["box"] for transfer in answer["transfers"]]  # type: ignore[attr-defined]


def show(person: Person, name: str) -> dict[str, object]:
    body: dict[str, object] = person.call("GET", f"/api/v1/filesets/{name}").json
    return body


def test_a_put_counts_once_the_box_has_it(portal: Portal) -> None:
    FakeBox(portal.context, "attic")
    ada = portal.person("ada")
    begun = put(ada, "maps")
    assert (begun["version"], boxes_of(begun)) == (1, ["attic"])
    assert (show(ada, "maps")["version"], show(ada, "maps")["boxes"]) == (0, [])
    assert ada.call("POST", "/api/v1/filesets/maps/get").status_code == 503
    arrive(portal.context, "attic", str(begun["fileset"]), 1, size=1234)
    shown = show(ada, "maps")
    assert (shown["version"], shown["boxes"], shown["size_bytes"]) == (1, ["attic"], 1234)


def test_the_ticket_of_a_put_is_for_this_box_this_version_and_no_more_than_the_limit(portal: Portal) -> None:
    FakeBox(portal.context, "attic")
    begun = put(portal.person("ada"), "maps")
    token = begun["transfers"][0]["ticket"]  # type: ignore[index]
    ticket = TicketChecker(Verifier(portal.context.signer.public_key)).check(token, FilesetTicket)
    assert (ticket.box, ticket.fileset, ticket.version, ticket.action) == (
        "attic", begun["fileset"], 1, "put",
    )  # fmt: skip
    assert (ticket.user, ticket.size_limit_bytes) == ("ada", GIB)


def test_two_puts_at_once_never_share_a_version_and_the_later_wins(portal: Portal) -> None:
    FakeBox(portal.context, "attic")
    ada = portal.person("ada")
    first, second = put(ada, "maps"), put(ada, "maps")
    assert (first["version"], second["version"]) == (1, 2)
    arrive(portal.context, "attic", str(first["fileset"]), 2)
    arrive(portal.context, "attic", str(first["fileset"]), 1)
    assert (show(ada, "maps")["version"], show(ada, "maps")["boxes"]) == (2, ["attic"])


def test_a_report_of_what_nobody_put_there_changes_nothing(portal: Portal) -> None:
    FakeBox(portal.context, "attic")
    FakeBox(portal.context, "liar")
    ada = portal.person("ada")
    begun = put(ada, "maps", boxes=["attic"])
    arrive(portal.context, "liar", str(begun["fileset"]), 1)
    arrive(portal.context, "attic", str(begun["fileset"]), 99)
    arrive(portal.context, "attic", "f-unknown", 1)
    assert (show(ada, "maps")["version"], show(ada, "maps")["boxes"]) == (0, [])


def test_a_new_version_goes_where_the_old_one_is_and_an_old_copy_does_not_count(portal: Portal) -> None:
    for name, lent in (("attic", 100), ("barn", 50), ("cellar", 10)):
        FakeBox(portal.context, name, disk=DiskUse(lent_bytes=lent * GIB))
    ada = portal.person("ada")
    begun = put(ada, "maps", boxes=["cellar", "barn"])
    for box in ("cellar", "barn"):
        arrive(portal.context, box, str(begun["fileset"]), 1)
    assert show(ada, "maps")["boxes"] == ["barn", "cellar"]
    again = put(ada, "maps")
    assert boxes_of(again) == ["barn", "cellar"]
    arrive(portal.context, "cellar", str(begun["fileset"]), 2)
    assert show(ada, "maps")["boxes"] == ["cellar"]


def test_a_put_goes_to_a_fixed_filestore_that_is_up_with_most_room(portal: Portal) -> None:
    context = portal.context
    ada = portal.person("ada")
    assert problem(ada, "maps") == (503, None)
    FakeBox(context, "no-filestore", roles=frozenset({Role.COMPUTE}))
    FakeBox(context, "unstable", fixed=False)
    FakeBox(context, "full", disk=DiskUse(lent_bytes=GIB, blobs_bytes=GIB))
    FakeBox(context, "silent").go_silent()
    assert problem(ada, "maps") == (503, None)
    FakeBox(context, "small", disk=DiskUse(lent_bytes=GIB))
    FakeBox(context, "large", disk=DiskUse(lent_bytes=9 * GIB))
    FakeBox(context, "cordoned", disk=DiskUse(lent_bytes=90 * GIB))
    portal.person("olga", "operator").call("POST", "/api/v1/boxes/cordoned/cordon", json={"cordoned": True})
    assert boxes_of(put(ada, "maps")) == ["large"]
    assert boxes_of(put(ada, "named", boxes=["unstable"])) == ["unstable"], "by name it is one's own choice"
    for box in ("no-filestore", "full", "silent", "nowhere"):
        assert problem(ada, "other", boxes=[box]) == (503, "boxes")


@pytest.mark.parametrize("name", ["../maps", "a/b", "A", "", ".hidden", "x" * 65])
def test_a_name_that_is_no_name_is_refused(portal: Portal, name: str) -> None:
    assert problem(portal.person("ada"), name) == (422, "name")


def test_what_may_not_be_put_is_refused_with_the_field(portal: Portal) -> None:
    FakeBox(portal.context, "attic")
    ada = portal.person("ada")
    assert problem(ada, "home") == (422, "name")
    assert problem(ada, "maps", size_bytes=GIB + 1) == (422, "size_bytes")
    assert problem(ada, "maps", public=True) == (403, "public")
    put(ada, "maps")
    olga = portal.person("olga", "operator")
    put(olga, "plans")
    assert problem(olga, "plans", public=True) == (409, "public")


def test_an_own_fileset_wins_over_a_public_one_and_nobody_sees_anothers(portal: Portal) -> None:
    attic = FakeBox(portal.context, "attic")
    ada, otto = portal.person("ada"), portal.person("otto")
    public = add_fileset(portal.context, "maps", attic)
    own = put(ada, "maps")
    put(ada, "diary")
    assert show(ada, "maps")["id"] == own["fileset"]
    assert show(otto, "maps")["id"] == public.id
    assert otto.call("GET", "/api/v1/filesets/diary").status_code == 404
    assert otto.call("POST", "/api/v1/filesets/diary/get").status_code == 404
    names = [item["name"] for item in otto.call("GET", "/api/v1/filesets").json["filesets"]]
    assert names == ["maps"]


def test_a_public_fileset_is_one_whichever_operator_puts_it(portal: Portal) -> None:
    FakeBox(portal.context, "attic")
    first = put(portal.person("olga", "operator"), "maps", public=True)
    second = put(portal.person("otto", "administrator"), "maps", public=True)
    assert (first["fileset"], second["version"]) == (second["fileset"], 2)


def test_a_get_is_ticketed_for_a_box_that_has_the_newest_version(portal: Portal) -> None:
    attic, barn = FakeBox(portal.context, "attic"), FakeBox(portal.context, "barn")
    ada = portal.person("ada")
    begun = put(ada, "maps", boxes=["attic", "barn"])
    for box in ("attic", "barn"):
        arrive(portal.context, box, str(begun["fileset"]), 1)
    attic.go_silent()
    answer = ada.call("POST", "/api/v1/filesets/maps/get").json
    assert (answer["version"], answer["transfer"]["box"]) == (1, "barn")
    checker = TicketChecker(Verifier(portal.context.signer.public_key))
    assert checker.check(answer["transfer"]["ticket"], FilesetTicket).action == "get"
    barn.go_silent()
    assert ada.call("POST", "/api/v1/filesets/maps/get").status_code == 503


def test_a_removed_fileset_frees_its_name_at_once_and_its_row_when_the_last_copy_is_gone(
    portal: Portal,
) -> None:
    FakeBox(portal.context, "attic")
    ada, otto = portal.person("ada"), portal.person("otto", "operator")
    begun = put(ada, "maps")
    arrive(portal.context, "attic", str(begun["fileset"]), 1)
    assert otto.call("DELETE", "/api/v1/filesets/maps").status_code == 404, "it is not even seen"
    assert ada.call("DELETE", "/api/v1/filesets/maps").status_code == 204
    assert ada.call("GET", "/api/v1/filesets/maps").status_code == 404
    assert put(ada, "maps")["fileset"] != begun["fileset"]
    with portal.context.database.write() as session:
        copy = session.get_one(FilesetCopy, (begun["fileset"], "attic"))
        assert copy.wanted == "removed"
        services.record_fileset_removed(session, "attic", str(begun["fileset"]))
    with portal.context.database.read() as session:
        assert session.get(Fileset, begun["fileset"]) is None


def test_a_fileset_that_nobody_finished_putting_is_removed_whole(portal: Portal) -> None:
    FakeBox(portal.context, "attic")
    ada = portal.person("ada")
    put(ada, "maps")
    assert ada.call("DELETE", "/api/v1/filesets/maps").status_code == 204


def test_a_public_fileset_is_removed_by_its_owner_or_an_administrator(portal: Portal) -> None:
    FakeBox(portal.context, "attic")
    put(portal.person("olga", "operator"), "maps", public=True)
    assert portal.person("ada").call("DELETE", "/api/v1/filesets/maps").status_code == 403
    assert portal.person("root", "administrator").call("DELETE", "/api/v1/filesets/maps").status_code == 204


def test_a_mounted_fileset_stays(portal: Portal) -> None:
    attic = FakeBox(portal.context, "attic")
    olga = portal.person("olga", "administrator")
    fileset = add_fileset(portal.context, "maps", attic)
    with portal.context.database.write() as session:
        session.add(Image(digest="sha256:1", media_type="m", architecture="a", size_bytes=1, blobs=[]))
        deployment = Deployment(
            id="d-1", user_id=olga.user.id, application_name="site", title="Site", manifest={}, options={},
            lease_end=0.0,
        )  # fmt: skip
        instance = Instance(
            id="i-1", service="main", state=InstanceState.RUNNING.value, image_digest="sha256:1"
        )
        instance.mounts.append(
            Mount(
                generation=1, target="/data", fileset_id=fileset.id, fileset_version=1, mode="ro",
                box_id="attic", compute_box_id="attic",
            )
        )  # fmt: skip
        deployment.instances.append(instance)
        session.add(deployment)
    answer = olga.call("DELETE", "/api/v1/filesets/maps")
    assert (answer.status_code, "i-1" in answer.json["message"]) == (409, True)


def test_everybody_has_one_home_and_only_the_box_that_may_write_it_reports_it(master: MasterContext) -> None:
    FakeBox(master, "attic")
    FakeBox(master, "liar")
    user = add_user(master)
    with master.database.write() as session:
        home = services.home_of(session, user, GIB)
        assert services.home_of(session, user, 5 * GIB).id == home.id
        assert (home.kind, home.version, home.size_limit_bytes) == (FilesetKind.HOME.value, 1, GIB)
        home.writer_box_id = "attic"
    for box in ("liar", "attic"):
        arrive(master, box, home.id, 1)
    with master.database.read() as session:
        assert services.holders(session.get_one(Fileset, home.id)) == ["attic"]
