"""A bridge for every deployment, cut from the box's range, with a few made ahead so that no start waits."""

from __future__ import annotations

import ipaddress
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from common.logs import get_logger
from common.service import Egress
from workers.box.config import BoxConfig
from workers.box.table import Table
from workers.compute.engine import Engine, NetworkSpec
from workers.compute.errors import EngineError, NetworkTaken, NoNetwork
from workers.compute.firewall import Bridge, Firewall, bridge_prefix
from workers.compute.instances import InstanceRow, Instances
from workers.compute.labels import LABEL_BOX

log = get_logger(__name__)

PREFIX_LENGTH = 28
READY = 3
ATTEMPTS = 64

_SCHEMA = """CREATE TABLE IF NOT EXISTS networks (
    name TEXT PRIMARY KEY, id TEXT NOT NULL, bridge TEXT NOT NULL, subnet TEXT NOT NULL UNIQUE,
    deployment TEXT UNIQUE, internet INTEGER NOT NULL, private INTEGER NOT NULL)"""


@dataclass(frozen=True)
class Network:
    """A bridge that a deployment has."""

    name: str
    id: str
    bridge: str
    subnet: str

    @property
    def gateway(self) -> str:
        """The box's own address on the bridge."""
        return str(ipaddress.IPv4Network(self.subnet)[1])

    @property
    def addresses(self) -> list[str]:
        """Addresses for containers."""
        return [str(address) for address in list(ipaddress.IPv4Network(self.subnet).hosts())[1:]]


@dataclass(frozen=True)
class Attachment:
    """An instance's place on its deployment's network."""

    network: Network
    address: str


class NetworkPool:
    """Networks in use and ready; the table `networks` survives a restart of the worker."""

    def __init__(
        self, config: BoxConfig, table: Table, instances: Instances, engine: Engine, firewall: Firewall
    ) -> None:
        self._config = config
        self._table = table
        self._instances = instances
        self._engine = engine
        self._firewall = firewall
        self._range = ipaddress.IPv4Network(config.network_range)
        self._labels = {LABEL_BOX: config.box}
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._not_ours: set[str] = set()
        table.create(_SCHEMA)

    def adopt(self) -> None:
        """Make the table agree with the engine after a restart, then set the firewall."""
        there = self._engine.networks(self._labels)
        for row in self._table.all("SELECT name, id FROM networks"):
            if there.get(row["name"]) != row["id"]:
                self._table.write("DELETE FROM networks WHERE name = ?", (row["name"],))
        known = {row["name"] for row in self._table.all("SELECT name FROM networks")}
        for name, identity in there.items():
            if name not in known:
                self._try_remove(identity)
        self._firewall.apply(self._bridges())

    def attach(self, row: InstanceRow, egress: Egress) -> Attachment:
        """A free address for an instance on its deployment's network; a ready network is taken at once.

        Raises EngineError (also NoNetwork), FirewallError.
        """
        while True:
            with self._lock:
                network = self._held(row.deployment) or self._take_ready(row.deployment, egress)
                if network is not None:
                    address = self._instances.place_on(row, network.name, network.addresses)
                    if address is None:
                        raise NoNetwork(f"The network of deployment {row.deployment} has no address left.")
                    return Attachment(network, address)
            self._make()

    def detach(self, row: InstanceRow) -> None:
        """Free the instance's address, and remove the network if it was the last. Raises EngineError."""
        with self._lock:
            self._instances.leave_network(row)
            network = self._held(row.deployment)
            if network is not None and not self._instances.on_network(network.name):
                self._remove(network)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Within the block no network is given, taken or removed here: one may change its owner in the table."""
        with self._lock:
            yield

    def _take_ready(self, deployment: str, egress: Egress) -> Network | None:
        ready = self._table.one("SELECT name FROM networks WHERE deployment IS NULL LIMIT 1")
        if ready is None:
            return None
        private = egress.private and self._config.allow_private_egress
        self._table.write(
            "UPDATE networks SET deployment = ?, internet = ?, private = ? WHERE name = ?",
            (deployment, egress.internet, private, ready["name"]),
        )
        # The rules of a fresh bridge are those of the usual egress.
        if private or not egress.internet:
            self._firewall.apply(self._bridges())
        return self._held(deployment)

    def _remove(self, network: Network) -> None:
        self._engine.remove_network(network.id)
        self._table.write("DELETE FROM networks WHERE name = ?", (network.name,))

    def refill(self) -> None:
        """Make networks until enough are ready, and set the firewall again if somebody took it away."""
        with self._lock:
            for network in self._unused():
                self._remove(network)
        while self._count_ready() < READY:
            self._make()
        if not self._firewall.is_hooked():
            with self._lock:
                self._firewall.apply(self._bridges())

    def _held(self, deployment: str) -> Network | None:
        row = self._table.one(
            "SELECT name, id, bridge, subnet FROM networks WHERE deployment = ?", (deployment,)
        )
        return Network(*row) if row is not None else None

    def _unused(self) -> list[Network]:
        """Networks whose deployment has nothing here any more: a worker died between two steps."""
        wanted = {row.deployment for row in self._instances.held()}
        rows = self._table.all(
            "SELECT name, id, bridge, subnet, deployment FROM networks WHERE deployment IS NOT NULL"
        )
        return [Network(*tuple(row)[:4]) for row in rows if row["deployment"] not in wanted]

    def _count_ready(self) -> int:
        row = self._table.one("SELECT count(*) AS n FROM networks WHERE deployment IS NULL")
        return int(row["n"]) if row is not None else 0

    def _make(self) -> None:
        """One more network in the pool. Not under the lock: whoever finds one ready does not wait."""
        with self._making:
            for subnet in self._free_subnets():
                mark = secrets.token_hex(3)
                bridge = f"{bridge_prefix(self._config)}{mark}"
                network = Network(f"openraas-{self._config.box}-{mark}", "", bridge, subnet)
                spec = NetworkSpec(network.name, bridge, subnet, network.gateway, self._labels)
                try:
                    identity = self._engine.create_network(spec)
                except NetworkTaken as error:
                    log.warning("subnet skipped", subnet=subnet, why=str(error))
                    self._not_ours.add(subnet)
                    continue
                self._add(network, identity)
                return
        raise NoNetwork(
            f"The range {self._range} has no free network.", remedy="Give the box a larger network_range."
        )

    def _add(self, network: Network, identity: str) -> None:
        """Only with its rules in force does a network enter the pool."""
        fresh = Bridge(network.bridge, network.gateway)
        try:
            with self._lock:
                self._firewall.apply([*self._bridges(), fresh])
                self._table.write(
                    "INSERT INTO networks (name, id, bridge, subnet, internet, private) VALUES (?, ?, ?, ?, 1, 0)",
                    (network.name, identity, network.bridge, network.subnet),
                )
        except BaseException:
            self._try_remove(identity)
            raise

    def _free_subnets(self) -> Iterator[str]:
        taken = [row["subnet"] for row in self._table.all("SELECT subnet FROM networks")]
        used = [ipaddress.IPv4Network(subnet) for subnet in [*taken, *self._not_ours]]
        used += _own_networks()
        free = (
            str(subnet)
            for subnet in self._range.subnets(new_prefix=PREFIX_LENGTH)
            if not any(subnet.overlaps(other) for other in used)
        )
        for _, subnet in zip(range(ATTEMPTS), free, strict=False):
            yield subnet

    def _bridges(self) -> list[Bridge]:
        rows = self._table.all("SELECT * FROM networks ORDER BY name")
        return [
            Bridge(
                row["bridge"],
                Network(row["name"], row["id"], row["bridge"], row["subnet"]).gateway,
                internet=bool(row["internet"]),
                private=bool(row["private"]),
            )
            for row in rows
        ]

    def _try_remove(self, identity: str) -> None:
        try:
            self._engine.remove_network(identity)
        except EngineError as error:
            log.warning("network not removed", network=identity, error=str(error))


def _own_networks() -> list[ipaddress.IPv4Network]:
    """Networks of this machine's interfaces: the range must not hide the owner's own."""
    return [
        ipaddress.IPv4Network(f"{address.address}/{address.netmask}", strict=False)
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family.name == "AF_INET" and address.netmask
    ]
