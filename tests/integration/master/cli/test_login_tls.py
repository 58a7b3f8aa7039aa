"""Signing in to a master with a certificate authority of its own."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from flask import request
from werkzeug.serving import make_server

from master.context import MasterContext
from master.paths import MasterPaths
from master.trust.authorities import Authorities
from master.web.app import create_app
from tests.support.cli import Shell, World


class Server:
    """The portal with TLS, and the paths that were asked for."""

    def __init__(self, context: MasterContext, paths: MasterPaths) -> None:
        self.authority = Authorities.load(paths).in_office
        self.authority.ensure_master(paths, "127.0.0.1")
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(paths.certificate, paths.private_key)
        app = create_app(replace(context, paths=paths))
        self.asked: list[str] = []
        app.before_request(lambda: self.asked.append(request.path))
        self.server = make_server("127.0.0.1", 0, app, threaded=True, ssl_context=tls)
        self.url = f"https://127.0.0.1:{self.server.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def server(world: World) -> Iterator[Server]:
    made = Server(world.context, world.context.paths)
    yield made
    made.stop()


def login(shell: Shell, server: Server, world: World, *options: str, text: str = "") -> tuple[int, str]:
    """Sign in with the password of the operator on standard input."""
    arguments = ["login", server.url, "--name", "olga", "--password-stdin", *options]
    done = shell.run(*arguments, text=text or f"{world.password}\n")
    return done.returncode, done.stderr


def test_an_own_authority_is_trusted_by_its_fingerprint_from_then_on(world: World, server: Server) -> None:
    shell = world.shell()
    assert login(shell, server, world, "--fingerprint", server.authority.fingerprint) == (0, "")
    assert "Nothing runs" in shell.ok("ps")


def test_a_person_is_shown_the_fingerprint_and_asked(world: World, server: Server) -> None:
    shell = world.shell()
    done = shell.run("login", server.url, "--name", "olga", text=f"y\n{world.password}\n")
    assert done.returncode == 0, done.stderr
    assert server.authority.fingerprint in done.stderr
    assert "Nothing runs" in shell.ok("ps")
    server.asked.clear()
    other = world.shell()
    assert other.run("login", server.url, "--name", "olga", text=f"n\n{world.password}\n").returncode == 1
    assert server.asked == ["/ca.crt"], "no password was sent"


def test_where_nobody_can_be_asked_an_authority_without_its_fingerprint_is_refused(
    world: World, server: Server
) -> None:
    shell = world.shell()
    code, said = login(shell, server, world, text=f"y\n{world.password}\n")
    assert code == 1
    assert f"--fingerprint {server.authority.fingerprint}" in said
    assert server.asked == ["/ca.crt"], "no password was sent"
    assert not (shell.home / ".config" / "openraas").exists()


def test_another_authority_gets_no_password(world: World, server: Server) -> None:
    shell = world.shell()
    code, said = login(shell, server, world, "--fingerprint", "0" * 64)
    assert code == 1
    assert server.authority.fingerprint in said
    assert server.asked == ["/ca.crt"]
    assert not (shell.home / ".config" / "openraas").exists()


def test_a_master_that_changes_its_authority_is_trusted_no_more(
    world: World, server: Server, tmp_path: Path
) -> None:
    shell = world.shell()
    assert login(shell, server, world, "--fingerprint", server.authority.fingerprint)[0] == 0
    impostor = Server(world.context, MasterPaths(tmp_path / "impostor"))
    try:
        kept = shell.home / ".config" / "openraas" / "login.json"
        kept.write_text(kept.read_text().replace(server.url, impostor.url))
        assert "certificate" in shell.fails(1, "ps").lower()
        assert impostor.asked == [], "no token was sent"
    finally:
        impostor.stop()


def test_the_masters_certificate_is_made_anew_for_another_address_only(tmp_path: Path) -> None:
    paths = MasterPaths(tmp_path)
    authority = Authorities.load(paths).in_office
    assert paths.authority_key.stat().st_mode & 0o777 == 0o600
    assert Authorities.load(paths).in_office.fingerprint == authority.fingerprint
    authority.ensure_master(paths, "192.0.2.1")
    first = paths.certificate.read_bytes()
    authority.ensure_master(paths, "192.0.2.1")
    authority.ensure_master(paths, "127.0.0.1")
    assert paths.certificate.read_bytes() == first
    authority.ensure_master(paths, "master.example.org")
    assert paths.certificate.read_bytes() != first
    assert paths.private_key.stat().st_mode & 0o777 == 0o600
