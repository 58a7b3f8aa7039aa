"""The pages of the simulator: what was run, what is to be run, what came out."""

from __future__ import annotations

from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _
from werkzeug.wrappers import Response as WebResponse

from common.errors import BadInput, OpenRaaSError, TooMany
from master.accounts.guard import current_user
from master.accounts.models import User
from master.scheduling.policy import policy_names
from master.simulation import services
from master.simulation.answers import file_answer
from master.simulation.loading import shipped
from master.web.current import context

views = Blueprint("simulations", __name__)

USUAL_POLICIES = ("nearest", "start-soonest")
USUAL_SEEDS = 10
# Which input of the form a part of a scenario's problem belongs to; all else is the scenario's.
_INPUTS = frozenset({"settings", "policies", "seeds", "first_seed", "trace"})


@views.get("/simulations")
def simulations() -> str:
    """The newest first."""
    _person()
    with context().database.read() as session:
        found = services.list_simulations(session)
        return render_template("simulations.html", simulations=found)


@views.get("/simulations/new")
def new() -> str:
    """What can be simulated."""
    _person()
    return _form({})


@views.post("/simulations/new")
def create() -> tuple[str, int] | WebResponse:
    """Write it down, and show how it goes."""
    user = _person()
    try:
        wanted = _wanted()
        with context().database.write() as session:
            simulation = services.request_simulation(session, user, wanted)
    except (BadInput, TooMany) as error:
        field = str(error.field or "").split(".")[0]
        return _form({field if field in _INPUTS else "scenario": str(error)}), error.http_status
    return redirect(url_for("simulations.show", simulation=simulation.id), 303)


@views.get("/simulations/<simulation>")
def show(simulation: str) -> str:
    """How far it is, and what came out."""
    _person()
    with context().database.read() as session:
        found = services.find_simulation(session, simulation)
        return render_template(
            "simulation.html",
            simulation=found,
            state=services.State(found.state),
            summary=services.summary_of(found),
            files=services.files_of(session, found),
        )


@views.get("/simulations/<simulation>/files/<file>")
def get_file(simulation: str, file: str) -> Response:
    """A picture, or a file to be kept."""
    _person()
    with context().database.read() as session:
        return file_answer(session, simulation, file)


@views.post("/simulations/<simulation>/stop")
def stop(simulation: str) -> WebResponse:
    """Run it no further."""
    _person()
    try:
        with context().database.write() as session:
            services.stop(session, simulation)
        flash(_("It was stopped."))
    except OpenRaaSError as error:
        flash(str(error))
    return redirect(url_for("simulations.show", simulation=simulation), 303)


@views.post("/simulations/<simulation>/remove")
def remove(simulation: str) -> WebResponse:
    """Forget it."""
    _person()
    try:
        with context().database.write() as session:
            services.remove(session, simulation)
        flash(_("It was removed with its results."))
    except OpenRaaSError as error:
        flash(str(error))
    return redirect(url_for("simulations.simulations"), 303)


def _person() -> User:
    return services.admit(current_user(), context().settings)


def _wanted() -> services.Wanted:
    """What the form says. Raises BadInput that names the input."""
    form = request.form
    text = _upload("text")
    return services.Wanted(
        name="" if text else form.get("name", ""),
        text=text,
        trace=_upload("trace") or None,
        settings=[line.strip() for line in form.get("settings", "").splitlines() if line.strip()],
        policies=form.getlist("policies"),
        seeds=_number("seeds"),
        first_seed=_number("first_seed"),
    )


def _upload(name: str) -> str:
    """The text of a file that was sent; empty if none was."""
    file = request.files.get(name)
    try:
        return "" if file is None else file.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(_("The file is no text in UTF-8."), field=name) from error


def _number(name: str) -> int:
    text = request.form.get(name, "").strip()
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise BadInput(_("A whole number is needed here."), field=name)
    return int(text)


def _form(problems: dict[str, str]) -> str:
    """The form, with what was sent and what is wrong with it."""
    form = request.form
    return render_template(
        "simulation_new.html",
        problems=problems,
        scenarios=shipped(),
        policies=policy_names(),
        chosen=form.getlist("policies") if form else list(USUAL_POLICIES),
        name=form.get("name", "openraas-paper"),
        settings=form.get("settings", ""),
        seeds=form.get("seeds", USUAL_SEEDS),
        first_seed=form.get("first_seed", 0),
        most_seeds=services.MOST_SEEDS,
        draws_plots=services.draws_plots(),
    )
