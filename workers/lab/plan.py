"""What a lab is meant to be, and what the lab remembers of itself: one JSON file in its state directory."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from pydantic import Field, ValidationError

from common.errors import BadInput, NotFound, OpenRaaSError
from common.files import write_atomically
from common.words import BoxId, Frozen, Role
from workers.lab.errors import LabError

# Where every lab of this machine can be found again by any process: links to their state directories,
# and short paths for sockets (a Unix socket's path ends at 107 characters).
RUN = Path("/run/openraas-lab")
LAB_ID = re.compile(r"^[a-z0-9]{1,6}$")
# Where a lab keeps its files unless it is told.
BASE = Path("/var/lib/openraas-lab")
STATE_FILE = "lab.json"
MOST_BOXES = 200
FIRST_BOX = 11  # the last octet of the first box's address


class Link(Frozen):
    """The link of a node in bits per second; none: not shaped."""

    uplink_bps: int | None = Field(None, ge=8_000)
    downlink_bps: int | None = Field(None, ge=8_000)


class ProcessMark(Frozen):
    """A process that cannot be mistaken for a later one with the same number."""

    pid: int
    started: int = Field(description="Clock ticks after boot, field 22 of /proc/<pid>/stat (proc(5)).")


class Node(Frozen):
    """A machine of the lab: a box, or its own master."""

    name: BoxId
    number: int = Field(ge=2, le=253, description="Last octet of its address.")
    link: Link = Link()
    roles: frozenset[Role] = frozenset()
    init: ProcessMark | None = Field(None, description="First process of the node; its end ends all others.")

    @property
    def is_box(self) -> bool:
        """Whether this is a box, not the lab's own master."""
        return bool(self.roles)


class MasterRef(Frozen):
    """The master that the lab's boxes join."""

    address: str = Field(description="HOST:PORT as `openraas box join` takes it.")
    state_dir: Path
    settings: dict[str, str] = Field(description="The environment in which its command line finds it.")
    own: bool = Field(description="Started by this lab, and ended with it.")


class LabState(Frozen):
    """A lab: enough for another process, or the next one after a crash, to end it."""

    lab: str = Field(pattern=LAB_ID.pattern)
    state_dir: Path
    made_state_dir: bool = Field(description="The lab made its state directory, so it removes it.")
    subnet: ipaddress.IPv4Network
    master: MasterRef | None = None
    nodes: dict[str, Node] = Field(default_factory=dict)

    @property
    def boxes(self) -> list[Node]:
        """The boxes, in the order in which they were made."""
        return sorted((node for node in self.nodes.values() if node.is_box), key=lambda node: node.number)

    @property
    def host_address(self) -> str:
        """The machine itself, as the lab's nodes see it."""
        return str(self.subnet[1])

    def address(self, node: Node) -> str:
        """The address of a node."""
        return str(self.subnet[node.number])

    def namespace(self, node: Node) -> str:
        """The name of a node's network namespace."""
        return f"{namespace_prefix(self.lab)}{node.name}"

    def node_dir(self, node: Node) -> Path:
        """Everything of a node that lies on disk."""
        return self.state_dir / "nodes" / node.name

    def run_dir(self, node: Node) -> Path:
        """Sockets and process files of a node."""
        return RUN / f"{self.lab}.run" / node.name

    def cgroup(self, node: Node) -> str:
        """The control group below which a node's container engine puts its containers."""
        return f"/openraas-lab-{self.lab}-{node.name}"

    def find(self, name: str) -> Node:
        """The node of that name; raises NotFound that lists the names there are."""
        if name not in self.nodes:
            names = ", ".join(box.name for box in self.boxes) or "none"
            raise NotFound(
                f"The lab {self.lab} has no box {name}.", field="box", remedy=f"There are: {names}."
            )
        return self.nodes[name]

    def with_node(self, node: Node) -> LabState:
        """The same lab with this node added or changed."""
        return self.model_copy(update={"nodes": {**self.nodes, node.name: node}})


def namespace_prefix(lab: str) -> str:
    """How the names of all network namespaces of a lab start."""
    return f"orlab-{lab}-"


def save(state: LabState) -> None:
    """Write the lab's state, and the link by which `lab down` finds it."""
    write_atomically(state.state_dir / STATE_FILE, state.model_dump_json(indent=1), mode=0o600)
    RUN.mkdir(parents=True, exist_ok=True, mode=0o700)
    link = RUN / state.lab
    if not link.is_symlink():
        link.symlink_to(state.state_dir)


def load(lab: str) -> LabState:
    """The lab of that id; raises NotFound if there is none, LabError if its state cannot be read."""
    path = RUN / lab / STATE_FILE
    try:
        return LabState.model_validate_json(path.read_text())
    except FileNotFoundError:
        there = ", ".join(known()) or "none"
        raise NotFound(
            f"There is no lab {lab}.", field="lab", remedy=f"Labs on this machine: {there}."
        ) from None
    except ValidationError as error:
        raise LabError(
            f"{path} cannot be read.", remedy="Remove the lab with: openraas lab down --all."
        ) from error


def known() -> list[str]:
    """The ids of all labs of which this machine knows."""
    if not RUN.is_dir():
        return []
    return sorted(path.name for path in RUN.iterdir() if path.is_symlink())


def choose(lab: str | None, box: str | None = None) -> LabState:
    """The lab that was named, else the only one there is, or the only one with that box.

    Raises NotFound or BadInput.
    """
    if lab is not None:
        return load(lab)
    labs = known()
    if not labs:
        raise NotFound("There is no lab on this machine.", remedy="Make one: openraas lab up --boxes 4.")
    if len(labs) > 1:
        with_box = [state for state in _readable(labs) if box in state.nodes]
        if len(with_box) == 1:
            return with_box[0]
        raise BadInput(
            f"There are several labs: {', '.join(labs)}.", field="lab", remedy="Name one with --lab."
        )
    return load(labs[0])


def _readable(labs: Iterable[str]) -> Iterator[LabState]:
    for name in labs:
        with suppress(OpenRaaSError):  # one that is half made or half removed has no box to be meant
            yield load(name)
