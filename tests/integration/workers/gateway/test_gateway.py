"""The gateway with real nginx: tickets, cookies, what the application sees, WebSockets, layers."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import time
from contextlib import suppress
from typing import Any

import pytest

from common.addresses import is_loopback
from common.signing import Signer
from common.tickets import OpenTicket, PeopleTicket, issue
from common.words import SessionMode
from tests.support.box import save_certificate
from tests.support.gateway import Gateway
from tests.support.redis import free_port, wait_until
from workers.box.config import NICENESS, BoxConfig, BoxPaths
from workers.box.table import Table
from workers.compute.activity import UseTable
from workers.compute.shares import EndedShares
from workers.gateway.nginx import instance_suffix, render, server_command


def seen(body: bytes) -> Any:
    return json.loads(body)


def test_a_ticket_becomes_a_cookie_that_opens_the_application(gateway: Gateway) -> None:
    status, headers, _ = gateway.ask("GET", f"/_openraas/enter?ticket={gateway.ticket()}")
    assert (status, headers["location"]) == (303, "/")
    cookie = headers["set-cookie"]
    assert cookie.startswith("__Host-openraas=")
    for word in ("Path=/", "Secure", "HttpOnly", "SameSite=Lax"):
        assert f"; {word}" in cookie
    status, _, body = gateway.ask("GET", "/some/page?x=1", Cookie=cookie.split(";")[0])
    assert status == 200
    assert seen(body)["path"] == "/some/page?x=1"


def test_nginx_goes_before_what_was_started_with_the_same_priority(gateway: Gateway) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may take a priority")
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, gateway.nginx.pid) == max(-20, own + NICENESS)


def test_without_a_ticket_there_is_a_page_with_a_link_to_the_portal(gateway: Gateway) -> None:
    status, headers, body = gateway.ask("GET", "/")
    assert status == 401
    assert headers["content-type"].startswith("text/html")
    assert b'href="http://127.0.0.1:8080"' in body


def test_a_ticket_opens_once(gateway: Gateway) -> None:
    path = f"/_openraas/enter?ticket={gateway.ticket()}"
    assert gateway.ask("GET", path)[0] == 303
    status, _, body = gateway.ask("GET", path)
    assert status == 401
    assert b"used already" in body


def test_wrong_expired_and_foreign_tickets_say_what_is_wrong(gateway: Gateway) -> None:
    gateway.add("i-2")
    forged = issue(
        Signer(bytes(32)),
        OpenTicket(instance="i-1", generation=1, user="u", once="x", expires_at=9e9, session_until=9e9),
    )
    for ticket, words in (
        ("nonsense", b"was not issued by the master"),
        (forged, b"was not issued by the master"),
        (gateway.ticket(expires_at=time.time() - 1), b"has expired"),
        (gateway.ticket("i-2"), b"is for another instance"),
        ("", b"has no ticket"),
    ):
        status, headers, body = gateway.ask("GET", f"/_openraas/enter?ticket={ticket}")
        assert status == 401
        assert words in body
        assert "set-cookie" not in headers


def test_a_cookie_opens_its_own_instance_and_generation_only(gateway: Gateway) -> None:
    gateway.add("i-2")
    cookie = gateway.enter("i-1")
    assert gateway.ask("GET", "/", "i-2.localhost", Cookie=cookie)[0] == 401
    assert gateway.ask("GET", "/", Cookie=cookie[:-2] + "xx")[0] == 401
    gateway.add("i-1", generation=2)
    assert gateway.ask("GET", "/", Cookie=cookie)[0] == 401


def test_an_expired_session_is_told_as_such(gateway: Gateway) -> None:
    cookie = gateway.enter(session_until=time.time() - 10)
    status, _, body = gateway.ask("GET", "/", Cookie=cookie)
    assert status == 401
    assert b"session has ended" in body


def test_an_instance_that_is_not_ready_has_ended_or_never_was_has_a_page_for_it(gateway: Gateway) -> None:
    gateway.add("i-2", ready=False)
    status, _, body = gateway.ask("GET", "/", "i-2.localhost", Cookie=gateway.enter("i-2"))
    assert status == 503
    assert b"Not ready yet" in body
    cookie = gateway.enter("i-1")
    row = gateway.instances.get("i-1")
    assert row is not None
    gateway.instances.end(row)
    assert gateway.ask("GET", "/", Cookie=cookie)[0] == 410
    assert gateway.ask("GET", "/", "i-9.localhost", Cookie=gateway.enter("i-9"))[0] == 404


def test_an_application_that_does_not_answer_has_a_page_for_it(gateway: Gateway) -> None:
    cookie = gateway.enter()
    gateway.application.shutdown()
    gateway.application.server_close()
    status, _, body = gateway.ask("GET", "/", Cookie=cookie)
    assert status == 502
    assert b"does not answer" in body


def test_the_application_sees_its_own_cookies_and_true_forwarding_headers_only(gateway: Gateway) -> None:
    ours = gateway.enter()
    for cookies, left in (
        (ours, None),
        (f"{ours}; a=1", "a=1"),
        (f"a=1; {ours}", "a=1"),
        (f"a=1; {ours}; b=2", "a=1; b=2"),
    ):
        _, _, body = gateway.ask(
            "GET",
            "/",
            Cookie=cookies,
            X_Openraas_Upstream="127.0.0.1:1",
            X_Openraas_Instance="i-2",
            X_Forwarded_For="6.6.6.6",
            X_Forwarded_Proto="gopher",
        )
        headers = seen(body)["headers"]
        assert headers.get("cookie") == left
        assert headers["host"] == f"i-1.localhost:{gateway.config.front_port}"
        assert headers["x-forwarded-for"] == "127.0.0.1"
        assert headers["x-forwarded-proto"] == "http"
        assert not [name for name in headers if name.startswith("x-openraas")]


def test_bodies_reach_the_application(gateway: Gateway) -> None:
    _, _, body = gateway.ask("POST", "/save", Cookie=gateway.enter(), body=b"x" * 3_000_000)
    assert len(seen(body)["body"]) == 3_000_000


def test_streams_are_not_held_back(gateway: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", gateway.config.front_port), timeout=10) as client:
        request = f"GET /stream HTTP/1.1\r\nHost: i-1.localhost\r\nCookie: {gateway.enter()}\r\n\r\n"
        client.sendall(request.encode())
        received = b""
        while b"first" not in received:
            received += client.recv(4096)
        assert b"second" not in received


def _open_websocket(gateway: Gateway, cookie: str, origin: str) -> tuple[bytes, socket.socket]:
    client = socket.create_connection(("127.0.0.1", gateway.config.front_port), timeout=10)
    client.sendall(
        (
            f"GET /socket HTTP/1.1\r\nHost: i-1.localhost:{gateway.config.front_port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nOrigin: {origin}\r\nCookie: {cookie}\r\n\r\n"
        ).encode()
    )
    return client.recv(4096).split(b"\r\n")[0], client


def test_websockets_pass_from_the_own_origin_and_from_no_other(gateway: Gateway) -> None:
    cookie = gateway.enter()
    status, client = _open_websocket(gateway, cookie, f"http://i-1.localhost:{gateway.config.front_port}")
    with client:
        assert b"101" in status
        client.sendall(b"ping")
        assert client.recv(4096) == b"ping"
    status, client = _open_websocket(gateway, cookie, f"http://i-2.localhost:{gateway.config.front_port}")
    client.close()
    assert b"403" in status


def test_a_websocket_ends_with_the_application_behind_it(gateway: Gateway) -> None:
    origin = f"http://i-1.localhost:{gateway.config.front_port}"
    status, client = _open_websocket(gateway, gateway.enter(), origin)
    with client:
        assert b"101" in status
        client.sendall(b"end")  # the far end is closed, as the kernel does when a lease's container ends
        assert client.recv(4096) == b""


def test_a_request_counts_as_use_of_its_instance(gateway: Gateway) -> None:
    uses = UseTable(Table(gateway.paths.table))
    cookie = gateway.enter()
    assert uses.all() == {}
    assert gateway.ask("GET", "/", Cookie=cookie[:-2] + "xx")[0] == 401
    assert uses.all() == {}, "whoever was refused uses nothing"
    assert gateway.ask("GET", "/", Cookie=cookie)[0] == 200
    assert uses.all().keys() == {("i-1", 1)}


def test_a_guests_open_connection_is_cut_with_the_invitation_and_the_owners_is_not(gateway: Gateway) -> None:
    origin = f"http://i-1.localhost:{gateway.config.front_port}"
    guest = gateway.enter(share="s-1", name="Grace")
    assert gateway.ask("GET", "/", Cookie=guest)[0] == 200
    _, theirs = _open_websocket(gateway, guest, origin)
    _, mine = _open_websocket(gateway, gateway.enter(name="ada"), origin)
    with theirs, mine:
        theirs.sendall(b"guest")
        assert theirs.recv(4096) == b"guest"
        EndedShares(gateway.table).end("i-1", ["s-1"])
        assert theirs.recv(4096) == b""
        mine.sendall(b"owner")
        assert mine.recv(4096) == b"owner"
    status, _, page = gateway.ask("GET", "/", Cookie=guest)
    assert (status, b"This invitation has ended" in page) == (403, True)


def test_who_is_there_is_told_to_whom_the_master_lets(gateway: Gateway) -> None:
    gateway.ask("GET", "/", Cookie=gateway.enter(share="s-1", name="Grace"))
    gateway.ask("GET", "/", Cookie=gateway.enter(name="ada"))

    def people(**changes: Any) -> tuple[int, bytes]:
        values = {"instance": "i-1", "generation": 1, "user": "u", "expires_at": time.time() + 60, **changes}
        token = issue(gateway.signer, PeopleTicket(**values))
        answer = gateway.ask("GET", "/_openraas/people/i-1", "127.0.0.1", Authorization=f"Bearer {token}")
        return answer[0], answer[2]

    status, body = people()
    assert status == 200
    found = [(person["name"], person["share"]) for person in json.loads(body)["people"]]
    assert found == [("Grace", "s-1"), ("ada", None)]
    assert people(instance="i-2")[0] == 403
    assert people(expires_at=time.time() - 1)[0] == 401
    assert gateway.ask("GET", "/_openraas/people/i-1", "127.0.0.1")[0] == 401


def test_what_cannot_be_watched_lets_no_watcher_in(gateway: Gateway) -> None:
    cookie = gateway.enter(share="s-1", mode=SessionMode.WATCH)
    status, _, page = gateway.ask("GET", "/", Cookie=cookie)
    assert (status, b"It cannot be watched" in page) == (403, True)


def test_another_instances_page_cannot_use_the_persons_session(gateway: Gateway) -> None:
    cookie = gateway.enter()
    other = f"http://i-2.localhost:{gateway.config.front_port}"
    assert gateway.ask("POST", "/", Cookie=cookie, Origin=other, body=b"x")[0] == 403
    assert (
        gateway.ask("GET", "/", Cookie=cookie, Sec_Fetch_Site="same-site", Sec_Fetch_Mode="no-cors")[0] == 403
    )
    followed = {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert gateway.ask("GET", "/", Cookie=cookie, **followed)[0] == 200


def test_an_application_cannot_make_the_gateway_serve_something_else(gateway: Gateway) -> None:
    status, _, body = gateway.ask("GET", "/steal", Cookie=gateway.enter())
    assert (status, body) == (200, b"{}")


def test_inner_paths_are_not_for_browsers(gateway: Gateway) -> None:
    for path in (
        "/_openraas/auth",
        "/_openraas/refused",
        "/_openraas/silent",
        "/_openraas/else",
        "/_store/sha256/abc",
    ):
        for host in ("i-1.localhost", "127.0.0.1"):
            assert gateway.ask("GET", path, host)[0] in (401, 404)


def test_the_box_serves_layers_health_and_round_trips_under_its_own_name(gateway: Gateway) -> None:
    assert gateway.ask("GET", "/healthz", "127.0.0.1")[0] == 200
    assert gateway.ask("GET", "/_openraas/ping", "127.0.0.1")[0] == 204
    assert gateway.ask("GET", "/_openraas/ping")[0] == 204
    assert gateway.ask("GET", "/v2/x/blobs/abc", "127.0.0.1")[2] == b"the blob"
    status, _, part = gateway.ask("GET", "/v2/x/blobs/abc", "127.0.0.1", Range="bytes=4-7")
    assert (status, part) == (206, b"blob")
    assert gateway.ask("PUT", "/v2/x", "127.0.0.1", body=b"y" * 2_000_000)[2] == b"2000000"
    status, _, body = gateway.ask("GET", "/anything", "127.0.0.1")
    assert (status, body) == (404, b"There is nothing here.\n")


def test_the_log_has_no_query_and_the_answer_no_version(gateway: Gateway) -> None:
    _, headers, _ = gateway.ask("GET", "/_openraas/enter?ticket=marked-secret")
    assert headers["server"] == "nginx"
    gateway.nginx.terminate()
    gateway.nginx.wait(10)
    text = gateway.log.read_text()
    assert "/_openraas/enter" in text
    assert "marked-secret" not in text


def test_a_session_ends_with_the_lease_that_the_box_has_and_not_after_itself(gateway: Gateway) -> None:
    now = time.time()
    cookie = gateway.enter(session_until=now + 5000)

    def ends_at() -> float:
        return float(seen(gateway.ask("GET", "/_openraas/session", Cookie=cookie)[2])["ends_at"])

    assert ends_at() == now + 5000
    gateway.lease(now + 400)
    assert ends_at() == now + 400
    gateway.lease(now + 9000, version=2)
    assert ends_at() == now + 5000


def test_sessions_outlive_a_restart_of_the_front_process(gateway: Gateway) -> None:
    from common.signing import Verifier
    from workers.box.table import Table
    from workers.gateway.auth import Auth

    value = gateway.enter().split("=", 1)[1]
    again = Auth(
        gateway.config, gateway.paths, Table(gateway.paths.table), Verifier(gateway.signer.public_key)
    )
    assert again._jar.read(value).instance == "i-1"
    key = gateway.paths.gateway / "cookie.key"
    assert key.stat().st_mode & 0o077 == 0


def far_away(gateway: Gateway) -> tuple[BoxConfig, BoxPaths]:
    """The same box off loopback."""
    config = BoxConfig(
        box="near", state_dir=gateway.config.state_dir, address="192.0.2.7", front_port=free_port()
    )
    assert not is_loopback(config.address)
    save_certificate(config)
    return config, BoxPaths(config.state_dir)


def test_off_loopback_the_gateway_speaks_tls_only(gateway: Gateway) -> None:
    config, paths = far_away(gateway)
    assert instance_suffix(config, "apps.example.org") == "near.apps.example.org"
    text = render(config, paths, "apps.example.org")
    assert f"listen 192.0.2.7:{config.front_port} ssl;" in text
    assert r"near\.apps\.example\.org" in text
    file = gateway.paths.gateway / "tls.conf"
    file.write_text(text)
    checked = subprocess.run(["nginx", "-t", "-c", file], capture_output=True, text=True, check=False)
    assert "syntax is ok" in checked.stderr


def test_a_renewed_certificate_is_shown_without_a_restart(gateway: Gateway) -> None:
    config, paths = far_away(gateway)
    file = gateway.paths.gateway / "tls.conf"
    file.write_text(render(config, paths, "apps.example.org").replace("192.0.2.7", "127.0.0.1"))
    with gateway.log.open("ab") as output:
        nginx = subprocess.Popen(
            ["nginx", "-p", paths.gateway, "-c", file, "-g", "daemon off;"], stdout=output, stderr=output
        )

    def shown() -> str:
        return ssl.get_server_certificate(("127.0.0.1", config.front_port))

    def answers() -> bool:
        assert nginx.poll() is None, gateway.log.read_text()
        with suppress(OSError):
            return bool(shown())
        return False

    try:
        wait_until(answers, 10, "nginx with TLS")
        before = shown()
        save_certificate(config)
        assert shown() != before
        assert shown().split() == paths.certificate.read_text().split()
    finally:
        nginx.kill()
        nginx.wait(10)


def test_after_nginx_was_killed_the_next_one_has_the_port(gateway: Gateway) -> None:
    cookie = gateway.enter()
    gateway.nginx.kill()
    gateway.nginx.wait(10)
    with gateway.log.open("wb") as output:
        gateway.nginx = subprocess.Popen(
            server_command(gateway.config, gateway.paths), stdout=output, stderr=output
        )

    def answers() -> bool:
        assert gateway.nginx.poll() is None, gateway.log.read_text()
        with suppress(OSError):
            return gateway.ask("GET", "/x", Cookie=cookie)[0] == 200
        return False

    wait_until(answers, 10, "the next nginx")
    assert "bind()" not in gateway.log.read_text()
