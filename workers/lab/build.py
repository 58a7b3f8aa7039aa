"""Making a lab and taking it down again, so that nothing of it is left, whatever fails in between."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from common.errors import OpenRaaSError
from common.settings import Settings
from common.words import Role
from workers.lab import engine, remains
from workers.lab import master as masters
from workers.lab.commands import require_root
from workers.lab.errors import LabError
from workers.lab.fleet import Lab
from workers.lab.master import Master
from workers.lab.network import check_subnet, free_subnet
from workers.lab.plan import BASE, FIRST_BOX, RUN, LabState, Link, Node, known, load, save
from workers.lab.processes import kill_node

AT_ONCE = 4  # boxes that join side by side

Say = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """What `lab up` was asked for.

    `roles`, `links`, `delays_ms` and `each_options` are dealt out to the boxes in turn; `each_options` and
    `box_options` (for all) are more options of `openraas box join`, `settings` those of the lab's own master.
    """

    boxes: int
    roles: Sequence[frozenset[Role]] = (frozenset(Role),)
    links: Sequence[Link] = (Link(),)
    delays_ms: Sequence[float] = (0.0,)
    each_options: Sequence[Sequence[str]] = ((),)
    lab: str | None = None
    state_dir: Path | None = None
    subnet: str | None = None
    own_master: bool = False
    box_options: Sequence[str] = ()
    settings: Mapping[str, str] = field(default_factory=dict)


def up(plan: Plan, settings: Settings, say: Say = lambda _: None) -> Lab:
    """Make a lab; if any step fails, what was made before it is undone."""
    require_root()
    if any(Role.COMPUTE in roles for roles in plan.roles):
        engine.require()
    lab = Lab(_new_state(plan))
    try:
        with lab.changing():
            _build(lab, plan, settings, say)
    except BaseException:
        down(lab.state.lab)
        raise
    return lab


def _new_state(plan: Plan) -> LabState:
    lab = plan.lab or _free_id()
    if lab in remains.labs():
        raise LabError(f"There is a lab {lab} already.", remedy=f"Remove it: openraas lab down --lab {lab}.")
    state_dir = plan.state_dir or BASE / lab
    subnet = check_subnet(plan.subnet) if plan.subnet else free_subnet()
    made = not state_dir.exists()
    if not made and any(state_dir.iterdir()):
        raise LabError(f"{state_dir} is not empty.", field="state_dir", remedy="Name a new directory.")
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    state = LabState(lab=lab, state_dir=state_dir, made_state_dir=made, subnet=subnet)
    save(state)
    return state


def _free_id() -> str:
    taken = set(remains.labs())
    return next(name for number in range(1, 1000) if (name := f"lab{number}") not in taken)


def _build(lab: Lab, plan: Plan, settings: Settings, say: Say) -> None:
    lab.network.create()
    say(f"network {lab.state.subnet}")
    _connect_master(lab, plan, settings, say)
    boxes = _plan_boxes(lab.state.lab, plan)
    lab.start(boxes)
    say(f"{len(boxes)} machines with their engines")
    _join_all(lab, boxes, plan)
    say(f"{len(boxes)} boxes joined {Master(lab.state).address}")
    for box in boxes:
        lab.start_box(box)
    lab.wait_online([box.name for box in boxes])
    say("all boxes are up")


def _connect_master(lab: Lab, plan: Plan, settings: Settings, say: Say) -> None:
    if not plan.own_master:
        ref = masters.running(settings, lab.state.host_address)
        lab.note(lab.state.model_copy(update={"master": ref}))
        lab.network.reach_host(ref.address.rpartition(":")[0])
        Master(lab.state).check()
        return
    node = Node(name=masters.OWN_NAME, number=masters.OWN_NUMBER)
    lab.note(lab.state.model_copy(update={"master": masters.own(lab.state, node, plan.settings)}))
    lab.start([node])
    say(f"its own master at https://{Master(lab.state).address}")


def _plan_boxes(lab: str, plan: Plan) -> list[Node]:
    return [
        Node(
            name=f"{lab}-{index + 1}",
            number=FIRST_BOX + index,
            link=_dealt(plan.links, index).model_copy(update={"delay_ms": _dealt(plan.delays_ms, index)}),
            roles=_dealt(plan.roles, index),
        )
        for index in range(plan.boxes)
    ]


def _dealt(items: Sequence[T], index: int) -> T:
    return items[index % len(items)]


def _join_all(lab: Lab, boxes: Sequence[Node], plan: Plan) -> None:
    master = Master(lab.state)
    options = [[*plan.box_options, *_dealt(plan.each_options, index)] for index in range(len(boxes))]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda box, own: lab.join(box, master.token(), own), boxes, options))


def down(lab: str, say: Say = lambda _: None) -> None:
    """Remove a lab and everything of it, whatever state it is in; raises LabError that names what stays."""
    require_root()
    state_dir = (RUN / lab).resolve() if (RUN / lab).is_symlink() else None
    try:
        state: LabState | None = load(lab)
    except OpenRaaSError:  # a lab without a readable state is known by the names of what it made
        state = None
    if state is not None:
        _leave_master(state, say)
        for node in state.nodes.values():
            kill_node(node.init)
    remains.clear_processes(lab)
    remains.clear_network(lab)
    remains.clear_kernel(lab, state_dir)
    remains.clear_files(lab, state)
    if left := remains.of(lab, state_dir):
        raise LabError(f"Of the lab {lab} there is still: {'; '.join(left)}.", remedy="Run lab down again.")


def _leave_master(state: LabState, say: Say) -> None:
    """Let a master that stays forget the boxes. That it cannot keeps nothing of the lab here."""
    if state.master is None or state.master.own:
        return
    for box in state.boxes:
        try:
            Master(state).remove(box.name)
        except LabError as error:
            say(f"The master keeps box {box.name}: {error}")


def all_labs() -> list[str]:
    """All labs of which anything is left on this machine, whole or not."""
    return sorted({*known(), *remains.labs()})
