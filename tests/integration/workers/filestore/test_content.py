"""Content of filesets by HTTP: put and got whole, or not at all."""

from __future__ import annotations

import http.client
import io
import json
import os
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.reports import FilesetHeld
from common.tickets import FilesetTicket, OpenTicket, issue
from common.wishes import FilesetWish
from tests.support.files import MIB, RW, Computer, Store, Use, names, need_files, running_store
from tests.support.redis import RedisServer, wait_until
from workers.box.front import make_server
from workers.box.room import Room
from workers.filestore.content import Content


class Front:
    """The box's front with the content route alone, and a person who talks to it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        context = store.box.context
        self.room = Room(context.config, context.paths, context.table)
        route = Content(context.config, context.paths, context.table, context.verifier)
        self.server = make_server(("127.0.0.1", 0), [route])
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def ticket(self, action: str = "put", **facts: object) -> str:
        values = {
            "user": "u-1",
            "box": "store",
            "fileset": "fs-site",
            "version": 1,
            "action": action,
            "size_limit_bytes": 4 * MIB,
            "expires_at": time.time() + 60,
            **facts,
        }
        return issue(self.store.box.signer, FilesetTicket(**values))  # type: ignore[arg-type]

    def call(
        self,
        method: str,
        body: bytes | Iterator[bytes] | None = None,
        *,
        path: str = "/filesets/fs-site/1",
        ticket: str | None = None,
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_address[1], timeout=20)
        headers = {"Authorization": f"Bearer {ticket or self.ticket({'PUT': 'put'}.get(method, 'get'))}"}
        try:
            connection.request(method, path, body, headers, encode_chunked=not isinstance(body, bytes))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@pytest.fixture
def front(store: Store) -> Iterator[Front]:
    made = Front(store)
    yield made
    made.server.shutdown()
    made.server.server_close()


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def untar(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {
            member.name: archive.extractfile(member).read()  # type: ignore[union-attr]
            for member in archive
            if member.isreg()
        }


def test_what_was_put_is_got_again_and_mounted(front: Front, store: Store, computer: Computer) -> None:
    data = tar({"index.html": b"<p>hello", "deep/x": os.urandom(300_000)})
    status, answer = front.call("PUT", data)
    assert (status, json.loads(answer)) == (
        201,
        {"fileset": "fs-site", "version": 1, "size_bytes": 300_008, "files": 2},
    )
    status, got = front.call("GET")
    assert status == 200
    assert untar(got) == {f"./{name}": content for name, content in untar(data).items()}
    root = Use(store, computer, "fs-site").begin()
    assert (root / "index.html").read_text() == "<p>hello"


def test_a_body_of_unknown_length_is_taken(front: Front) -> None:
    data = tar({"a": b"x" * 10_000})
    assert front.call("PUT", iter([data[:5000], data[5000:]]))[0] == 201


def test_the_master_is_told_of_what_was_put(front: Front, store: Store) -> None:
    front.call("PUT", tar({"a": b"12345"}))
    store.role.tidy()
    (told,) = store.box.reports.of("fileset.fs-site", "fileset")
    assert isinstance(told, FilesetHeld)
    assert (told.fileset_version, told.size_bytes, told.files) == (1, 5, 1)
    store.role.tidy()
    assert len(store.box.reports.of("fileset.fs-site", "fileset")) == 1
    assert [(item.fileset, item.version) for item in store.role.facts().filesets] == [("fs-site", 1)]
    assert store.role.facts().filesets_bytes == 5


def test_a_held_fileset_is_reported_again_and_a_removed_one_is_gone(
    front: Front, store: Store, computer: Computer
) -> None:
    front.call("PUT", tar({"a": b"12345"}))
    wish = FilesetWish(
        subject="fileset.fs-site",
        generation=0,
        version=1,
        wanted="held",
        fileset="fs-site",
        fileset_version=1,
    )
    store.role.converge(wish)
    assert store.box.reports.kinds("fileset.fs-site") == ["fileset"]
    root = Use(store, computer, "fs-site").begin()
    store.role.converge(wish.model_copy(update={"wanted": "removed", "version": 2}))
    assert store.box.reports.kinds("fileset.fs-site") == ["fileset", "ended"]
    assert not (store.paths.filesets / "fs-site").exists()
    with pytest.raises(OSError):
        (root / "a").read_bytes()


def test_a_version_is_put_once(front: Front) -> None:
    front.call("PUT", tar({"a": b"first"}))
    status, answer = front.call("PUT", tar({"a": b"second"}))
    assert (status, json.loads(answer)["error"]) == (409, "conflict")
    assert untar(front.call("GET")[1]) == {"./a": b"first"}


@pytest.mark.parametrize(
    ("facts", "status", "message"),
    [
        ({"box": "elsewhere"}, 403, "for the box elsewhere"),
        ({"fileset": "fs-other"}, 403, "another fileset or version"),
        ({"version": 2}, 403, "another fileset or version"),
        ({"action": "get"}, 403, "allows to get, not to put"),
        ({"expires_at": 1.0}, 401, "expired"),
    ],
)
def test_a_ticket_for_something_else_opens_nothing(
    front: Front, facts: dict[str, object], status: int, message: str
) -> None:
    got, answer = front.call("PUT", tar({"a": b"x"}), ticket=front.ticket(**facts))  # type: ignore[arg-type]
    assert got == status
    assert message in json.loads(answer)["message"]
    assert not (front.store.paths.filesets / "fs-site").exists()


def test_a_forged_ticket_or_one_of_another_kind_opens_nothing(front: Front) -> None:
    good = front.ticket()
    forged = ("A" if good[0] != "A" else "B") + good[1:]
    assert front.call("PUT", tar({}), ticket=forged)[0] == 401
    other = OpenTicket(
        expires_at=time.time() + 60, instance="i-1", generation=1, user="u", once="x", session_until=0
    )
    assert front.call("PUT", tar({}), ticket=issue(front.store.box.signer, other))[0] == 401


@pytest.mark.parametrize(
    "path",
    ["/filesets/", "/filesets/fs-site", "/filesets/../../etc/1", "/filesets/%2e%2e/1", "/filesets/fs-site/0",
     "/filesets/fs-site/1/..", "/filesets/FS/1", "/filesets/fs-site/1%0a", "/filesets/fs-site/x"],
)  # fmt: skip
def test_a_path_that_names_no_fileset_is_not_found(front: Front, path: str) -> None:
    status, answer = front.call("PUT", tar({"a": b"x"}), path=path)
    assert (status, json.loads(answer)["field"]) == (404, "path")


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (tar({"../evil": b"x"}), 422, "'../evil' leads out of the fileset"),
        (tar({"/etc/evil": b"x"}), 422, "leads out of the fileset"),
        (b"no archive at all" * 100, 422, "not a tar archive"),
        (tar({"big": bytes(5 * MIB)}), 413, "exceeds 4.0 MiB"),
    ],
)
def test_bad_content_is_refused_and_leaves_nothing(
    front: Front, body: bytes, status: int, message: str
) -> None:
    got, answer = front.call("PUT", body)
    assert (got, json.loads(answer)["field"]) == (status, "body")
    assert message in json.loads(answer)["message"]
    assert names(front.store.paths.filesets / "fs-site") == []
    assert front.call("PUT", tar({"a": b"now good"}))[0] == 201


def test_a_client_that_goes_away_leaves_nothing(front: Front) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", front.server.server_address[1], timeout=20)
    connection.putrequest("PUT", "/filesets/fs-site/1")
    connection.putheader("Authorization", f"Bearer {front.ticket()}")
    connection.putheader("Content-Length", "1000000")
    connection.endheaders()
    connection.send(tar({"a": bytes(100_000)})[:50_000])
    directory = front.store.paths.filesets / "fs-site"
    wait_until(lambda: directory.exists() and names(directory) != [], what="the put")
    connection.close()
    wait_until(lambda: names(directory) == [], what="the end of what was half put")


def test_a_put_that_a_crash_cut_off_is_swept_away(front: Front, store: Store) -> None:
    left = store.paths.filesets / "fs-site/.put-0123"
    (left / "data").mkdir(parents=True)
    store.role.tidy()
    assert left.exists(), "it may have begun just now"
    os.utime(left, (1, 1))
    store.role.tidy()
    assert not left.exists()


def test_the_lent_space_is_a_limit_too(tmp_path: Path, redis_server: RedisServer) -> None:
    need_files()
    with running_store(tmp_path / "small", redis_server, lent_bytes=MIB) as small:
        front = Front(small)
        try:
            assert front.call("PUT", tar({"a": bytes(700_000)}))[0] == 201
            status, _ = front.call(
                "PUT", tar({"b": bytes(700_000)}), path="/filesets/fs-site/2", ticket=front.ticket(version=2)
            )
            assert status == 507
        finally:
            front.server.shutdown()
            front.server.server_close()


def test_two_puts_at_once_do_not_exceed_the_lent_space_together(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    need_files()
    data = tar({"a": bytes(800_000)})
    with running_store(tmp_path / "small", redis_server, lent_bytes=MIB) as small:
        front = Front(small)
        connection = http.client.HTTPConnection("127.0.0.1", front.server.server_address[1], timeout=20)
        try:
            connection.putrequest("PUT", "/filesets/fs-site/1")
            connection.putheader("Authorization", f"Bearer {front.ticket()}")
            connection.putheader("Content-Length", str(len(data)))
            connection.endheaders()
            connection.send(data[:600_000])
            wait_until(lambda: front.room.left_bytes() < MIB - 200_000, what="the first put's promise")
            status, answer = front.call(
                "PUT", data, path="/filesets/fs-other/1", ticket=front.ticket(fileset="fs-other")
            )
            assert status == 507
            assert "lent space" in json.loads(answer)["message"]
            connection.send(data[600_000:])
            assert connection.getresponse().status == 201
            assert 800_000 <= MIB - front.room.left_bytes() < 900_000
        finally:
            connection.close()
            front.server.shutdown()
            front.server.server_close()


def is_closed_by_tidying(store: Store) -> bool:
    store.role.tidy()
    return store.volumes.open_homes() == []


def test_a_home_is_got_while_it_is_used_and_while_it_is_not(
    front: Front, store: Store, computer: Computer
) -> None:
    use = Use(store, computer, "fs-home", mode=RW, limit_bytes=64 * MIB)
    root = use.begin()
    (root / "diary").write_text("dear diary")
    ask = {"path": "/filesets/fs-home/1", "ticket": front.ticket("get", fileset="fs-home")}
    assert untar(front.call("GET", **ask)[1]) == {"./diary": b"dear diary"}  # type: ignore[arg-type]
    use.end()
    wait_until(lambda: is_closed_by_tidying(store), what="the end of the first reading")
    assert untar(front.call("GET", **ask)[1]) == {"./diary": b"dear diary"}  # type: ignore[arg-type]
    wait_until(lambda: is_closed_by_tidying(store), what="the end of the second reading")


def test_a_home_that_is_being_read_stays_mounted_until_then(store: Store, computer: Computer) -> None:
    use = Use(store, computer, "fs-home", mode=RW, limit_bytes=64 * MIB)
    (use.begin() / "a").write_text("a")
    with store.volumes.reading("fs-home", 1) as tree:
        use.end()
        assert (tree / "a").read_text() == "a"
    store.role.tidy()
    assert store.volumes.open_homes() == []


def test_an_old_version_goes_when_a_newer_one_has_been_here_for_a_while(
    store: Store, computer: Computer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers.filestore import role

    for version in (1, 2, 3):
        store.put("fs-site", version, {"a": str(version)})
    use = Use(store, computer, "fs-site", version=2)
    root = use.begin()
    store.role.tidy()
    assert names(store.paths.filesets / "fs-site") == ["1", "2", "3"]
    monkeypatch.setattr(role, "SUPERSEDED_S", 0.0)
    store.role.tidy()
    assert names(store.paths.filesets / "fs-site") == ["2", "3"]
    assert (root / "a").read_text() == "2"
    use.end()
    store.role.tidy()
    assert names(store.paths.filesets / "fs-site") == ["3"]


def test_a_fileset_that_is_not_here_cannot_be_got(front: Front) -> None:
    status, answer = front.call("GET")
    assert status == 404
    assert "does not lie on this box" in json.loads(answer)["message"]
