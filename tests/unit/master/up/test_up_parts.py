"""Parts of `openraas up` that need nothing running."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from werkzeug.test import Client

from common.errors import NotFound, Unavailable
from common.settings import Settings, load_settings
from master.up import building, engine, redis_server, samples, units
from master.up.layout import Layout
from master.up.programs import environment, master_programs
from master.up.settings_view import rows
from master.web import redirect


@pytest.fixture
def conf(tmp_path: Path) -> Settings:
    return load_settings(state_dir=tmp_path / "state")


def redis_configuration(conf: Settings) -> list[str]:
    layout = Layout(conf.state_dir)
    redis_server.program(conf, layout)
    return (layout.redis / "redis.conf").read_text().splitlines()


def test_redis_listens_on_loopback_with_a_random_password_and_keeps_a_log(conf: Settings) -> None:
    lines = redis_configuration(conf)
    assert {"bind 127.0.0.1", f"port {conf.redis_port}", "appendonly yes"} <= set(lines)
    layout = Layout(conf.state_dir)
    url = layout.master.redis_url.read_text().strip()
    password = url.removeprefix("redis://:").partition("@")[0]
    assert len(password) >= 32
    assert password in layout.redis_users.read_text()
    for secret in (layout.master.redis_url, layout.redis_users, layout.redis / "redis.conf"):
        assert secret.stat().st_mode & 0o077 == 0


def test_redis_on_another_address_speaks_tls_only(tmp_path: Path) -> None:
    conf = load_settings(state_dir=tmp_path, listen="192.0.2.1")
    lines = redis_configuration(conf)
    assert {"port 0", f"tls-port {conf.redis_port}", "bind 127.0.0.1 192.0.2.1"} <= set(lines)
    assert Layout(tmp_path).master.redis_url.read_text().startswith("rediss://")


def test_a_second_start_keeps_the_password_and_the_users_of_boxes(conf: Settings) -> None:
    redis_configuration(conf)
    layout = Layout(conf.state_dir)
    url = layout.master.redis_url.read_text()
    with layout.redis_users.open("a") as file:
        file.write("user box-b1 on #0 ~status:b1 +get\n")
    redis_configuration(conf)
    assert layout.master.redis_url.read_text() == url
    assert "box-b1" in layout.redis_users.read_text()


def test_programs_see_the_settings_that_were_given(tmp_path: Path) -> None:
    conf = load_settings(state_dir=tmp_path, web_port=9001, session_s="2h")
    given = environment(conf)
    assert given["OPENRAAS_WEB_PORT"] == "9001"
    assert "OPENRAAS_REDIS_PORT" not in given
    assert load_settings(state_dir=tmp_path, session_s=given["OPENRAAS_SESSION_S"]).session_s == 7200


def test_programs_see_secrets_and_lists_as_they_were_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = Settings(
        state_dir=tmp_path,
        openid_issuer="https://x.test",
        openid_client_id="portal",
        openid_client_secret=SecretStr("hush"),
        openid_groups={"cs101": "class"},
    )
    for name, value in environment(given).items():
        monkeypatch.setenv(name, value)
    assert Settings() == given


def test_with_tls_asked_for_the_portal_speaks_it_on_loopback_too(tmp_path: Path) -> None:
    def commands(**values: Any) -> dict[str, str]:
        conf = Settings(state_dir=tmp_path, **values)
        return {
            program.name: " ".join(program.command) for program in master_programs(conf, Layout(tmp_path))
        }

    plain, secure = commands(redirect_port=8081), commands(tls="internal", redirect_port=8081)
    assert ("--certfile" in plain["web"], "redirect" in plain) == (False, False)
    assert ("--certfile" in secure["web"], "127.0.0.1:8081" in secure["redirect"]) == (True, True)
    assert "--certfile" in commands(listen="192.0.2.1")["web"]


@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("portal.test", "https://portal.test:8443/boxes?x=1"),
        ("portal.test:80", "https://portal.test:8443/boxes?x=1"),
        ("[::1]:80", "https://[::1]:8443/boxes?x=1"),
        ("[::1]", "https://[::1]:8443/boxes?x=1"),
    ],
)
def test_who_comes_without_tls_is_sent_on(host: str, target: str) -> None:
    answer = Client(redirect.make(8443)).get("/boxes?x=1", headers={"Host": host})
    assert (answer.status_code, answer.headers["Location"]) == (308, target)
    assert Client(redirect.make(8443)).get("/", headers={"Host": "a b"}).status_code == 400


def test_as_many_schedulers_are_kept_running_as_are_set(tmp_path: Path) -> None:
    found = {
        program.name: program.command
        for program in master_programs(
            load_settings(state_dir=tmp_path, scheduler_processes=3), Layout(tmp_path)
        )
    }
    schedulers = {name: command[3:] for name, command in found.items() if name.startswith("scheduler")}
    assert schedulers == {"scheduler": (), "scheduler-2": ("2",), "scheduler-3": ("3",)}


def test_no_password_stands_on_a_command_line(tmp_path: Path) -> None:
    conf = load_settings(
        state_dir=tmp_path,
        redis_url="redis://:hunter2@127.0.0.1:1/0",
        database_url="postgresql://u:hunter2@h/d",
    )
    for program in master_programs(conf, Layout(tmp_path)):
        assert "hunter2" not in " ".join(program.command)


def test_configuration_is_shown_without_its_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENRAAS_REDIS_URL", "rediss://me:hunter2@redis.example:6379/0")
    monkeypatch.setenv("OPENRAAS_WEB_PORT", "9001")
    found = {row.name: row for row in rows(load_settings(state_dir=tmp_path))}
    assert found["redis_url"].value == "rediss://me:…@redis.example:6379/0"
    assert (found["web_port"].value, found["web_port"].source) == (9001, "OPENRAAS_WEB_PORT")
    assert found["redis_port"].source == "default"


def test_a_service_leaves_instances_running_when_it_restarts(tmp_path: Path) -> None:
    unit = units.platform_unit(load_settings(state_dir=tmp_path / "a b%"))
    assert "up --leave-running" in unit.text
    assert "KillMode=process" in unit.text
    assert f'Environment="OPENRAAS_STATE_DIR={tmp_path}/a b%%"' in unit.text
    assert "box run --state-dir /srv/box" in units.box_unit(Path("/srv/box")).text


def test_every_sample_is_whole(conf: Settings) -> None:
    names = samples.every_name(conf)
    assert {"site", "notebook", "shell", "desktop", "freedoom", "inkscape", "wine"} <= set(names)
    for name in names:
        sample = samples.find(conf, name)
        assert sample.manifest.name == name
        assert sample.images == [f"{name}:1"]
        bases = building.bases(sample.folder / "Dockerfile")
        while bases != [building.BASE_IMAGE]:
            # Else it builds on a folder beside it.
            (base,) = bases
            bases = building.bases(sample.folder.parent / base.partition(":")[0] / "Dockerfile")
        content = ("content", samples.CONTENT_DOCKERFILE)
        assert not sample.filesets or any((sample.folder / place).exists() for place in content)


def test_an_unknown_sample_is_named(conf: Settings) -> None:
    with pytest.raises(NotFound, match="no-such"):
        samples.find(conf, "no-such")


def test_a_build_reaches_the_index_that_this_machine_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "file:///only/here https://more.example/simple")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("npm_config_registry", "https://npm.example/")
    given = building.build_arguments()
    assert given["PIP_INDEX_URL"] == "https://index.example/simple"
    assert given["PIP_EXTRA_INDEX_URL"] == "https://more.example/simple"
    assert given["npm_config_registry"] == "https://npm.example/"
    assert given["https_proxy"] == "http://proxy.example:3128"


def test_a_build_sees_the_folder_and_this_machines_certificates(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "content").mkdir()
    (tmp_path / "content" / "index.html").write_text("hello")
    with tarfile.open(fileobj=building._context(tmp_path)) as tar:
        names = set(tar.getnames())
    assert {"Dockerfile", "content/index.html"} <= names
    assert (building.CERTIFICATES_NAME in names) == building.CERTIFICATES.is_file()


def test_an_engine_that_docker_host_names_must_answer(
    monkeypatch: pytest.MonkeyPatch, conf: Settings
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such/docker.sock")
    with pytest.raises(Unavailable, match="DOCKER_HOST"):
        engine.choose(Layout(conf.state_dir))


def test_an_engine_of_our_own_that_was_used_before_is_used_again(conf: Settings) -> None:
    layout = Layout(conf.state_dir)
    (layout.engine / "data").mkdir(parents=True)
    assert engine.choose(layout) == f"unix://{layout.engine_socket}"


@pytest.mark.parametrize("version", ["7.0.15", "7.2.4", "8.0.0", "10.1"])
def test_a_redis_of_ones_own_that_is_new_enough_is_taken(version: str) -> None:
    redis_server.check_version(version, "there")


@pytest.mark.parametrize("version", ["6.2.14", "5.0", "", "unknown"])
def test_a_redis_of_ones_own_that_is_too_old_is_named_with_what_is_needed(version: str) -> None:
    with pytest.raises(Unavailable, match=r"Redis at there has the version .*7\.0 is the oldest") as caught:
        redis_server.check_version(version, "there")
    assert "unset OPENRAAS_REDIS_URL" in str(caught.value)
