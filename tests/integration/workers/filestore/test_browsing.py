"""My files: a home over HTTP with tickets, in its sandbox, as the fileset's own uid."""

from __future__ import annotations

import io
import json
import os
import socket
import stat
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.files import MIB, RW, Use, need_files, running_computer
from tests.support.home import FILESET, READ, Home, running_home
from tests.support.redis import RedisServer, wait_until
from workers.filestore.browsing import sessions


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, shared_redis: RedisServer) -> Iterator[Home]:
    need_files()
    with running_home(tmp_path_factory.mktemp("h"), shared_redis) as made:
        yield made


@pytest.fixture(autouse=True)
def empty(home: Home) -> None:
    """Each test begins with an empty home."""
    for entry in home.told("GET", "list")["entries"]:
        home.told("POST", "remove", path=entry["path"])


def message(body: bytes) -> str:
    return str(json.loads(body)["message"])


def test_a_file_is_put_listed_got_moved_and_removed(home: Home) -> None:
    home.told("POST", "folder", path="docs")
    home.told("PUT", "content", path="docs/a.txt", body=b"hello")
    (entry,) = home.told("GET", "list", path="docs")["entries"]
    assert (entry["path"], entry["kind"], entry["size_bytes"]) == ("docs/a.txt", "file", 5)
    status, headers, body = home.ask("GET", "content", path="docs/a.txt")
    assert (status, body, headers["Content-Type"]) == (200, b"hello", "text/plain")
    assert headers["Content-Security-Policy"].startswith("sandbox;")
    home.told("POST", "move", path="docs/a.txt", to="docs/b.txt")
    assert home.names(b"docs") == ["b.txt"]
    home.told("POST", "remove", path="docs")
    assert home.names() == []


def test_what_is_put_is_the_filesets_own_and_never_roots(home: Home) -> None:
    home.told("PUT", "content", path="a/b", body=b"x")
    uid = home.store.volumes.uid(FILESET)
    for path in (home.data / "a", home.data / "a/b", home.data.parent / "aside"):
        assert (path.stat().st_uid, path.stat().st_gid) == (uid, uid)
    assert stat.S_IMODE((home.data / "a/b").stat().st_mode) == 0o644


def test_a_part_of_a_file_is_sent(home: Home) -> None:
    home.told("PUT", "content", path="a", body=b"0123456789")
    for asked, status, body, told in (
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("bytes=1-2,4-5", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
    ):
        got, headers, content = home.ask("GET", "content", path="a", headers={"Range": asked})
        assert (got, content, headers["Content-Range"]) == (status, body, told), asked
    _, headers, _ = home.ask("HEAD", "content", path="a")
    assert headers["Content-Length"] == "10"
    assert home.ask("GET", "content", path="a", headers={"If-None-Match": headers["ETag"]})[0] == 304


def test_a_folder_comes_as_tar_or_zip(home: Home) -> None:
    home.told("PUT", "content", path="deep/er/a", body=b"content")
    home.told("PUT", "content", path="deep/b", body=b"")
    status, headers, body = home.ask("GET", "content", path="deep")
    assert (status, headers["Content-Disposition"].split(";")[1]) == (200, ' filename="deep.tar"')
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        assert archive.extractfile("./er/a").read() == b"content"  # type: ignore[union-attr]
    _, headers, body = home.ask("GET", "content", path="deep", **{"as": "zip"})
    with zipfile.ZipFile(io.BytesIO(body)) as zipped:
        assert {name: zipped.read(name) for name in zipped.namelist()} == {"er/a": b"content", "b": b""}
        assert zipped.testzip() is None


def test_an_upload_goes_on_where_it_broke_off_and_appears_whole(home: Home) -> None:
    query = {"path": "new/big.bin", "size": 3 * MIB, "modified": 1_700_000_000_000}
    content = os.urandom(3 * MIB)
    assert home.told("GET", "upload", **query) == {"offset": 0}
    assert home.told("PATCH", "upload", body=content[:MIB], offset=0, **query) == {
        "offset": MIB,
        "done": False,
    }
    _break_off(home, query, content[MIB:])
    offset = home.told("GET", "upload", **query)["offset"]
    assert MIB <= offset < 3 * MIB
    assert home.names() == [], "it is nowhere to be seen before it is whole"
    status, _, body = home.ask("PATCH", "upload", body=b"x", offset=offset + 1, **query)
    assert (status, json.loads(body)["field"]) == (409, "offset")
    assert home.told("PATCH", "upload", body=content[offset:], offset=offset, **query)["done"]
    assert home.ask("GET", "content", path="new/big.bin")[2] == content
    assert home.told("GET", "list", path="new")["entries"][0]["modified_at"] == 1_700_000_000


def _break_off(home: Home, query: dict[str, object], rest: bytes) -> None:
    """Send a half of the rest and go away."""
    line = "&".join(f"{name}={value}" for name, value in query.items())
    with socket.create_connection(("127.0.0.1", home.port), 10) as connection:
        head = (
            f"PATCH /files/{FILESET}/upload?offset={MIB}&{line} HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {home.ticket()}\r\nContent-Length: {len(rest)}\r\n\r\n"
        )
        connection.sendall(head.encode() + rest[: MIB // 2])
        aside = home.data.parent / "aside"
        wait_until(lambda: any(file.stat().st_size > MIB for file in aside.iterdir()), what="some of it")
    wait_until(
        lambda: home.ask("PATCH", "upload", body=b"", offset=0, **query)[0] == 409, what="the end of it"
    )
    wait_until(lambda: "on its way" not in _said(home, query), what="that the other one is given up")


def _said(home: Home, query: dict[str, object]) -> str:
    return message(home.ask("PATCH", "upload", body=b"", offset=0, **query)[2])


def test_nothing_is_replaced_unless_that_is_said(home: Home) -> None:
    home.told("PUT", "content", path="a", body=b"old")
    (home.data / "a").chmod(0o755)
    for method, verb, more in (
        ("PUT", "content", {"path": "a", "body": b"new"}),
        ("GET", "upload", {"path": "a", "size": 3}),
        ("PATCH", "upload", {"path": "a", "size": 3, "offset": 0, "body": b"new"}),
        ("POST", "folder", {"path": "a"}),
    ):
        status, _, body = home.ask(method, verb, **more)  # type: ignore[arg-type]
        assert status == 409, (verb, body)
        assert "something called a already" in message(body)
    assert home.ask("GET", "content", path="a")[2] == b"old"
    home.told("PUT", "content", path="a", body=b"new", replace=1)
    assert home.ask("GET", "content", path="a")[2] == b"new"
    assert home.told("PATCH", "upload", path="a", size=3, offset=3, replace=1, body=b"")["done"], (
        "it was all there"
    )
    assert stat.S_IMODE((home.data / "a").stat().st_mode) == 0o755, "a script stays one that can be run"
    home.told("PUT", "content", path="b", body=b"b")
    assert home.ask("POST", "move", path="a", to="b")[0] == 409


def test_a_plain_form_with_several_files_ends_on_the_portals_page(home: Home) -> None:
    body = (
        b'--X\r\nContent-Disposition: form-data; name="files"; filename="one \xc3\xa9.txt"\r\n\r\nfirst\r\n'
        b'--X\r\nContent-Disposition: form-data; name="files"; filename="..\\..\\two"\r\n'
        b"Content-Type: x/y\r\n\r\nsecond\r\n--X\r\n"
        b'Content-Disposition: form-data; name="note"\r\n\r\nno file\r\n--X--\r\n'
    )
    kind = {"Content-Type": "multipart/form-data; boundary=X"}
    status, headers, _ = home.ask("POST", "form", body=body, headers=kind, path="in")
    assert status == 303
    assert headers["Location"] == "http://portal.test/files?path=in&uploaded=2&problem="
    assert home.names(b"in") == ["one é.txt", "two"]
    _, headers, _ = home.ask("POST", "form", body=body, headers=kind, path="in")
    assert "uploaded=0&problem=There+is+something+called" in headers["Location"]
    _, headers, _ = home.ask("POST", "form", body=body[:60], headers=kind, path="in")
    assert "problem=" in headers["Location"]


@pytest.mark.parametrize("path", ["..", "a/../../b", "%2e%2e/x", "../../etc/passwd", "a%00b"])
@pytest.mark.parametrize(
    ("method", "verb"), [("GET", "content"), ("PUT", "content"), ("POST", "remove"), ("GET", "list")]
)
def test_a_path_that_leads_upwards_is_refused(home: Home, path: str, method: str, verb: str) -> None:
    status, _, body = home.ask(method, verb, path=path, body=b"x")
    assert (status, json.loads(body)["field"]) == (422, "path")


def test_a_link_leads_nowhere_outside_the_home(home: Home) -> None:
    home.told("PUT", "content", path="real/a", body=b"mine")
    links = {
        "out": "/etc/passwd",
        "up": "../../../../etc",
        "dev": "/dev/null",
        "loop": "loop",
        "inside": "real/a",
    }
    for name, target in links.items():
        (home.data / name).symlink_to(target)
    (home.data / "folder").symlink_to("real")
    kinds = {entry["name"]: entry["kind"] for entry in home.told("GET", "list")["entries"]}
    assert kinds == dict.fromkeys(("out", "up", "dev", "loop"), "link") | {
        "inside": "file", "folder": "folder", "real": "folder",
    }  # fmt: skip
    for path in ("out", "up/passwd", "dev", "loop"):
        assert home.ask("GET", "content", path=path)[0] in (403, 404), path
        assert home.ask("PUT", "content", path=f"{path}/x", body=b"x")[0] in (403, 409), path
    assert home.ask("GET", "content", path="folder/a")[2] == b"mine"
    home.told("POST", "remove", path="folder")
    assert home.names(b"real") == ["a"], "the link went, not what it leads to"
    home.told("PUT", "content", path="out", body=b"new", replace=1)
    assert Path("/etc/passwd").read_bytes() != b"new"
    assert not (home.data / "out").is_symlink()


def test_what_is_neither_file_nor_folder_blocks_nobody(home: Home) -> None:
    home.told("GET", "list")
    os.mkfifo(home.data / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(home.data / "socket"))
        assert home.ask("GET", "content", path="pipe")[0] == 422
        assert home.ask("GET", "content", path="socket")[0] >= 400
        status, _, body = home.ask("GET", "content", **{"as": "zip"})
    assert (status, zipfile.ZipFile(io.BytesIO(body)).namelist()) == (200, [])


@pytest.mark.parametrize(
    "name", [b"line\nend", b"\xff\xfe", b'"quo\'te"', b"100%", b"a" * 255, " é ☃".encode(), b"-rf", b"~"]
)
def test_every_name_that_linux_allows_works(home: Home, name: bytes) -> None:
    home.told("PUT", "content", path=name, body=b"x")
    (entry,) = home.told("GET", "list")["entries"]
    assert [os.fsencode(entry.name) for entry in home.data.iterdir()] == [name]
    assert home.ask("GET", "content", path=entry["path"])[2] == b"x"
    home.told("POST", "move", path=entry["path"], to=b"new" + name[:200])
    home.told("POST", "remove", path=b"new" + name[:200])
    assert home.names() == []


def test_a_name_that_is_too_long_is_refused(home: Home) -> None:
    assert home.ask("PUT", "content", path=b"a" * 256, body=b"x")[0] == 422
    assert home.ask("PUT", "content", path=b"/".join([b"a" * 200] * 30), body=b"x")[0] == 422


def test_a_folder_of_a_hundred_thousand_is_shown_in_pages(home: Home) -> None:
    home.told("POST", "folder", path="many")
    uid = home.store.volumes.uid(FILESET)
    for name in ("x", "y"):  # two files of many names: a small file system has few inodes
        home.told("PUT", "content", path=name, body=b"")
    for number in range(100_000):
        os.link(home.data / "xy"[number % 2], home.data / f"many/{number:06}")
    os.chown(home.data / "many", uid, uid)
    listing = home.told("GET", "list", path="many", offset=99_990, limit=200)
    assert (listing["total"], listing["cut"], len(listing["entries"])) == (100_000, False, 10)
    assert listing["entries"][-1]["name"] == "099999"
    assert home.ask("GET", "list", path="many", limit=1001)[0] == 422
    home.told("POST", "remove", path="many")


def test_a_tree_that_is_deeper_than_any_path_is_removed(home: Home) -> None:
    home.told("POST", "folder", path="deep")
    handle = os.open(home.data / "deep", os.O_RDONLY)
    uid = home.store.volumes.uid(FILESET)
    for _ in range(1500):
        os.mkdir("d" * 10, dir_fd=handle)
        os.chown("d" * 10, uid, uid, dir_fd=handle)
        inner = os.open("d" * 10, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(handle)
    home.told("POST", "remove", path="deep")
    assert home.names() == []
    assert list((home.data.parent / "aside").glob("gone-*")) == []


def test_a_full_home_says_how_much_is_free_and_what_is_large(home: Home) -> None:
    home.told("PUT", "content", path="films/large.bin", body=bytes(20 * MIB))
    status, _, body = home.ask("GET", "upload", path="more", size=200 * MIB)
    assert status == 507
    assert "needs 200.0 MiB" in message(body)
    assert "films/large.bin (20.0 MiB)" in message(body)
    status, _, body = home.ask("PUT", "content", path="more", body=iter([bytes(MIB)] * 80))
    assert (status, home.names()) == (507, ["films"])
    assert "The home is full" in message(body)
    usage = home.told("GET", "usage")
    assert usage["free_bytes"] < usage["size_bytes"] <= 64 * MIB
    assert usage["largest"][0]["path"] == "films/large.bin"


def test_a_ticket_for_a_part_opens_nothing_beside_it(home: Home) -> None:
    home.told("PUT", "content", path="shared/a", body=b"a")
    home.told("PUT", "content", path="secret", body=b"s")
    (home.data / "shared/out").symlink_to("../secret")
    part = home.ticket(root="shared", may=READ)
    assert [entry["path"] for entry in home.told("GET", "list", ticket=part)["entries"]] == ["a", "out"]
    assert home.ask("GET", "content", ticket=part, path="a")[2] == b"a"
    for path in ("secret", "../secret", "out"):
        assert home.ask("GET", "content", ticket=part, path=path)[0] in (403, 404, 422)
    for method, verb in (("PUT", "content"), ("POST", "remove"), ("POST", "folder"), ("GET", "upload")):
        assert home.ask(method, verb, ticket=part, path="a", body=b"x")[0] == 403
    one = home.ticket(root="shared/a", may=READ)
    assert home.told("GET", "list", ticket=one)["entries"][0]["name"] == "a"
    assert home.ask("GET", "content", ticket=one)[2] == b"a"
    assert home.ask("GET", "content", ticket=one, path="x")[0] == 404


def test_who_may_only_add_sees_and_replaces_nothing(home: Home) -> None:
    home.told("PUT", "content", path="inbox/a", body=b"a")
    adder = home.ticket(root="inbox", may=frozenset({"add"}))
    assert home.ask("GET", "list", ticket=adder)[0] == 403
    assert home.ask("PUT", "content", ticket=adder, path="b", body=b"b")[0] == 201
    assert home.ask("PUT", "content", ticket=adder, path="a", body=b"b", replace=1)[0] == 409


@pytest.mark.parametrize(
    ("facts", "status"),
    [({"box": "elsewhere"}, 403), ({"fileset": "f-other"}, 403), ({"expires_at": 1.0}, 401)],
)
def test_a_ticket_for_something_else_opens_nothing(home: Home, facts: dict[str, object], status: int) -> None:
    got, headers, _ = home.ask("GET", "list", ticket=home.ticket(**facts))
    assert got == status
    assert headers["Access-Control-Allow-Origin"] == "*", "the page can tell the person"
    assert home.send("GET", f"/files/{FILESET}/list", None, {})[0] == 401
    assert home.send("GET", "/_openraas/files/auth", None, {})[0] == 404


def test_headers_of_the_asker_change_nothing(home: Home) -> None:
    home.told("PUT", "content", path="shared/a", body=b"a")
    forged = {
        "X-Openraas-Files-Root": "",
        "X-Openraas-Files-May": "read,write,add",
        "X-Openraas-Target": "/x",
    }
    part = home.ticket(root="shared", may=READ)
    assert home.ask("PUT", "content", ticket=part, path="b", body=b"x", headers=forged)[0] == 403
    assert [
        e["name"] for e in json.loads(home.ask("GET", "list", ticket=part, headers=forged)[2])["entries"]
    ] == ["a"]


def test_a_session_that_ended_begins_again_with_the_next_request(home: Home) -> None:
    home.told("PUT", "content", path="a", body=b"a")
    sessions.end(home.store.paths.run, FILESET)
    # What the one that is being killed still accepted is cut off with it.
    wait_until(lambda: home.ask("GET", "list", path=b"")[0] == 200, 10, "a new session")
    assert home.names() == ["a"]


def test_a_home_is_used_by_an_instance_and_by_the_page_at_once(
    home: Home, tmp_path: Path, shared_redis: RedisServer
) -> None:
    with running_computer(tmp_path / "near", shared_redis, "near") as computer:
        use = Use(home.store, computer, FILESET, mode=RW, limit_bytes=64 * MIB)
        root = use.begin()
        home.told("PUT", "content", path="from-page", body=b"page")
        wait_until(lambda: (root / "from-page").exists(), what="the page's file in the instance")
        assert (root / "from-page").read_bytes() == b"page"
        (root / "from-instance").write_bytes(b"instance")
        assert home.ask("GET", "content", path="from-instance")[2] == b"instance"
        reader = (root / "from-page").open("rb")
        home.told("PUT", "content", path="from-page", body=b"newer", replace=1)
        assert reader.read() == b"page", "who has a file open keeps what it opened"
        reader.close()
        use.end()
    assert home.names() == ["from-instance", "from-page"], "the page goes on when the instance has ended"


def test_old_uploads_are_forgotten(home: Home) -> None:
    home.told("PATCH", "upload", path="a", size=10, offset=0, body=b"half")
    aside = home.data.parent / "aside"
    (left,) = (file for file in aside.iterdir() if file.stat().st_size == 4)
    os.utime(left, (time.time() - 90_000,) * 2)
    sessions.end(home.store.paths.run, FILESET)
    wait_until(
        lambda: home.ask("GET", "list", path=b"")[0] == 200 and not left.exists(), 30.0, what="the sweep"
    )
    assert home.names() == []
