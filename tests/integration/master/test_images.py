"""Images on the master: tags, who holds what, whose chunk lists are believed, tokens for registry clients."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest

from common import names
from common.errors import BadInput, Conflict, NotFound
from common.images import BlobRef
from common.oci.manifests import OCI_INDEX, OCI_MANIFEST
from common.reports import BlobHeld, Held
from common.signing import Verifier
from common.tickets import RepositoryTicket, TicketChecker
from common.wishes import ChunkList
from common.words import Endpoint, InstanceState
from master.context import MasterContext
from master.deployments.models import Deployment, Instance
from master.images import services
from master.images.models import BlobChunks, Image, ImageHolding, Tag
from tests.support.master import FakeBox, add_user, make_master
from tests.support.portal import Person, Portal
from tests.support.redis import RedisServer


@pytest.fixture
def master(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    return make_master(tmp_path, redis_server.url)


@pytest.fixture
def portal(master: MasterContext) -> Portal:
    return Portal(master)


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def manifest_of(*layers: bytes, media_type: str = OCI_MANIFEST) -> str:
    def descriptor(data: bytes, kind: str) -> dict[str, object]:
        return {"mediaType": f"application/{kind}", "digest": digest(data), "size": len(data)}

    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": descriptor(b"config", "config"),
            "layers": [descriptor(layer, "layer") for layer in layers],
        }
    )


def new_tag(name: str, *layers: bytes) -> services.NewTag:
    text = manifest_of(*layers)
    own = digest(text.encode())
    parts = [(own, len(text)), (digest(b"config"), 6), *((digest(layer), len(layer)) for layer in layers)]
    kinds = [OCI_MANIFEST, "application/config", *["application/layer"] * len(layers)]
    repository, tag = services.split_reference(name)
    return services.NewTag(
        repository=repository,
        tag=tag,
        digest=own,
        media_type=OCI_MANIFEST,
        manifest=text,
        blobs=[
            BlobRef(digest=item, size_bytes=size, media_type=kind)
            for (item, size), kind in zip(parts, kinds, strict=True)
        ],
        architecture="amd64",
    )


def push(master: MasterContext, box: str, name: str, *layers: bytes) -> Image:
    with master.database.write() as session:
        return services.set_tag(session, new_tag(name, *layers), box=box, owner=None)


def held(image: Image, *, chunks: str = "a", only: int | None = None) -> Held:
    blobs = [
        BlobHeld(
            digest=blob.digest,
            size_bytes=blob.size_bytes,
            chunk_list=ChunkList(
                blob=blob.digest,
                size_bytes=blob.size_bytes,
                chunk_bytes=2**21,
                chunks=[hashlib.sha256(chunks.encode()).hexdigest()],
            ),
        )
        for blob in services.blobs_of(image)
    ]
    return Held(subject="image.1", generation=1, blobs=blobs[:only])


def report(master: MasterContext, box: str, facts: Held) -> None:
    with master.database.write() as session:
        services.record_held(session, master.redis, box, facts)


def chunk_row(master: MasterContext, image: Image) -> BlobChunks | None:
    with master.database.read() as session:
        return session.get(BlobChunks, image.digest)


def test_a_tag_names_the_image_that_was_pushed_last(master: MasterContext) -> None:
    FakeBox(master, "attic")
    first = push(master, "attic", "demo/site:1", b"one")
    second = push(master, "attic", "demo/site:1", b"two")
    with master.database.read() as session:
        assert services.resolve(session, "demo/site:1").digest == second.digest
        assert session.get_one(ImageHolding, (first.digest, "attic")).wanted == "removed"
        assert session.get_one(ImageHolding, (second.digest, "attic")).wanted == "held"
        assert [blob.size_bytes for blob in services.blobs_of(second)][1:] == [6, 3]
        with pytest.raises(NotFound, match=r"demo/other:latest"):
            services.resolve(session, "demo/other")


def test_what_does_not_fit_together_is_not_taken(master: MasterContext) -> None:
    FakeBox(master, "attic")
    good = new_tag("site:1", b"one")
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []})
    bad = {
        "digest": {**vars(good), "digest": digest(b"other")},
        "blobs": {**vars(good), "blobs": good.blobs[:-1]},
        "variants": {
            **vars(good),
            "manifest": index,
            "digest": digest(index.encode()),
            "media_type": OCI_INDEX,
            "blobs": [BlobRef(digest=digest(index.encode()), size_bytes=len(index), media_type=OCI_INDEX)],
        },
    }
    for field, values in bad.items():
        with pytest.raises(BadInput) as error, master.database.write() as session:
            services.set_tag(session, services.NewTag(**values), box="attic", owner=None)
        assert error.value.field == field
    with master.database.read() as session:
        assert session.query(Tag).count() == session.query(Image).count() == 0


def test_a_chunk_list_counts_once_a_second_box_has_the_same(master: MasterContext) -> None:
    image = push(master, FakeBox(master, "attic").name, "site:1", b"one")
    FakeBox(master, "cellar")
    report(master, "attic", held(image))
    report(master, "attic", held(image))
    row = chunk_row(master, image)
    assert row is not None
    assert (row.made_by, row.confirmed_by) == ("attic", None)
    with master.database.read() as session:
        source = services.build_source(session, image, {"attic": Endpoint(host="h", port=1)}, "ticket")
    assert {blob.chunk_list for blob in source.blobs} == {None}
    report(master, "cellar", held(image))
    with master.database.read() as session:
        source = services.build_source(session, image, {"attic": Endpoint(host="h", port=1)}, "ticket")
    assert [blob.chunk_list.blob for blob in source.blobs if blob.chunk_list] == [
        blob.digest for blob in services.blobs_of(image)
    ]
    assert (source.name, source.blobs[0].digest, source.blobs[0].boxes) == ("site:1", image.digest, ["attic"])


def test_two_boxes_that_disagree_leave_no_chunk_list_and_one_cannot_undo_a_confirmed_one(
    master: MasterContext,
) -> None:
    image = push(master, FakeBox(master, "attic").name, "site:1", b"one")
    report(master, "liar", held(image, chunks="lie"))
    report(master, "attic", held(image))
    assert chunk_row(master, image) is None
    report(master, "attic", held(image))
    report(master, "cellar", held(image))
    report(master, "liar", held(image, chunks="lie"))
    row = chunk_row(master, image)
    assert row is not None
    assert (row.made_by, row.confirmed_by) == ("attic", "cellar")


def test_a_chunk_list_that_cannot_be_the_blobs_is_not_kept(master: MasterContext) -> None:
    image = push(master, FakeBox(master, "attic").name, "site:1", b"one")
    good = held(image).blobs[0]
    for change in ({"chunks": []}, {"chunks": ["x"]}, {"size_bytes": 1}, {"blob": digest(b"other")}):
        bad = good.model_copy(update={"chunk_list": good.chunk_list.model_copy(update=change)})
        report(master, "attic", Held(subject="image.1", generation=1, blobs=[bad]))
    assert chunk_row(master, image) is None


def test_an_image_is_held_once_all_its_blobs_are_there(master: MasterContext) -> None:
    attic = FakeBox(master, "attic")
    image = push(master, "attic", "site:1", b"one", b"two")
    digests = [blob.digest for blob in services.blobs_of(image)]

    def is_held() -> bool:
        with master.database.read() as session:
            return session.get_one(ImageHolding, (image.digest, "attic")).held_at is not None

    report(master, "attic", held(image, only=2))
    assert not is_held()
    attic.hold(digests[2:3])
    report(master, "attic", held(image, only=2))
    assert not is_held()
    attic.hold(digests[3:])
    report(master, "attic", held(image, only=2))
    assert is_held()


def test_whoever_holds_every_blob_is_a_holder(master: MasterContext) -> None:
    attic, cellar = FakeBox(master, "attic"), FakeBox(master, "cellar")
    image = push(master, "attic", "site:1", b"one")
    digests = [blob.digest for blob in services.blobs_of(image)]
    attic.hold(digests)
    cellar.hold(digests[:-1])
    with master.database.read() as session:
        assert services.holders(session, master.redis, image) == ["attic"]


def test_removing_the_last_tag_lets_boxes_drop_the_image_and_then_the_row_goes(master: MasterContext) -> None:
    FakeBox(master, "attic")
    image = push(master, "attic", "site:1", b"one")
    push(master, "attic", "site:2", b"one")
    for tag, wanted in (("1", "held"), ("2", "removed")):
        with master.database.write() as session:
            services.remove_tag(session, "site", tag)
        with master.database.read() as session:
            assert session.get_one(ImageHolding, (image.digest, "attic")).wanted == wanted
    with master.database.write() as session:
        services.record_removed(session, "attic", image.digest)
    with master.database.read() as session:
        assert session.get(Image, image.digest) is None


def test_an_image_that_runs_keeps_its_last_name_and_its_layers(master: MasterContext) -> None:
    FakeBox(master, "attic")
    image = push(master, "attic", "site:1", b"one")
    user = add_user(master)
    with master.database.write() as session:
        deployment = Deployment(
            id="d-1", user_id=user.id, application_name="site", title="Site", manifest={}, options={},
            lease_end=0.0,
        )  # fmt: skip
        deployment.instances.append(
            Instance(id="i-1", service="main", state=InstanceState.RUNNING.value, image_digest=image.digest)
        )
        session.add(deployment)
    with pytest.raises(Conflict, match="i-1"), master.database.write() as session:
        services.remove_tag(session, "site", "1")
    push(master, "attic", "site:1", b"two")
    with master.database.read() as session:
        assert session.get_one(ImageHolding, (image.digest, "attic")).wanted == "held"
    with master.database.write() as session:
        session.get_one(Instance, "i-1").state = InstanceState.STOPPED.value
        services.drop_unused(session)
    with master.database.read() as session:
        assert session.get_one(ImageHolding, (image.digest, "attic")).wanted == "removed"


def test_every_change_of_what_a_box_is_to_hold_makes_a_newer_wish(master: MasterContext) -> None:
    FakeBox(master, "attic")
    image = push(master, "attic", "site:1", b"one")
    seen = []

    def look() -> None:
        with master.database.read() as session:
            holding = session.get_one(ImageHolding, (image.digest, "attic"))
            seen.append((holding.wanted, holding.version, holding.held_at is None))

    report(master, "attic", held(image))
    look()
    push(master, "attic", "site:1", b"one")
    look()
    push(master, "attic", "site:1", b"two")
    look()
    push(master, "attic", "site:1", b"one")
    look()
    assert seen == [("held", 0, False), ("held", 0, False), ("removed", 1, False), ("held", 2, True)]


# Over REST.


def ticket_of(portal: Portal, person: Person, scope: str, service: str = "") -> str:
    answer = person.call("GET", "/v2/token", query_string={"scope": scope, "service": service})
    assert answer.status_code == 200, answer.text
    return str(answer.json["token"])


def read(portal: Portal, token: str) -> RepositoryTicket:
    return TicketChecker(Verifier(portal.context.signer.public_key)).check(token, RepositoryTicket)


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def put_tag(portal: Portal, token: str, new: services.NewTag, box: str = "attic") -> int:
    body = {**vars(new), "blobs": [blob.model_dump() for blob in new.blobs], "box": box}
    answer = portal.client.put("/api/v1/images/tags", json=body, headers={"Authorization": f"Bearer {token}"})
    return answer.status_code


def test_docker_login_works_with_an_api_token_as_password_and_not_without(portal: Portal) -> None:
    ada = portal.person("ada")
    good = portal.client.get("/v2/token?offline_token=true", headers=basic("ada", ada.token))
    assert good.status_code == 200
    assert good.json["access_token"] == good.json["token"]
    assert good.json["expires_in"] == 900
    assert read(portal, good.json["token"]).actions == {}
    for headers in ({}, basic("ada", "wrong"), basic("otto", ada.token), {"Authorization": "Basic !"}):
        answer = portal.client.get("/v2/token", headers=headers)
        assert answer.status_code == 401, headers
        assert answer.json["errors"][0]["code"] == "UNAUTHORIZED"
        assert answer.headers["WWW-Authenticate"].startswith("Basic")


def test_tokens_are_given_for_a_form_too(portal: Portal) -> None:
    ada = portal.person("ada")
    form = {
        "grant_type": "password", "username": "ada", "password": ada.token, "client_id": "containerd",
        "scope": "repository:ada/site:pull,push",
    }  # fmt: skip
    answer = portal.client.post("/v2/token", data=form)
    assert answer.status_code == 200, answer.text
    assert read(portal, answer.json["access_token"]).actions == {"ada/site": {"pull", "push"}}
    refresh = portal.client.post("/v2/token", data={"grant_type": "refresh_token"})
    assert (refresh.status_code, refresh.json["error"]) == (400, "unsupported_grant_type")


@pytest.mark.parametrize(
    ("role", "repository", "expected"),
    [
        ("user", "site", {"pull"}),
        ("user", "ada/site", {"pull", "push", "delete"}),
        ("user", "adam/site", {"pull"}),
        ("operator", "site", {"pull", "push", "delete"}),
        ("administrator", "team/deep/site", {"pull", "push", "delete"}),
    ],
)
def test_push_is_for_operators_and_below_the_own_name(
    portal: Portal, role: str, repository: str, expected: set[str]
) -> None:
    token = ticket_of(portal, portal.person("ada", role), f"repository:{repository}:pull,push,delete,other")
    assert read(portal, token).actions == {repository: expected}


def test_a_ticket_is_for_the_depository_that_asked(portal: Portal) -> None:
    FakeBox(portal.context, "attic")
    ada = portal.person("ada", "operator")
    scopes = "repository:a:pull repository:b/c:push registry:catalog:*"
    ticket = read(portal, ticket_of(portal, ada, scopes, "attic"))
    assert (ticket.box, ticket.actions) == ("attic", {"a": {"pull"}, "b/c": {"push"}})
    unknown = ada.call("GET", "/v2/token?service=nowhere")
    assert (unknown.status_code, unknown.json["errors"][0]["detail"]) == (400, "service")
    assert ada.call("GET", "/v2/token?scope=repository:../x:pull").status_code == 400


def test_a_depository_hands_a_tag_on_with_the_pushers_ticket(portal: Portal) -> None:
    FakeBox(portal.context, "attic")
    FakeBox(portal.context, "cellar")
    ada, otto = portal.person("ada"), portal.person("otto")
    new = new_tag("ada/site:1", b"one")
    assert put_tag(portal, ada.token, new) == 401, "an API token is no ticket"
    assert put_tag(portal, ticket_of(portal, otto, "repository:ada/site:pull,push"), new) == 403
    other_box = ticket_of(portal, ada, "repository:ada/site:push", "cellar")
    assert put_tag(portal, other_box, new) == 403
    token = ticket_of(portal, ada, "repository:ada/site:pull,push", "attic")
    assert put_tag(portal, token, new, box="nowhere") == 403
    assert put_tag(portal, token, new) == 204
    listed = otto.call("GET", "/api/v1/images").json["images"]
    assert [(item["repository"], item["tag"], item["digest"]) for item in listed] == [
        ("ada/site", "1", new.digest)
    ]


def test_tags_are_looked_up_with_a_ticket_or_signed_in_and_not_without(portal: Portal) -> None:
    FakeBox(portal.context, "attic")
    ada = portal.person("ada", "operator")
    image = push(portal.context, "attic", "demo/site:1.0", b"one")
    push(portal.context, "attic", "demo:site", b"two")
    path = "/api/v1/images/tags/demo/site"
    assert portal.client.get(f"{path}/1.0").status_code == 401
    found = ada.call("GET", f"{path}/1.0").json
    assert (found["digest"], found["media_type"]) == (image.digest, OCI_MANIFEST)
    both = ada.call("GET", path).json
    assert both["tags"] == ["1.0"]
    assert both["digest"] != image.digest, "the tag site of the repository demo"
    ticket = {"Authorization": f"Bearer {ticket_of(portal, ada, 'repository:demo/site:pull')}"}
    only = portal.client.get(path, headers=ticket).json
    assert (only["tags"], only["digest"]) == (["1.0"], None)
    assert portal.client.get("/api/v1/images/tags/demo", headers=ticket).status_code == 404
    assert ada.call("GET", f"{path}/2.0").status_code == 404


def test_tags_are_removed_by_those_who_may_push(portal: Portal) -> None:
    FakeBox(portal.context, "attic")
    push(portal.context, "attic", "demo/site:1.0", b"one")
    path = "/api/v1/images/tags/demo/site/1.0"
    assert portal.person("ada").call("DELETE", path).status_code == 403
    olga = portal.person("olga", "operator")
    assert olga.call("DELETE", path).status_code == 204
    assert olga.call("DELETE", path).status_code == 404
    assert portal.context.redis.exists(names.wish_key("attic")) == 0, "wishes are the reconciler's"
