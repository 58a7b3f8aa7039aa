"""Simulations on the master: the keeper with its processes, the pages, REST."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from common.errors import BadInput, TooMany
from master.accounts.models import User, UserRole
from master.context import MasterContext
from master.simulation import services
from master.simulation.keeper import Keeper
from master.simulation.models import Simulation
from master.simulation.services import MOST_AT_ONCE, State, Wanted
from master.web.app import create_app
from tests.support.master import make_master
from tests.support.redis import RedisServer
from tests.support.web import add_person, bearer, csrf_token, sign_in

TINY = ("people.count=20", "servers.count=3", "slots.count=2", "tasks.desktop.applications=2")
ENDS_S = 240.0  # the process gives way to everything else, also to other tests


@pytest.fixture
def context(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    return make_master(tmp_path, redis_server.url)


@pytest.fixture
def operator(context: MasterContext) -> tuple[User, str, str]:
    return add_person(context, "ada", UserRole.OPERATOR)


@pytest.fixture
def keeper(context: MasterContext) -> Iterator[Keeper]:
    """One that the test lets look; it is ended with what it runs."""
    made = Keeper(context)
    yield made
    made._give_up()


@pytest.fixture
def client(context: MasterContext, operator: tuple[User, str, str]) -> FlaskClient:
    """The browser of Ada, an operator."""
    client = create_app(context).test_client()
    sign_in(client, "ada", operator[1])
    return client


def ask(context: MasterContext, user: User, **changes: Any) -> str:
    """Ask for a small simulation; its id."""
    values: dict[str, Any] = {
        "name": "openraas-paper",
        "settings": TINY,
        "policies": ["nearest", "start-soonest"],
        "seeds": 2,
        **changes,
    }
    with context.database.write() as session:
        return services.request_simulation(session, user, Wanted(**values)).id


def look_at(context: MasterContext, name: str) -> Simulation:
    with context.database.read() as session:
        return services.find_simulation(session, name)


def keep(keeper: Keeper, until: Callable[[], bool]) -> None:
    """Let the keeper look until something holds."""
    end = time.monotonic() + ENDS_S
    while not until():
        assert time.monotonic() < end, "the keeper does not come to an end"
        keeper.look()
        time.sleep(0.05)


def test_a_simulation_runs_in_a_process_of_its_own_and_leaves_table_plots_and_files(
    context: MasterContext, operator: tuple[User, str, str], keeper: Keeper, client: FlaskClient
) -> None:
    name = ask(context, operator[0])
    assert "It begins when those before it are done" in client.get(f"/simulations/{name}").text
    keep(keeper, lambda: State(look_at(context, name).state).is_over)
    found = look_at(context, name)
    assert (found.state, found.error) == (State.DONE, None)
    assert found.done_steps == found.steps == 2 * 2 * 2
    assert not any(context.paths.simulations.iterdir()), "the process's folder is gone"
    page = client.get(f"/simulations/{name}")
    assert "start-soonest" in page.text
    assert "2 seeds make wide intervals" in page.text
    assert "unsafe-inline" not in page.headers["Content-Security-Policy"]
    plot = client.get(f"/simulations/{name}/files/plot-01.svg")
    assert plot.mimetype == "image/svg+xml"
    assert b"Dropped requests" in plot.data
    assert "sandbox" in plot.headers["Content-Security-Policy"]
    assert "attachment" not in plot.headers.get("Content-Disposition", "")
    report = client.get(f"/simulations/{name}/files/report.html")
    assert report.headers["Content-Disposition"].startswith("attachment")
    assert client.get(f"/simulations/{name}/files/figures.csv").text.startswith("scenario,policy,seed")
    assert client.get(f"/simulations/{name}/files/figures.parquet").data[:4] == b"PAR1"
    result = json.loads(client.get(f"/simulations/{name}/files/result.json").data)
    assert set(result["policies"]) == {"nearest", "start-soonest"}
    assert client.get(f"/simulations/{name}/files/job.json").status_code == 404


def test_the_form_runs_a_scenario_of_ones_own_with_the_trace_that_it_replays(
    context: MasterContext, keeper: Keeper, client: FlaskClient
) -> None:
    page = client.get("/simulations/new").text
    form = {
        "csrf_token": csrf_token(page),
        "name": "openraas-paper",
        "text": (BytesIO(b"base: nearest-with-room\nname: mine\ntrace: {file: day.csv}\n"), "mine.yaml"),
        "trace": (
            BytesIO(b"arrival_s,duration_s,cpu,memory_bytes,task\n0,60,1,0,plain\n9,60,1,0,plain\n"),
            "day.csv",
        ),
        "settings": "servers.count=2\n",
        "policies": ["nearest", "random"],
        "seeds": "1",
        "first_seed": "4",
    }
    answer = client.post("/simulations/new", data=form, content_type="multipart/form-data")
    assert answer.status_code == 303, answer.text
    name = answer.headers["Location"].rpartition("/")[2]
    keep(keeper, lambda: State(look_at(context, name).state).is_over)
    found = look_at(context, name)
    assert (found.state, found.error, found.name, found.first_seed) == (State.DONE, None, "mine", 4)
    assert found.policies == ["nearest", "random"]
    assert "mine" in client.get("/simulations").text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"policies": []}, "No policy was chosen"),
        ({"policies": ["best"]}, "There is no policy best"),
        ({"seeds": "many"}, "A whole number is needed here"),
        ({"settings": "people.count=-1"}, "people.count"),
        (
            {"name": "nearest-with-room", "settings": "trace.file=/etc/passwd"},
            "trace.file is what was sent along",
        ),
        ({"text": (BytesIO(b"base: /etc/passwd\n"), "x.yaml")}, "There is no scenario /etc/passwd here"),
        ({"text": (BytesIO(b"base: openraas-paper\nslots: {count: 0}\n"), "x.yaml")}, "line 2: slots.count"),
        (
            {"text": (BytesIO(b"base: openraas-paper\ntrace: {file: x.csv}\n"), "x.yaml")},
            "did not come along",
        ),
    ],
)
def test_what_cannot_be_simulated_is_told_beside_the_form(
    client: FlaskClient, context: MasterContext, changes: dict[str, Any], says: str
) -> None:
    form = {
        "csrf_token": csrf_token(client.get("/simulations/new").text),
        "name": "openraas-paper",
        "settings": "",
        "policies": ["nearest"],
        "seeds": "1",
        "first_seed": "0",
        **changes,
    }
    answer = client.post("/simulations/new", data=form, content_type="multipart/form-data")
    assert answer.status_code == 422
    assert says in answer.text.replace("&#39;", "'")
    with context.database.read() as session:
        assert not services.list_simulations(session)


def test_a_bad_line_of_a_trace_is_told_without_the_masters_paths(
    context: MasterContext, operator: tuple[User, str, str], keeper: Keeper
) -> None:
    text = "base: nearest-with-room\ntrace: {file: day.csv}\n"
    trace = "arrival_s,duration_s,cpu,memory_bytes,task\n0,x,1,0,plain\n"
    name = ask(context, operator[0], name="", text=text, trace=trace, settings=())
    keep(keeper, lambda: State(look_at(context, name).state).is_over)
    assert (look_at(context, name).error or "").startswith("trace.csv, line 2: duration_s: 'x' is not")


def test_a_text_that_unfolds_without_end_is_refused_in_time() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    with pytest.raises(BadInput, match="more than 50000 values"):
        services._scenario(Wanted(text="\n".join(lines)))


def test_one_that_is_stopped_ends_its_process_and_one_that_is_removed_is_gone(
    context: MasterContext, operator: tuple[User, str, str], keeper: Keeper, client: FlaskClient
) -> None:
    name = ask(context, operator[0], settings=("people.count=3000", "slots.count=50"))
    keep(keeper, lambda: look_at(context, name).state == State.RUNNING)
    process = keeper._running.process  # type: ignore[union-attr]
    token = {"csrf_token": csrf_token(client.get(f"/simulations/{name}").text)}
    assert (
        "It was stopped." in client.post(f"/simulations/{name}/stop", data=token, follow_redirects=True).text
    )
    keeper.look()
    assert process.poll() is not None
    assert look_at(context, name).state == State.STOPPED
    client.post(f"/simulations/{name}/remove", data=token)
    assert client.get(f"/simulations/{name}").status_code == 404


@pytest.mark.parametrize(
    ("limits", "asked", "says"),
    [
        ({"simulation_memory_bytes": 2**30}, "people.count=20000000", "OPENRAAS_SIMULATION_MEMORY_BYTES"),
        ({"simulation_s": 2.0}, "slots.count=5000", "It took longer than 2 s"),
    ],
)
def test_one_that_takes_more_memory_or_time_than_it_may_says_so(
    tmp_path: Path, redis_server: RedisServer, limits: dict[str, float], asked: str, says: str
) -> None:
    context = make_master(tmp_path, redis_server.url, **limits)
    user = add_person(context, "ada", UserRole.OPERATOR)[0]
    keeper = Keeper(context)
    try:
        name = ask(context, user, settings=(asked,))
        keep(keeper, lambda: State(look_at(context, name).state).is_over)
        assert says in (look_at(context, name).error or "")
    finally:
        keeper._give_up()


def test_what_a_keeper_left_in_the_middle_is_begun_anew_but_not_for_ever(
    context: MasterContext, operator: tuple[User, str, str], keeper: Keeper
) -> None:
    name = ask(context, operator[0])
    keep(keeper, lambda: look_at(context, name).state == State.RUNNING)
    keeper._give_up()  # as when another took over
    other = Keeper(context)
    try:
        keep(other, lambda: look_at(context, name).tries == 2)
        other._give_up()
        last = Keeper(context)
        last.look()
        assert look_at(context, name).state == State.FAILED
        assert "ended 2 times in the middle of it" in (look_at(context, name).error or "")
    finally:
        other._give_up()


def test_one_that_cannot_be_begun_says_so_and_holds_up_no_other(
    context: MasterContext, keeper: Keeper, operator: tuple[User, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = ask(context, operator[0])
    monkeypatch.setenv("PATH", "")  # so that there is nothing to begin it with
    keeper.look()
    failed = look_at(context, name)
    assert failed.state == State.FAILED
    assert "could not begin it" in str(failed.error)
    assert not (context.paths.simulations / name).exists()


def test_only_as_many_as_are_to_be_kept_are(tmp_path: Path, redis_server: RedisServer) -> None:
    context = make_master(tmp_path, redis_server.url, simulations_kept=1)
    user = add_person(context, "ada", UserRole.OPERATOR)[0]
    keeper = Keeper(context)
    try:
        first, second = (ask(context, user, policies=["nearest"], seeds=1) for _ in range(2))
        with context.database.write() as session:
            services.stop(session, first)
        keep(keeper, lambda: look_at(context, second).state == State.DONE)
    finally:
        keeper._give_up()
    with context.database.read() as session:
        assert [item.id for item in services.list_simulations(session)] == [second], first


def test_nobody_fills_the_queue_alone(context: MasterContext, operator: tuple[User, str, str]) -> None:
    for _ in range(MOST_AT_ONCE):
        ask(context, operator[0])
    with pytest.raises(TooMany, match="of your simulations wait or run already"):
        ask(context, operator[0])


def test_only_those_with_the_role_see_or_run_simulations(
    context: MasterContext, operator: tuple[User, str, str]
) -> None:
    client = create_app(context).test_client()
    token = add_person(context, "bob")[2]
    name = ask(context, operator[0])
    for path in ("", "/choices", f"/{name}", f"/{name}/files/report.html"):
        answer = client.get(f"/api/v1/simulations{path}", headers=bearer(token))
        assert answer.status_code == 403, path
        assert "needs the role operator" in answer.json["message"]
    body = {"name": "openraas-paper", "policies": ["nearest"]}
    assert client.post("/api/v1/simulations", json=body, headers=bearer(token)).status_code == 403
    assert client.delete(f"/api/v1/simulations/{name}", headers=bearer(token)).status_code == 403
    sign_in(client, "bob", add_person(context, "eve")[1])
    with create_app(context).test_client() as browser:
        sign_in(browser, "ada", operator[1])
        assert "/simulations" in browser.get("/applications").text
