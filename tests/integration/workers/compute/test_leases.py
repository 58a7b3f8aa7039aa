"""What a box does about leases and use by itself, with a real engine: the master is not asked."""

from __future__ import annotations

import contextlib
import socket
import time

import pytest

from common.reports import Activity
from common.words import Role
from tests.support.compute_role import Running
from tests.support.redis import wait_until
from workers.compute import activity
from workers.compute.activity import SUBJECT, UseTable

pytestmark = pytest.mark.engine


def connect(running: Running, instance: str) -> socket.socket:
    """A connection to the container that stays open, as a WebSocket through the gateway is one."""
    host, _, port = running.address(instance).partition(":")
    client = socket.create_connection((host, int(port)), timeout=20)
    client.sendall(b"GET / HTTP/1.1\r\n")  # the head is not over, so the server waits
    return client


def test_a_lease_that_ends_is_cleaned_up_by_the_box_alone_and_cuts_open_connections(running: Running) -> None:
    wish = running.want(running.wish(lease_end=time.time() + 3600))
    running.box.reports.wait_for("i-1", "running")
    with connect(running, "i-1") as client:
        # The last that the master said; from here on nobody tells the box anything.
        ending = wish.model_copy(update={"version": 2, "lease_end": time.time() + 1})
        running.want(ending)
        wait_until(
            lambda: running.role._context.wishes.current(Role.COMPUTE, "i-1") != wish, 10, "the new lease"
        )

        def is_over() -> bool:
            running.driver.converge_all()
            return running.is_clean("i-1")

        wait_until(is_over, 30, "the instance's end")
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
    running.box.reports.wait_for("i-1", "stopped")


def test_use_is_told_by_connections_and_by_requests_and_lack_of_use_by_nothing(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOOK_EVERY_S", "REPORT_EVERY_S", "NOTE_EVERY_S", "CPU_EVERY_S"):
        monkeypatch.setattr(activity, name, 0.0)
    for name in ("i-1", "i-2", "i-3"):
        running.want(running.wish(name))
        running.box.reports.wait_for(name, "running")

    def told() -> dict[str, float]:
        running.role._activity.look()
        reports = running.box.reports.of(SUBJECT, "activity")
        report = reports[-1] if reports else None
        assert report is None or isinstance(report, Activity)
        return report.idle_s if report is not None else {}

    wait_until(lambda: told().keys() == {"i-1", "i-2", "i-3"}, 20, "a report about all")
    with connect(running, "i-1"):
        wait_until(lambda: told()["i-3"] > 2, 20, "some time without use")
        UseTable(running.box.context.table).note("i-2", 1)  # as the front does with each request

        def are_told_apart() -> bool:
            idle = told()
            return max(idle["i-1"], idle["i-2"]) + 1 < idle["i-3"]

        wait_until(are_told_apart, 20, "what is in use beside what is not")
    wait_until(lambda: told()["i-1"] > 3, 20, "the end of use")


def test_what_computes_is_in_use(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_EVERY_S", "REPORT_EVERY_S", "NOTE_EVERY_S"):
        monkeypatch.setattr(activity, name, 0.0)
    monkeypatch.setattr(activity, "CPU_EVERY_S", 0.5)
    monkeypatch.setattr(activity, "BUSY_CORES", 0.01)
    busy = ["sh", "-c", "httpd -p 8000 -h /www; while :; do :; done"]
    for name, service in (("i-1", {"command": busy}), ("i-2", {})):
        running.want(running.wish(name, service=service))
        running.box.reports.wait_for(name, "running")

    def is_told_apart() -> bool:
        running.role._activity.look()
        reports = running.box.reports.of(SUBJECT, "activity")
        report = reports[-1] if reports else None
        return isinstance(report, Activity) and report.idle_s["i-1"] + 2 < report.idle_s["i-2"]

    wait_until(is_told_apart, 40, "an instance that nobody used beside one that computes")
