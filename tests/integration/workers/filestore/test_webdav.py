"""A home by WebDAV, with real clients: rclone and curl."""

from __future__ import annotations

import base64
import http.client
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread

import pytest

from tests.support.files import MIB, need_files
from tests.support.home import FILESET, READ, Home, running_home
from tests.support.redis import RedisServer
from workers.box.front import make_server
from workers.filestore.browsing.dav import DavRoute
from workers.filestore.browsing.route import MAY, ROOT

CLIENT_S = 60
BEFORE = "ora_before-0"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, shared_redis: RedisServer) -> Iterator[Home]:
    need_files()
    with running_home(tmp_path_factory.mktemp("h"), shared_redis) as made:
        yield made


def basic(token: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"ada:{token}".encode()).decode()}


def rclone(home: Home, *words: str, token: str | None = None) -> str:
    """What rclone says; the remote is `home:`."""
    program = shutil.which("rclone")
    if program is None:
        pytest.skip("needs rclone")
    password = subprocess.run(
        [program, "obscure", token or home.token()],
        capture_output=True,
        text=True,
        check=True,
        timeout=CLIENT_S,
    ).stdout.strip()
    environment = {
        **os.environ,
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_CONFIG_HOME_TYPE": "webdav",
        "RCLONE_CONFIG_HOME_URL": f"{home.url}/webdav",
        "RCLONE_CONFIG_HOME_VENDOR": "other",
        "RCLONE_CONFIG_HOME_USER": "ada",
        "RCLONE_CONFIG_HOME_PASS": password,
    }
    done = subprocess.run(
        [program, "--retries", "1", *words], env=environment, capture_output=True, text=True, timeout=CLIENT_S
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_rclone_lists_puts_gets_moves_and_removes(home: Home, tmp_path: Path) -> None:
    content = os.urandom(3 * MIB)
    (tmp_path / "in/deep").mkdir(parents=True)
    (tmp_path / "in/deep/big é.bin").write_bytes(content)
    (tmp_path / "in/small").write_text("hello")
    rclone(home, "copy", str(tmp_path / "in"), "home:work")
    assert rclone(home, "lsf", "-R", "home:work").split("\n") == ["deep/", "small", "deep/big é.bin", ""]
    assert home.names(b"work/deep") == ["big é.bin"]
    rclone(home, "check", str(tmp_path / "in"), "home:work", "--download")
    rclone(home, "moveto", "home:work/small", "home:work/deep/moved")
    assert home.names(b"work/deep") == ["big é.bin", "moved"]
    rclone(home, "copy", "home:work", str(tmp_path / "out"))
    assert (tmp_path / "out/deep/big é.bin").read_bytes() == content
    rclone(home, "purge", "home:work")
    assert "work" not in home.names()


def test_a_lock_keeps_others_from_writing_until_it_is_given_back(home: Home) -> None:
    head = basic(home.token())
    assert home.send("PUT", "/webdav/locked", b"one", head)[0] == 201
    body = (
        b'<?xml version="1.0"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope>'
        b"<D:locktype><D:write/></D:locktype><D:owner>ada</D:owner></D:lockinfo>"
    )
    status, headers, _ = home.send("LOCK", "/webdav/locked", body, {**head, "Timeout": "Second-60"})
    assert status == 200
    token = headers["Lock-Token"]
    assert home.send("PUT", "/webdav/locked", b"two", head)[0] == 423
    assert home.send("PUT", "/webdav/locked", b"two", {**head, "If": f"({token})"})[0] == 204
    assert home.send("UNLOCK", "/webdav/locked", None, {**head, "Lock-Token": token})[0] == 204
    assert home.send("PUT", "/webdav/locked", b"three", head)[0] == 204
    assert home.send("GET", "/webdav/locked", None, head)[2] == b"three"
    assert (home.data / "locked").stat().st_uid == home.store.volumes.uid("f-home")


def test_what_breaks_off_leaves_the_old_file(home: Home) -> None:
    head = basic(home.token())
    home.send("PUT", "/webdav/whole", b"old", head)

    def broken() -> Iterator[bytes]:
        yield bytes(MIB)
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        home.send("PUT", "/webdav/whole", broken(), head)
    with pytest.raises(ConnectionAbortedError):
        home.send("PUT", "/webdav/never", broken(), head)
    assert home.send("GET", "/webdav/whole", None, head)[2] == b"old"
    assert home.send("GET", "/webdav/never", None, head)[0] == 404


def test_a_full_home_is_told_as_such(home: Home) -> None:
    status, _, _ = home.send("PUT", "/webdav/large", iter([bytes(MIB)] * 80), basic(home.token()))
    assert status == 507
    assert "large" not in home.names()


def test_names_that_xml_cannot_hold_hide_no_others(home: Home) -> None:
    for name in (b"good", b"\xff\xfe", b"line\nend", b"bell\x07"):
        home.told("PUT", "content", path=b"odd/" + name, body=b"x")
    status, _, body = home.send("PROPFIND", "/webdav/odd/", None, {**basic(home.token()), "Depth": "1"})
    assert status == 207
    assert body.count(b"<ns0:href>") == 2 or body.count(b"href>/webdav/odd/") == 2
    assert b"/webdav/odd/good" in body


def test_everything_at_once_and_links_are_not_given(home: Home) -> None:
    head = basic(home.token())
    assert home.send("PROPFIND", "/webdav/", None, head)[0] == 403
    home.names()
    (home.data / "passwd").symlink_to("/etc/passwd")
    assert home.send("GET", "/webdav/passwd", None, head)[0] == 403
    assert home.send("GET", "/webdav/../../../etc/passwd", None, head)[0] in (400, 403, 404)
    assert home.send("GET", "/webdav/%2e%2e/%2e%2e/etc/passwd", None, head)[0] in (400, 403, 404)


def test_without_a_good_token_a_client_is_asked_for_one(home: Home) -> None:
    for headers in ({}, basic("guessed"), basic("ora_unknown-1"), {"Authorization": "Basic %%%"}):
        status, told, _ = home.send("PROPFIND", "/webdav/", None, {**headers, "Depth": "0"})
        assert status == 401
        assert told["WWW-Authenticate"].startswith("Basic realm=")


def test_a_token_that_only_reads_changes_nothing(home: Home) -> None:
    home.told("PUT", "content", path="kept", body=b"x", replace=1)
    head = basic(home.token("ora_reader-1", may=READ))
    assert home.send("GET", "/webdav/kept", None, head)[0] == 200
    for method in ("PUT", "DELETE", "MKCOL", "MOVE", "LOCK"):
        assert home.send(method, "/webdav/kept", b"", {**head, "Destination": "/webdav/b"})[0] == 403


def test_the_master_is_asked_once_a_minute_and_may_be_away(home: Home) -> None:
    head = basic(home.token(BEFORE))
    asked = home.master.asked
    for _ in range(3):
        assert home.send("PROPFIND", "/webdav/", None, {**head, "Depth": "0"})[0] == 207
    assert home.master.asked == asked + 1


def test_whose_home_is_elsewhere_is_told_where(home: Home) -> None:
    where = "https://10.0.0.9:8090/webdav/"
    head = basic(home.token("ora_elsewhere-1", box="other", where=where))
    status, headers, _ = home.send("PROPFIND", "/webdav/", None, {**head, "Depth": "0"})
    assert (status, headers["Location"]) == (307, where)


def test_a_ticket_for_a_part_of_the_home_opens_nothing_by_webdav(home: Home) -> None:
    home.ask("PUT", "content", b"mine", path=b"private")
    home.ask("PUT", "content", b"theirs", path=b"shared/file")
    guest = {"Authorization": f"Bearer {home.ticket(root='shared', may=READ)}"}
    # Whoever takes what follows two slashes for a host sees a file page's path here; nginx and the session do not.
    status, _, body = home.send("GET", f"//webdav/files/{FILESET}/../../private", None, guest)
    assert (status, b"mine" in body) == (401, False)


def test_a_session_answers_webdav_only_for_the_whole_home(tmp_path: Path) -> None:
    for name in ("data", "aside"):
        (tmp_path / name).mkdir()
    (tmp_path / "data/private").write_text("mine")
    front = make_server(tmp_path / "front", [DavRoute(tmp_path / "data", tmp_path / "aside")])
    Thread(target=front.serve_forever, daemon=True).start()
    try:
        assert ask_socket(tmp_path / "front", {MAY: "read", ROOT: ""}) == 200
        assert ask_socket(tmp_path / "front", {MAY: "read", ROOT: "shared"}) == 403
        assert ask_socket(tmp_path / "front", {MAY: "add", ROOT: ""}) == 403
    finally:
        front.shutdown()
        front.server_close()


def ask_socket(path: Path, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection("localhost", timeout=CLIENT_S)
    connection.sock = socket.socket(socket.AF_UNIX)
    with closing(connection):
        connection.sock.connect(str(path))
        connection.request("GET", "/webdav/private", headers=headers)
        return connection.getresponse().status
