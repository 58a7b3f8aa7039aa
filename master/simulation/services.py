"""Simulations on the master: who may, what is accepted, what is kept."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, joinedload

from common.errors import BadInput, Conflict, Forbidden, NotFound, TooMany
from common.settings import Settings
from common.words import new_id
from master.accounts.guard import may
from master.accounts.models import User, UserRole
from master.audit.services import record
from master.scheduling.policy import load_policy, policy_names
from master.simulation.job import TRACE, Plot, Summary
from master.simulation.loading import parse_scenario, shipped
from master.simulation.models import Simulation, SimulationFile
from master.simulation.scenario import Scenario

MOST_SEEDS = 100
MOST_SETTINGS = 50
MOST_TEXT = 500_000
MOST_TRACE = 900_000
# Of one person, waiting or running.
MOST_AT_ONCE = 5
LISTED = 100
EVERY_POLICY = "all"


class State(StrEnum):
    """How a simulation stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self in (State.DONE, State.FAILED, State.STOPPED)


@dataclass(frozen=True)
class Wanted:
    """What is asked for: a scenario that comes along by `name`, or its own `text`, with the trace that it replays."""

    name: str = ""
    text: str = ""
    trace: str | None = None
    settings: Sequence[str] = ()
    policies: Sequence[str] = ()
    seeds: int = 10
    first_seed: int = 0


def may_simulate(user: User, settings: Settings) -> bool:
    """Whether this person may let the master simulate."""
    return may(user, UserRole(settings.simulation_role))


def admit(user: User, settings: Settings) -> User:
    """The person; raises Forbidden for who may not."""
    if not may_simulate(user, settings):
        raise Forbidden(
            f"Simulating needs the role {settings.simulation_role}; {user.name} has the role {user.role}.",
            remedy="Ask an administrator, or run it on your own machine: openraas simulate.",
        )
    return user


def request_simulation(session: Session, user: User, wanted: Wanted) -> Simulation:
    """Write down what is to be run. Raises BadInput that names the field, or TooMany."""
    text, scenario = _scenario(wanted)
    policies = _policies(wanted.policies)
    if not 1 <= wanted.seeds <= MOST_SEEDS:
        raise BadInput(f"seeds is {wanted.seeds}, and may be 1 to {MOST_SEEDS}.", field="seeds")
    if wanted.first_seed < 0:
        raise BadInput("first_seed is below 0.", field="first_seed")
    active = (Simulation.user_id == user.id, Simulation.state.in_((State.WAITING, State.RUNNING)))
    if (session.scalar(select(func.count()).select_from(Simulation).where(*active)) or 0) >= MOST_AT_ONCE:
        raise TooMany(
            f"{MOST_AT_ONCE} of your simulations wait or run already.", remedy="Wait, or stop one of them."
        )
    simulation = Simulation(
        id=new_id("s"),
        user_id=user.id,
        name=scenario.name,
        title=scenario.title[:200],
        scenario=text,
        trace=wanted.trace,
        settings=list(wanted.settings),
        policies=policies,
        seeds=wanted.seeds,
        first_seed=wanted.first_seed,
        state=State.WAITING,
    )
    session.add(simulation)
    session.flush()
    wish = {"name": simulation.name, "policies": policies, "seeds": wanted.seeds}
    record(session, "simulation.start", subject_of(simulation), after=wish)
    return simulation


def _scenario(wanted: Wanted) -> tuple[str, Scenario]:
    if bool(wanted.name) == bool(wanted.text):
        raise BadInput(
            "Say which scenario: one that comes along, or a text of your own.",
            field="scenario",
            remedy=f"Those that come along: {', '.join(shipped())}.",
        )
    if len(wanted.text) > MOST_TEXT:
        raise BadInput(f"The scenario is longer than {MOST_TEXT} characters.", field="text")
    if len(wanted.trace or "") > MOST_TRACE:
        raise BadInput(
            f"The trace is longer than {MOST_TRACE} characters.",
            field="trace",
            remedy="Replay it on your own machine: openraas simulate.",
        )
    if len(wanted.settings) > MOST_SETTINGS:
        raise BadInput(f"More than {MOST_SETTINGS} figures are changed.", field="settings")
    text = wanted.text or f"base: {wanted.name}\n"
    return text, parse_scenario(text, wanted.settings, trace=Path(TRACE) if wanted.trace else None)


def _policies(names: Sequence[str]) -> list[str]:
    wanted = policy_names() if EVERY_POLICY in names else list(dict.fromkeys(names))
    if not wanted:
        raise BadInput(
            "No policy was chosen.", field="policies", remedy=f"Take some of: {', '.join(policy_names())}."
        )
    for name in wanted:
        load_policy(name)
    return wanted


def list_simulations(session: Session) -> Sequence[Simulation]:
    """The newest first; everybody who may simulate sees all."""
    statement = (
        select(Simulation)
        .options(joinedload(Simulation.user))
        .order_by(Simulation.created_at.desc(), Simulation.id)
        .limit(LISTED)
    )
    return session.scalars(statement).all()


def find_simulation(session: Session, name: str) -> Simulation:
    """Raises NotFound."""
    found = session.get(Simulation, name, options=[joinedload(Simulation.user)])
    if found is None:
        raise NotFound(f"There is no simulation {name}.", remedy="See openraas simulation list.")
    return found


def files_of(session: Session, simulation: Simulation) -> dict[str, int]:
    """The names of its files with their sizes."""
    rows = session.execute(
        select(SimulationFile.name, SimulationFile.size_bytes)
        .where(SimulationFile.simulation_id == simulation.id)
        .order_by(SimulationFile.name)
    )
    return {str(name): int(size) for name, size in rows}


def read_file(session: Session, simulation: str, name: str) -> bytes:
    """What a file of it says; raises NotFound."""
    found = session.get(SimulationFile, (simulation, name))
    if found is None:
        raise NotFound(f"Simulation {simulation} has no file {name}.")
    return found.content


def stop(session: Session, name: str) -> Simulation:
    """Let nobody run it any more; raises NotFound, Conflict if it is over."""
    simulation = find_simulation(session, name)
    if State(simulation.state).is_over:
        raise Conflict(f"Simulation {name} is over ({simulation.state}).")
    record(session, "simulation.stop", subject_of(simulation), before=_whose(simulation))
    simulation.state, simulation.ended_at = State.STOPPED, time.time()
    return simulation


def remove(session: Session, name: str) -> None:
    """Forget it with its files; one that runs is ended. Raises NotFound."""
    simulation = find_simulation(session, name)
    record(session, "simulation.remove", subject_of(simulation), before=_whose(simulation))
    session.execute(delete(SimulationFile).where(SimulationFile.simulation_id == simulation.id))
    session.delete(simulation)


def subject_of(simulation: Simulation) -> str:
    """How the audit log names a simulation."""
    return f"simulation:{simulation.id}"


def _whose(simulation: Simulation) -> dict[str, str]:
    return {"owner": simulation.user.name if simulation.user else "", "name": simulation.name}


def summary_of(simulation: Simulation) -> Summary | None:
    """What came out; none before it is done."""
    return Summary.model_validate(simulation.summary) if simulation.summary else None


def plots_of(simulation: Simulation) -> list[Plot]:
    """Its pictures."""
    summary = summary_of(simulation)
    return summary.plots if summary is not None else []


def draws_plots() -> bool:
    """Whether what plots need is installed here."""
    return find_spec("matplotlib") is not None
