"""What a container prints reaches its owner, and nobody else: the whole platform on a real engine."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from queue import Empty, SimpleQueue

import docker
import httpx
import psutil
import pytest
import redis

from common import names
from common.files import read_secret
from common.settings import Settings
from common.signing import Signer
from common.tickets import LogsTicket, issue
from master.accounts.models import UserRole
from master.context import MasterContext, make_context
from tests.support.platform import RunningPlatform
from tests.support.redis import wait_until
from tests.support.web import add_person, bearer
from workers.box.config import BoxConfig

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

LIMIT_S = 20.0
# Prints what is written into a file, so that a test decides when something is printed.
TALK = "touch /tmp/said; echo begun; echo trouble >&2; busybox httpd -p 8080 -h /tmp; exec busybox tail -f /tmp/said"
READERS = BoxConfig.model_fields["log_readers"].default


@pytest.fixture(scope="module", autouse=True)
def _application(platform: RunningPlatform) -> None:
    main = {
        "image": "site:1",
        "port": 8080,
        "command": ["busybox", "sh", "-c", TALK],
        "resources": {"cpu": 0.1, "memory": "32MiB", "disk": 0},
    }
    manifest = {"openraas": 1, "name": "talker", "title": "Talker", "services": {"main": main}}
    platform.call("POST", "/applications", {"manifest": manifest})


@pytest.fixture(scope="module")
def master(platform: RunningPlatform) -> MasterContext:
    """The master's own view of SQL and Redis."""
    return make_context(Settings(state_dir=platform.state_dir))


class Talker:
    """A running deployment that prints what one wants."""

    def __init__(self, platform: RunningPlatform) -> None:
        self._platform = platform
        self.deployment = platform.start("talker")
        found = platform.wait(self.deployment, "running")
        self.instance, self.generation = str(found["id"]), int(found["generation"])
        self.path = f"/api/v1/deployments/{self.deployment}/logs"

    def say(self, text: str) -> None:
        """Let the container print a line."""
        client = docker.DockerClient(base_url=self._platform.engine_url)
        label = {"label": f"openraas.instance={self.instance}"}
        command = ["busybox", "sh", "-c", f"echo {text} >> /tmp/said"]
        assert client.containers.list(filters=label)[0].exec_run(command).exit_code == 0

    def read(self, **params: object) -> str:
        """What REST answers."""
        answer = self._platform.http.get(self.path, params=params)  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        return answer.text


@pytest.fixture
def talker(platform: RunningPlatform) -> Iterator[Talker]:
    made = Talker(platform)
    wait_until(lambda: "trouble" in made.read(), LIMIT_S, "its first lines")
    yield made
    platform.stop(made.deployment)


class Following:
    """Lines of a stream, as they come, and then None."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._queue: SimpleQueue[str | None] = SimpleQueue()
        threading.Thread(target=self._take, args=(lines,), daemon=True).start()

    def _take(self, lines: Iterator[str]) -> None:
        with suppress(httpx.StreamError, httpx.TransportError):  # the test had seen enough and closed it
            for line in lines:
                self._queue.put(line.rstrip("\n"))
            self._queue.put(None)

    def until(self, wanted: str | None) -> list[str | None]:
        """Lines up to the one that is waited for."""
        seen: list[str | None] = []
        end = time.monotonic() + LIMIT_S
        while not seen or seen[-1] != wanted:
            try:
                seen.append(self._queue.get(timeout=max(0.0, end - time.monotonic())))
            except Empty:
                raise AssertionError(f"{wanted!r} did not come after {seen}") from None
        return seen


@contextmanager
def followed(platform: RunningPlatform, talker: Talker, **params: object) -> Iterator[Following]:
    query = {"follow": 1, **params}
    with platform.http.stream("GET", talker.path, params=query, timeout=LIMIT_S) as answer:  # type: ignore[arg-type]
        assert answer.status_code == 200
        try:
            yield Following(answer.iter_lines())
        finally:
            # A thread is reading it: closing alone would only count once that has waited for its timeout.
            with suppress(OSError):
                answer.extensions["network_stream"].get_extra_info("socket").shutdown(socket.SHUT_RDWR)


@contextmanager
def verb(platform: RunningPlatform, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A verb while it runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "common", *arguments], env=platform.environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=LIMIT_S)


def test_both_outputs_are_read_by_rest_page_and_command_line(
    platform: RunningPlatform, talker: Talker
) -> None:
    assert sorted(talker.read().split()) == ["begun", "trouble"]
    talker.say("third")
    wait_until(lambda: "third" in talker.read(), LIMIT_S, "the third line")
    assert talker.read(tail=1) == "third\n"
    assert talker.read(instance=talker.instance, tail=0) == ""
    assert "third" in platform.verb("logs", talker.deployment).split()
    assert json.loads(platform.verb("logs", talker.deployment, "--tail", "1", "--json")) == [
        {"instance": talker.instance, "text": "third"}
    ]


def test_who_follows_sees_later_lines_and_the_end(platform: RunningPlatform, talker: Talker) -> None:
    with followed(platform, talker, tail=0) as lines:
        talker.say("later")
        assert lines.until("later") == ["later"]
        platform.call("POST", f"/deployments/{talker.deployment}/stop")
        assert lines.until(None) == [None]


def test_the_verb_follows_until_the_instance_has_ended(platform: RunningPlatform, talker: Talker) -> None:
    with verb(platform, "logs", "-f", "--json", talker.deployment) as process:
        assert process.stdout is not None
        lines = Following(iter(process.stdout))
        lines.until(json.dumps({"instance": talker.instance, "text": "trouble"}))
        talker.say("more")
        assert lines.until(json.dumps({"instance": talker.instance, "text": "more"}))
        platform.stop(talker.deployment)
        assert lines.until(None) == [None], "nothing is told twice"
        assert process.wait(LIMIT_S) == 0


def test_the_verb_ends_cleanly_when_interrupted(platform: RunningPlatform, talker: Talker) -> None:
    with verb(platform, "logs", "-f", talker.deployment) as process:
        assert process.stdout is not None
        Following(iter(process.stdout)).until("trouble")
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_what_was_printed_is_kept_after_the_end(platform: RunningPlatform, talker: Talker) -> None:
    talker.say("goodbye")
    wait_until(lambda: "goodbye" in talker.read(), LIMIT_S, "the last line")
    platform.stop(talker.deployment)
    assert sorted(talker.read().split()) == ["begun", "goodbye", "trouble"]
    assert talker.read(tail=1) == "goodbye\n"
    assert talker.read(follow=1, tail=1) == "goodbye\n"
    assert "goodbye" in platform.verb("logs", "-f", talker.deployment)


def test_only_the_owner_and_operators_read_it(
    platform: RunningPlatform, master: MasterContext, talker: Talker
) -> None:
    _, _, other = add_person(master, "eve")
    _, _, operator = add_person(master, "oscar", UserRole.OPERATOR)
    assert httpx.get(platform.url + talker.path, headers=bearer(other)).status_code == 404
    assert httpx.get(platform.url + talker.path).status_code == 401
    assert "begun" in httpx.get(platform.url + talker.path, headers=bearer(operator)).text


def ask_box(platform: RunningPlatform, instance: str, token: str, host: str = "") -> httpx.Response:
    """Ask the box itself."""
    headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **({"Host": host} if host else {})}
    url = f"http://127.0.0.1:{platform.front_port}/_openraas/logs/{instance}"
    return httpx.get(url, headers=headers, timeout=LIMIT_S)


def ticket_for(talker: Talker, **changes: object) -> LogsTicket:
    """A good ticket, but for the changes."""
    ticket = LogsTicket(
        expires_at=time.time() + 60, instance=talker.instance, generation=talker.generation, user="u-1"
    )
    return ticket.model_copy(update=changes)


def test_the_box_believes_good_tickets_only(
    platform: RunningPlatform, master: MasterContext, talker: Talker
) -> None:
    good = issue(master.signer, ticket_for(talker))
    assert "begun" in ask_box(platform, talker.instance, good).text
    assert ask_box(platform, talker.instance, "").status_code == 401
    assert ask_box(platform, talker.instance, issue(Signer(bytes(32)), ticket_for(talker))).status_code == 401
    late = issue(master.signer, ticket_for(talker, expires_at=time.time() - 1))
    assert ask_box(platform, talker.instance, late).status_code == 401
    assert ask_box(platform, "i-other", good).status_code == 403
    other = issue(master.signer, ticket_for(talker, generation=talker.generation + 1))
    assert ask_box(platform, talker.instance, other).status_code == 404
    assert ask_box(platform, talker.instance, good, host=f"{talker.instance}.localhost").status_code == 404


def test_following_ends_with_the_tickets_time(
    platform: RunningPlatform, master: MasterContext, talker: Talker
) -> None:
    ticket = issue(master.signer, ticket_for(talker, expires_at=time.time() + 2))
    answer = ask_box(platform, f"{talker.instance}?follow=1", ticket)
    assert answer.status_code == 200
    assert sorted(answer.text.split()) == ["begun", "trouble"]


def test_places_are_limited_and_free_again_when_readers_leave(
    platform: RunningPlatform, master: MasterContext, talker: Talker
) -> None:
    ticket = issue(master.signer, ticket_for(talker))
    url = f"http://127.0.0.1:{platform.front_port}/_openraas/logs/{talker.instance}?follow=1"
    with ExitStack() as stack:
        client = stack.enter_context(httpx.Client(headers=bearer(ticket), timeout=LIMIT_S, trust_env=False))
        for _ in range(READERS):
            assert stack.enter_context(client.stream("GET", url)).status_code == 200
        refused = platform.http.get(talker.path)
        assert refused.status_code == 503
        assert "Too many" in refused.json()["message"]
    # They are silent: that nobody listens shows by the closed connections alone.
    wait_until(lambda: platform.http.get(talker.path).status_code == 200, LIMIT_S, "a free place")


def test_the_box_notices_when_somebody_leaves_who_follows_by_way_of_the_master(
    platform: RunningPlatform, talker: Talker
) -> None:
    def connections() -> set[int]:
        listed = psutil.net_connections("tcp")
        ours = [c for c in listed if c.raddr and c.raddr.port == platform.front_port]
        return {c.laddr.port for c in ours if c.status == psutil.CONN_ESTABLISHED}

    others = connections()
    with followed(platform, talker) as lines:
        lines.until("trouble")
        streams = connections() - others
        assert streams
    wait_until(lambda: not streams & connections(), LIMIT_S, "the end of the stream")


def test_a_box_that_is_away_is_named(
    platform: RunningPlatform, master: MasterContext, talker: Talker
) -> None:
    client = redis.Redis.from_url(read_secret(platform.state_dir / "secrets/redis.url"))
    key = names.status_key("box-1")
    status = json.loads(client.get(key))
    status["front"]["port"] = 1

    def refused() -> bool:
        client.set(key, json.dumps(status), ex=5)  # the box overwrites it with its next status
        answer = platform.http.get(talker.path)
        return answer.status_code == 503 and "box-1 does not answer" in answer.json()["message"]

    wait_until(refused, LIMIT_S, "an error that names the box")
    wait_until(lambda: platform.http.get(talker.path).status_code == 200, LIMIT_S, "the box's next status")


def test_bad_input_names_its_field(platform: RunningPlatform, talker: Talker) -> None:
    answer = platform.http.get(talker.path, params={"instance": "i-none"})
    assert (answer.status_code, answer.json()["field"]) == (404, "instance")
    answer = platform.http.get(talker.path, params={"tail": 10**6})
    assert (answer.status_code, answer.json()["field"]) == (422, "tail")


def test_the_page_has_a_link_that_works_without_scripts(platform: RunningPlatform, talker: Talker) -> None:
    page = platform.http.get(f"/deployments/{talker.deployment}").text
    link = f"/deployments/{talker.deployment}/logs?instance={talker.instance}"
    assert f'href="{link}"' in page
    answer = platform.http.get(link)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "begun" in answer.text
