"""What a scenario says: every figure of a simulated world, with strict keys and units."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from common.units import Duration, Rate, Size
from common.words import LABEL, BoxKind
from master.simulation.distributions import Amount, Distribution, RateAmount, SizeAmount, WholeRange

Share = Annotated[float, Field(ge=0.0, le=1.0)]
BoxName = Annotated[str, Field(pattern=LABEL)]
Positive = Annotated[float, Field(gt=0.0)]


class Part(BaseModel):
    """Base of every part: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Sharing(StrEnum):
    """How transfers share a link."""

    IN_TURN = "in-turn"  # one takes all of its links, the others wait: first in, first out
    MAX_MIN = "max-min"  # all at once, as fairly as the links allow


class Asking(StrEnum):
    """When in a slot people ask."""

    AT_ONCE = "at-once"
    SPREAD = "spread"


class Slots(Part):
    """The rhythm of a run."""

    length_s: Annotated[Duration, Field(gt=0)] = 1800.0
    count: int = Field(ge=1, description="How many are simulated.")


class Network(Part):
    """A star per area and a backbone between areas: the delay of a path is the sum, its rate the minimum."""

    areas: int = Field(5, ge=1)
    backbone_ms: Amount = Field(description="What lies between two areas, drawn per pair.")
    jitter: Share = Field(0.1, description="Of the delay.")
    sharing: Sharing = Sharing.IN_TURN
    threads: int = Field(
        4, ge=1, description="Into how many pieces a layer is split, each from a holder of its own."
    )
    chunk_bytes: Annotated[Size, Field(gt=0)] | None = Field(
        None,
        description="Instead of threads: pieces of this size, two at a time from each holder, in the layers' order.",
    )
    goodput: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        1.0, description="How much of a link is left for what is carried, after headers and pauses."
    )
    mount_bps: Annotated[Rate, Field(ge=0)] = 8_000_000
    reservable: Share = Field(0.95, description="Of a link; the rest keeps transfers from standing still.")
    copy_piece_bytes: Annotated[Size, Field(gt=0)] = Field(
        500_000_000, description="New copies of large things travel in pieces, so that others get their turn."
    )


class Kind(Part):
    """A kind of device, and what is drawn for each of them."""

    compute: Amount
    disk_bytes: SizeAmount
    link_bps: RateAmount
    access_ms: Amount
    memory_bytes: SizeAmount = Distribution(mean=0)
    open: Share = Field(description="How many of them run other people's containers.")
    fixed: Share = Field(description="How many of them are expected to stay reachable.")
    stores_files: bool = Field(True, description="Whether it may be a filestore.")

    @field_validator("link_bps")
    @classmethod
    def _has_a_link(cls, value: Distribution) -> Distribution:
        if value.mean <= 0 or (value.sd > 0 and value.min <= 0):
            raise ValueError("a link carries something: mean, and with sd also min, have to be above 0")
        return value


class Device(Kind):
    """A kind of device that people bring along."""

    share: Share = Field(description="Of all people's devices.")


class Servers(Kind):
    """The edge servers; they are always there."""

    count: int = Field(ge=0)


class Online(Part):
    """A Markov chain of two states per person, one step a slot."""

    stays: Share = 0.9
    returns: Share = 0.3
    first: Share = Field(0.75, description="How many are online in the first slot: the chain's own average.")


class People(Part):
    """Those who ask; each has one device."""

    count: int = Field(ge=0)
    asks: Share = Field(1.0, description="Who is online asks for a service in a slot so often.")
    queue: bool = Field(
        False, description="Whether what no box can take waits until one can, instead of being dropped."
    )
    asking: Asking = Asking.AT_ONCE
    online: Online = Online(stays=1.0, returns=1.0, first=1.0)
    lends: Share = Field(0.0, description="An idle device becomes a worker in a slot so often.")
    devices: dict[BoxKind, Device] = Field(min_length=1)

    @model_validator(mode="after")
    def _shares_add_up(self) -> Self:
        total = sum(device.share for device in self.devices.values())
        if abs(total - 1.0) > 1e-9:
            raise ValueError(f"devices: their shares add up to {total:g}, not to 1")
        return self


class LayerPool(Part):
    """The layers of one role and size that applications choose from."""

    count: int = Field(ge=1)
    size_bytes: Annotated[Size, Field(gt=0)]
    files: int = Field(1, ge=1, description="How many files are in each: a file more is work for the engine.")
    on: list[str] = Field([], description="Boxes (see `boxes`) that hold them from the start; none: drawn.")


class Task(Part):
    """A type of task. `layers` names a pool per layer, lowest first; an application draws one of each."""

    weight: float = Field(1.0, ge=0, description="How often it is asked for, beside the others.")
    applications: int = Field(1, ge=1)
    compute: float = Field(0.0, ge=0)
    layers: list[str] = []
    data_bytes: Annotated[Size, Field(ge=0)] = 0
    input_bytes: Annotated[Size, Field(ge=0)] = Field(0, description="From the person, before it starts.")
    stream_bps: Annotated[Rate, Field(ge=0)] = Field(0, description="To the person, held while it runs.")
    files: int = Field(0, ge=0, description="Files from the person through the compute box to a filestore.")
    slots: WholeRange = Field(description="How many it lasts.")
    burns: Share = Field(0.0, description="How much of its compute it keeps busy while it runs.")
    home: bool = Field(False, description="Whether the person's own files are mounted before it starts.")


class Files(Part):
    """What storage tasks bring."""

    kinds: int = Field(100, ge=1)
    public: Share = Field(0.4, description="Of the kinds; these stay, and are not sent to who has them.")
    size_bytes: Annotated[Size, Field(gt=0)] = 500_000_000


class Keeping(Part):
    """What boxes keep and for how long."""

    copies: int = Field(
        3, ge=1, description="Boxes that hold each layer and each application's data, one a server."
    )
    lost_after_slots: int = Field(1, ge=0, description="A copy whose box is away for so long is made anew.")
    timer_slots: int = Field(48, ge=1, description="A layer that nobody used for so long goes.")
    free_bytes: Annotated[Size, Field(ge=0)] = Field(10**9, description="Room that is made when a task ends.")
    distrust_after: int = Field(
        3, ge=1, description="Broken tasks after which a box declared fixed counts as unstable."
    )


class Work(Part):
    """What a step takes when nothing else is done: waiting, and then processor time, which is shared."""

    wait_s: Annotated[Duration, Field(ge=0)] = 0.0
    cpu_s: Annotated[Duration, Field(ge=0)] = 0.0
    threads: float = Field(1.0, ge=1, description="So many cores it can use at once, on average.")


class Steps(Part):
    """The steps of a start one by one, with processors that all boxes and the master share, as in a lab."""

    cores: float = Field(0.0, ge=0, description="For all of them together; 0: nobody slows down anybody.")
    ask: Work = Field(Work(), description="To take in a request; the master does one after the other.")
    place: Work = Field(Work(), description="To place all that wait at that moment, at once.")
    prepare: Work = Field(Work(), description="Until the box has begun: messages, a network.")
    network: Work = Field(Work(), description="A network of its own; while layers come it costs no time.")
    fetch: Work = Field(Work(), description="Before the first byte of a missing layer.")
    unpack: Work = Field(Work(), description="Of every layer, beside its bytes and files.")
    unpack_s_per_gb: float = Field(0.0, ge=0, description="Processor time for a gigabyte as it is sent.")
    unpack_s_per_file: float = Field(0.0, ge=0)
    files: Work = Field(Work(), description="To share and mount a home.")
    launch: Work = Field(Work(), description="From the last layer and file to the first answer.")
    release: Work = Field(Work(), description="From the end of a task until its room is free again.")


class Cost(Part):
    """What is no transfer and takes time."""

    launch_s: Annotated[Duration, Field(ge=0)] = 0.0
    steps: Steps | None = Field(
        None, description="Instead of launch_s: what `openraas experiment` has learnt."
    )


class Column(Part):
    """Where a trace says something: the name of a column or its position, and by what the value is multiplied."""

    at: str | int
    scale: Positive = 1.0


class Replay(Part):
    """Requests from a trace instead of drawn ones; see docs/simulation.md for the formats."""

    file: str
    format: str = "openraas"
    columns: dict[Literal["arrival", "duration", "end", "cpu", "memory", "task"], Column] = {}
    limit: int | None = Field(None, ge=1, description="Only so many requests.")
    time_scale: Positive = Field(1.0, description="Arrivals and durations are multiplied by it.")
    cpu_scale: Positive = 1.0
    memory_scale: Positive = 1.0


class Lab(Part):
    """What `openraas experiment` needs beside the world itself; the simulator does not look at it."""

    policy: str = Field("least-loaded", description="By which both worlds place.")
    settings: dict[str, str] = Field({}, description="Others of the lab's master.")
    samples: dict[str, str] = Field({}, description="Task → the sample application that stands for it.")
    options: dict[str, dict[str, str | int]] = Field({}, description="Task → options of its sample.")
    patience_s: Annotated[Duration, Field(gt=0)] = Field(180.0, description="For the last start of all.")


class Scenario(Part):
    """A world to run policies in."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
    title: str = ""
    slots: Slots
    network: Network
    master: Kind | None = Field(None, description="The centre, where the cloud-only baseline computes.")
    servers: Servers
    boxes: dict[BoxName, Kind] = Field(
        {}, description="Servers that are named one by one, before the drawn ones."
    )
    people: People
    pools: dict[str, LayerPool] = {}
    tasks: dict[str, Task] = Field(min_length=1)
    files: Files = Files()
    keeping: Keeping = Keeping()
    cost: Cost = Cost()
    unpacked_on: list[BoxName] = Field(
        [], description="Boxes whose engines have all images unpacked from the start; see cost.steps."
    )
    trace: Replay | None = None
    lab: Lab = Lab()

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        servers = self.servers.count + len(self.boxes)
        if servers == 0 and self.people.lends == 0:
            raise ValueError("servers.count: there is no box, for people.lends is 0 too")
        if sum(task.weight for task in self.tasks.values()) <= 0:
            raise ValueError("tasks: all weights are 0")
        for name, task in self.tasks.items():
            if missing := [pool for pool in task.layers if pool not in self.pools]:
                raise ValueError(f"tasks.{name}.layers: there is no pool {missing[0]}")
        for name, pool in self.pools.items():
            if unknown := [box for box in pool.on if box not in self.boxes]:
                raise ValueError(f"pools.{name}.on: there is no box {unknown[0]}")
        if unknown := [box for box in self.unpacked_on if box not in self.boxes]:
            raise ValueError(f"unpacked_on: there is no box {unknown[0]}")
        for name, keys in (("samples", self.lab.samples), ("options", self.lab.options)):
            if unknown := [task for task in keys if task not in self.tasks]:
                raise ValueError(f"lab.{name}: there is no task {unknown[0]}")
        if self.people.queue and self.trace is None:
            raise ValueError("people.queue: only the requests of a trace can wait")
        if self.trace is not None and (self.people.lends > 0 or self.people.count == 0):
            raise ValueError("trace: it needs somebody in people.count, and people.lends 0")
        if servers == 0 and any(task.layers or task.data_bytes for task in self.tasks.values()):
            raise ValueError("servers.count: it is 0, but one copy of everything lies on a server")
        return self
