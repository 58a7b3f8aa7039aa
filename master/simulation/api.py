"""REST: simulations on the master."""

from __future__ import annotations

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from common.words import Frozen
from master.accounts.guard import allows, current_user
from master.accounts.models import Scope, User
from master.scheduling.policy import policy_names
from master.simulation import services
from master.simulation.answers import file_answer
from master.simulation.job import Summary
from master.simulation.loading import shipped
from master.simulation.models import Simulation
from master.web.current import context, nothing, reply
from master.web.paging import Page, reply_page

api = APIBlueprint(
    "simulations_api",
    __name__,
    url_prefix="/api/v1",
    abp_tags=[Tag(name="simulations", description="Policies in a simulated world.")],
)


class SimulationBody(Frozen):
    """What to simulate: a scenario that comes along, or a text of one's own."""

    name: str = Field("", max_length=64, description="Of a scenario that comes along.")
    text: str = Field("", max_length=services.MOST_TEXT, description="A scenario's YAML.")
    trace: str | None = Field(
        None, max_length=services.MOST_TRACE, description="The file that the scenario's `trace` replays."
    )
    settings: list[str] = Field(
        default_factory=list, description="Figures that are changed, such as people.count=200."
    )
    policies: list[str] = Field(min_length=1, description="`all` takes every registered one.")
    seeds: int = Field(10, ge=1, le=services.MOST_SEEDS)
    first_seed: int = Field(0, ge=0)


class SimulationAnswer(BaseModel):
    """How a simulation stands."""

    id: str
    name: str
    title: str
    user: str | None
    settings: list[str]
    policies: list[str]
    seeds: int
    first_seed: int
    state: services.State
    error: str | None
    done_steps: int
    steps: int = Field(description="0: not known yet.")
    created_at: float
    began_at: float | None
    ended_at: float | None


class SimulationDetails(SimulationAnswer):
    """With what came out, once it is done."""

    summary: Summary | None
    files: dict[str, int] = Field(description="Names and sizes of what can be got.")


class SimulationList(BaseModel):
    """The newest first."""

    simulations: list[SimulationAnswer]


class Choices(BaseModel):
    """What can be simulated."""

    scenarios: list[str]
    policies: list[str]


class SimulationPath(BaseModel):
    """A simulation."""

    simulation: str = Field(max_length=64)


class FilePath(SimulationPath):
    """A file of a simulation."""

    file: str = Field(max_length=64)


@api.get("/simulations/choices", summary="Scenarios and policies", responses={200: Choices})
@allows(Scope.READ, Scope.DEPLOY)
def choices() -> Response:
    """The scenarios that come along, and the registered policies."""
    _person()
    return reply(Choices(scenarios=shipped(), policies=policy_names()))


@api.post("/simulations", summary="Simulate", responses={202: SimulationAnswer})
@allows(Scope.DEPLOY)
def create(body: SimulationBody) -> Response:
    """Let the master run a scenario with each policy and each seed; it runs one simulation at a time."""
    user = _person()
    wanted = services.Wanted(**body.model_dump())
    with context().database.write() as session:
        return reply(_answer(services.request_simulation(session, user, wanted)), 202)


@api.get("/simulations", summary="List simulations", responses={200: SimulationList})
@allows(Scope.READ, Scope.DEPLOY)
def list_all(query: Page) -> Response:
    """What waits, runs or was run lately."""
    _person()
    with context().database.read() as session:
        views = [_answer(item) for item in query.cut(services.list_simulations(session))]
    return reply_page(SimulationList(simulations=views[: query.limit]), query, more=len(views) > query.limit)


@api.get("/simulations/<simulation>", summary="Look at a simulation", responses={200: SimulationDetails})
@allows(Scope.READ, Scope.DEPLOY)
def show(path: SimulationPath) -> Response:
    """How far it is, and what came out."""
    _person()
    with context().database.read() as session:
        found = services.find_simulation(session, path.simulation)
        details = SimulationDetails(
            **_answer(found).model_dump(),
            summary=services.summary_of(found),
            files=services.files_of(session, found),
        )
    return reply(details)


@api.get("/simulations/<simulation>/files/<file>", summary="Get a file of a simulation")
@allows(Scope.READ, Scope.DEPLOY)
def get_file(path: FilePath) -> Response:
    """Every figure (figures.csv, figures.parquet, result.json), the report, or a plot."""
    _person()
    with context().database.read() as session:
        return file_answer(session, path.simulation, path.file)


@api.post("/simulations/<simulation>/stop", summary="Stop a simulation", responses={200: SimulationAnswer})
@allows(Scope.DEPLOY)
def stop(path: SimulationPath) -> Response:
    """Run it no further."""
    _person()
    with context().database.write() as session:
        return reply(_answer(services.stop(session, path.simulation)))


@api.delete("/simulations/<simulation>", summary="Remove a simulation", responses={204: None})
@allows(Scope.DEPLOY)
def remove(path: SimulationPath) -> Response:
    """Forget it with its files; one that runs is ended."""
    _person()
    with context().database.write() as session:
        services.remove(session, path.simulation)
    return nothing()


def _person() -> User:
    return services.admit(current_user(), context().settings)


def _answer(item: Simulation) -> SimulationAnswer:
    return SimulationAnswer(
        id=item.id,
        name=item.name,
        title=item.title,
        user=item.user.name if item.user else None,
        settings=item.settings,
        policies=item.policies,
        seeds=item.seeds,
        first_seed=item.first_seed,
        state=services.State(item.state),
        error=item.error,
        done_steps=item.done_steps,
        steps=item.steps,
        created_at=item.created_at,
        began_at=item.began_at,
        ended_at=item.ended_at,
    )
