"""`openraas files` and the REST calls behind it, against a real filestore."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from master.accounts.models import User
from master.filesets.models import Fileset
from tests.support.cli import Done, Shell
from tests.support.files import MIB, need_files
from tests.support.home import HomePortal, running_home_portal
from tests.support.redis import RedisServer


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory, shared_redis: RedisServer) -> Iterator[HomePortal]:
    need_files()
    with running_home_portal(tmp_path_factory.mktemp("f"), shared_redis) as made:
        yield made


@pytest.fixture
def shell(portal: HomePortal, tmp_path: Path, quiet: None) -> Shell:
    return Shell(tmp_path, portal.address, portal.token)


def good(done: Done) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def rest(portal: HomePortal, method: str, path: str, **more: object) -> httpx.Response:
    headers = {"Authorization": f"Bearer {portal.token}"}
    return httpx.request(
        method, f"{portal.address}/api/v1{path}", headers=headers, timeout=30, trust_env=False, **more  # type: ignore[arg-type]
    )  # fmt: skip


def test_the_verbs_of_files_do_what_they_say(portal: HomePortal, shell: Shell, tmp_path: Path) -> None:
    content = os.urandom(3 * MIB)
    (tmp_path / "50%.bin").write_bytes(content)
    good(shell.run("files", "mkdir", "work"))
    good(shell.run("files", "put", str(tmp_path / "50%.bin"), "work/"))
    refused = shell.run("files", "put", str(tmp_path / "50%.bin"), "work/")
    assert refused.returncode != 0
    assert "something called" in refused.stderr
    (entry,) = json.loads(good(shell.run("files", "ls", "work", "--json")))
    assert (entry["name"], entry["path"], entry["size_bytes"]) == ("50%.bin", "work/50%25.bin", 3 * MIB)
    good(shell.run("files", "mv", "work/50%.bin", "work/half"))
    good(shell.run("files", "get", "work/half", str(tmp_path / "back")))
    assert (tmp_path / "back").read_bytes() == content
    good(shell.run("files", "get", "work", str(tmp_path)))
    with tarfile.open(tmp_path / "work.tar") as archive:
        assert "./half" in archive.getnames()
    assert good(shell.run("files", "address")).strip() == f"{portal.home.url}/webdav/"
    good(shell.run("files", "rm", "work"))
    assert json.loads(good(shell.run("files", "ls", "--json"))) == []


def test_a_link_opens_its_part_until_it_is_taken_back(
    portal: HomePortal, shell: Shell, tmp_path: Path
) -> None:
    (tmp_path / "a").write_text("shared")
    good(shell.run("files", "put", str(tmp_path / "a"), "open/"))
    made = json.loads(good(shell.run("files", "share", "open", "--ttl", "1h", "--json")))
    page = httpx.get(made["url"], trust_env=False)
    assert page.status_code == 200
    assert "a</a>" in page.text
    got = httpx.get(f"{made['url']}/get?path=a", follow_redirects=True, trust_env=False)
    assert got.text == "shared"
    assert made["id"] in good(shell.run("files", "shares"))
    good(shell.run("files", "unshare", made["id"]))
    assert httpx.get(made["url"], trust_env=False).status_code == 404
    assert shell.run("files", "unshare", made["id"]).returncode == 2
    assert shell.run("files", "share", "open", "--ttl", "9999d").returncode == 2


def test_what_the_box_refuses_is_told_as_what_it_is(portal: HomePortal) -> None:
    assert rest(portal, "GET", "/files", params={"path": "nowhere"}).status_code == 404
    assert rest(portal, "GET", "/files", params={"path": "../x"}).status_code == 422
    assert rest(portal, "DELETE", "/files", params={"path": "nowhere"}).status_code == 404
    assert rest(portal, "POST", "/files/folder", json={"path": "one"}).status_code == 204
    answer = rest(portal, "POST", "/files/folder", json={"path": "one"})
    assert (answer.status_code, answer.json()["field"]) == (409, "path")
    assert rest(portal, "DELETE", "/files", params={"path": "one"}).status_code == 204
    usage = rest(portal, "GET", "/files/usage").json()
    assert 0 < usage["free_bytes"] < usage["size_bytes"]


def test_a_home_that_lay_nowhere_gets_one_filestore_and_keeps_it(portal: HomePortal) -> None:
    for _ in range(2):
        assert rest(portal, "POST", "/files/ticket", json={}).json()["box"] == "store"
    with portal.context.database.read() as session:
        user = session.scalars(select(User).where(User.name == "ada")).one()
        (home,) = session.scalars(select(Fileset).where(Fileset.owner_id == user.id)).all()
        assert [(copy.box_id, copy.follows) for copy in home.copies] == [("store", False)]
        assert home.fence == 0, "who uses files by the page is no writer that others have to wait for"


def test_a_silent_filestore_is_named(portal: HomePortal) -> None:
    text = portal.context.redis.get("status:store")
    try:
        portal.context.redis.delete("status:store")
        answer = rest(portal, "GET", "/files")
        assert (answer.status_code, "store, which is silent" in answer.json()["message"]) == (503, True)
    finally:
        portal.context.redis.set("status:store", str(text))
