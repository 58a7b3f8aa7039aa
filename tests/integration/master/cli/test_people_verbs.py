"""People, groups, limits, tokens and the audit log from a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from master.accounts.models import GroupRole, Scope, UserRole
from master.cli import groups, tokens
from master.web.app import create_app
from tests.support.cli import Shell
from tests.support.master import make_master
from tests.support.redis import RedisServer
from tests.support.web import add_person, serve


@pytest.fixture
def shell(tmp_path: Path, redis_server: RedisServer, quiet: None) -> Iterator[Shell]:
    context = make_master(tmp_path / "master", redis_server.url)
    _, _, token = add_person(context, "olga", UserRole.ADMINISTRATOR)
    with serve(create_app(context)) as url:
        yield Shell(tmp_path, url, token)


def test_groups_are_made_filled_and_limited(shell: Shell) -> None:
    for name in ("ada", "tom"):
        shell.ok("user", "add", name)
    shell.ok("group", "add", "class", "--title", "The class")
    shell.ok("group", "join", "class", "tom", "--role", "teacher")
    shell.ok("group", "join", "class", "ada")
    assert [line.split()[0] for line in shell.ok("group", "show", "class").splitlines()] == [
        "NAME",
        "tom",
        "ada",
    ]
    shell.ok("limit", "set", "members:class", "--cpu", "1.5", "--memory", "2GiB", "--lease", "4h")
    shell.ok("limit", "set", "members:class", "--memory", "none")
    listed = shell.ok("limit", "list").splitlines()[1].split()
    assert listed == ["members:class", "-", "1.5", "-", "-", "-", "4", "h"]
    assert "You are not limited." in shell.ok("limit", "show")
    assert "group list" in shell.fails(2, "limit", "set", "members:none", "--cpu", "1")
    shell.fails(2, "limit", "set", "everybody")
    shell.fails(2, "limit", "set", "everybody", "--memory", "a lot")
    shell.ok("limit", "remove", "members:class")
    shell.ok("group", "leave", "class", "ada")
    shell.ok("group", "remove", "class")
    assert "There is no group." in shell.ok("group", "list")
    log = shell.ok("audit", "--subject", "class")
    assert "limit.set" in log
    assert "cpu: 1.5" in log


def test_people_are_approved_and_get_a_link(shell: Shell) -> None:
    shell.ok("user", "add", "ada")
    assert "/reset?code=" in shell.ok("user", "link", "ada")
    shell.ok("user", "role", "ada", "operator")
    assert "does not wait" in shell.fails(1, "user", "reject", "ada")
    assert "There is nobody." in shell.ok("user", "list", "--pending")
    assert "ada" in shell.ok("user", "list")


def test_a_token_is_made_narrow_and_revoked(shell: Shell) -> None:
    made = shell.json("token", "add", "ci", "--scope", "deploy", "--ttl", "1h")
    assert isinstance(made, dict)
    narrow = Shell(shell.home, shell.server, made["token"])
    assert "scope" in narrow.fails(1, "user", "list")
    row = next(line.split() for line in shell.ok("token", "list").splitlines() if " ci " in line)
    shell.ok("token", "revoke", row[0])
    narrow.fails(1, "ps")


def test_the_words_of_the_verbs_are_those_of_the_models() -> None:
    assert tuple(role.value for role in GroupRole) == groups.GROUP_ROLES
    assert tuple(scope.value for scope in Scope) == tokens.SCOPES


def test_oneself_is_shown_and_changed_and_signed_out(shell: Shell) -> None:
    shell.ok("account", "change", "--full-name", "Olga Operator", "--time-zone", "Europe/Berlin")
    shown = shell.ok("account", "show")
    assert "Olga Operator" in shown
    assert "administrator" in shown
    assert "time zone" in shell.fails(2, "account", "change", "--time-zone", "Nowhere")
    shell.fails(2, "account", "change")
    assert "in no browser" in shell.ok("account", "sessions")
    shell.fails(2, "account", "sign-out")
    shell.ok("account", "sign-out", "--all")
    assert "not your password" in shell.fails(
        2, "account", "password", "--current", "guess", "--new", "a long one 12"
    )
    assert "Olga Operator" in shell.ok("user", "show", "olga")


def test_a_group_gets_another_title_and_a_limit_is_shown(shell: Shell) -> None:
    shell.ok("group", "add", "class")
    shell.ok("group", "change", "class", "--title", "The class")
    assert "The class" in shell.ok("group", "list")
    shell.ok("limit", "set", "members:class", "--cpu", "1.5", "--lease", "4h")
    lines = [line.split() for line in shell.ok("limit", "show", "members:class").splitlines()]
    assert lines == [["WHAT", "LIMIT"], ["cpu", "1.5"], ["lease", "4", "h"]]
    assert "no limit" in shell.fails(2, "limit", "show", "group:class")


def test_lists_of_what_there_is_not_yet_say_how_to_begin(shell: Shell) -> None:
    for verb in (
        ("files", "shares"),
        ("schedule", "list"),
        ("prewarm",),
        ("simulation", "list"),
        ("screens",),
    ):
        assert shell.ok(*verb).strip()
    assert "no box alpha" in shell.fails(2, "box", "runs", "alpha")
    assert "openraas box join" in shell.ok("box", "token", "--own")
    shell.fails(2, "box", "token", "--own", "--ttl", "5min")
    assert shell.fails(1, "files", "usage")
