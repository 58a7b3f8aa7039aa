"""The lab's network: a namespace per node, and a router in a namespace of its own between them.

    node ── veth, shaped both ways ── router ── veth ── this machine

A router and not a bridge, for three reasons: this machine gets one interface, outside the reach of its own
firewall rules for bridges; removing the router's namespace removes every link; and a link that is cut swallows
packets without an answer, as a broken line does, instead of failing address resolution.
"""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from pathlib import Path

from common.errors import BadInput
from workers.lab.commands import ask, run
from workers.lab.errors import LabError
from workers.lab.plan import LabState, Link, namespace_prefix

DEFAULT_SUBNETS = ipaddress.IPv4Network("10.231.0.0/16")
# A token bucket takes in this much at once; less would not hold one segment at low rates.
LEAST_BURST_BYTES = 16 * 1024
BURST_S = 0.01
QUEUE_S = 0.05
NAMESPACES = Path("/run/netns")
ROUTER = "router"  # not a valid number of a node, so no node's link can have this name


def free_subnet() -> ipaddress.IPv4Network:
    """The first /24 of the lab's range that this machine uses for nothing else."""
    taken = _taken()
    for subnet in DEFAULT_SUBNETS.subnets(new_prefix=24):
        if not any(subnet.overlaps(other) for other in taken):
            return subnet
    raise LabError(f"All of {DEFAULT_SUBNETS} is in use.", remedy="Name a free /24 with --subnet.")


def check_subnet(text: str) -> ipaddress.IPv4Network:
    """A subnet that somebody asked for; raises BadInput if it is malformed, too small or in use."""
    try:
        subnet = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise BadInput(
            f"{text} is not a subnet: {error}.", field="subnet", remedy="Write it like 10.231.7.0/24."
        ) from error
    if subnet.prefixlen > 24:
        raise BadInput(f"{subnet} is too small for a lab.", field="subnet", remedy="Use a /24.")
    for other in _taken():
        if subnet.overlaps(other):
            raise BadInput(
                f"{subnet} overlaps {other}, which is in use.",
                field="subnet",
                remedy="Take another, or none: then a free one is found.",
            )
    return subnet


def _taken() -> list[ipaddress.IPv4Network]:
    found = [
        ipaddress.IPv4Network(f"{address['local']}/{address['prefixlen']}", strict=False)
        for interface in ask("ip", "-json", "-4", "address", "show")
        for address in interface.get("addr_info", [])
    ]
    for route in ask("ip", "-json", "-4", "route", "show", "table", "all"):
        with suppress(ValueError):  # "default", and words of tables other than unicast ones
            found.append(ipaddress.IPv4Network(route["dst"]))
    return found


class Network:
    """The network of one lab. Every method may be called again after it failed half-way."""

    def __init__(self, state: LabState) -> None:
        self._subnet = state.subnet
        self._host = str(state.subnet[1])
        self._gateway = str(state.subnet[254])
        self._router = f"{namespace_prefix(state.lab)}{ROUTER}"
        self._host_link = f"orlab{state.lab}"
        self._lab = state.lab

    def create(self) -> None:
        """Make the router and this machine's link to it."""
        add_namespace(self._router)
        write_sysctl(self._router, "net/ipv4/ip_forward", "1")
        router = ("ip", "-netns", self._router)
        run(*router, "address", "replace", f"{self._gateway}/32", "dev", "lo")
        run(
            "ip",
            "link",
            "add",
            self._host_link,
            "type",
            "veth",
            "peer",
            "name",
            "host",
            "netns",
            self._router,
        )
        run("ip", "link", "set", self._host_link, "alias", f"openraas lab {self._lab}", "up")
        run("ip", "address", "add", f"{self._host}/32", "dev", self._host_link)
        run(*router, "link", "set", "host", "up")
        run(*router, "route", "replace", f"{self._host}/32", "dev", "host")
        via = ("via", self._gateway, "dev", self._host_link, "onlink", "src", self._host)
        run("ip", "route", "replace", str(self._subnet), *via)

    def reach_host(self, address: str) -> None:
        """Let nodes reach an address of this machine that is not the lab's own."""
        if ipaddress.IPv4Address(address) not in self._subnet:
            run("ip", "-netns", self._router, "route", "replace", f"{address}/32", "via", self._host, "dev",
                "host", "onlink")  # fmt: skip

    def attach(self, namespace: str, number: int, link: Link) -> None:
        """Make a node's namespace and its link, shaped."""
        port, address = f"n{number}", str(self._subnet[number])
        node, router = ("ip", "-netns", namespace), ("ip", "-netns", self._router)
        add_namespace(namespace)
        run("ip", "link", "add", "eth0", "netns", namespace, "type", "veth", "peer", "name", port, "netns",
            self._router)  # fmt: skip
        run(*node, "address", "add", f"{address}/32", "dev", "eth0")
        run(*node, "link", "set", "eth0", "up")
        run(*node, "route", "replace", "default", "via", self._gateway, "dev", "eth0", "onlink")
        run(*router, "link", "set", port, "up")
        run(*router, "route", "replace", f"{address}/32", "dev", port)
        shape(namespace, "eth0", link.uplink_bps)
        shape(self._router, port, link.downlink_bps)

    def detach(self, namespace: str, number: int) -> None:
        """Take a node off the network: its namespace, its link and its routes go."""
        self.mend(number)
        remove_namespace(namespace)

    def cut(self, number: int) -> None:
        """Swallow every packet to and from a node; its interface stays up, as behind a broken line."""
        router = ("ip", "-netns", self._router)
        run(*router, "route", "replace", "blackhole", f"{self._subnet[number]}/32")
        if not self.is_cut(number):
            run(*router, "rule", "add", "iif", f"n{number}", "blackhole")

    def mend(self, number: int) -> None:
        """Undo `cut`; a link that is not cut stays as it is."""
        router = ("ip", "-netns", self._router)
        if self.is_cut(number):
            run(*router, "rule", "delete", "iif", f"n{number}", "blackhole")
            run(*router, "route", "replace", f"{self._subnet[number]}/32", "dev", f"n{number}")

    def is_cut(self, number: int) -> bool:
        """Whether the link swallows packets, by what the kernel says."""
        if not (NAMESPACES / self._router).exists():
            return False
        rules = ask("ip", "-netns", self._router, "-json", "rule", "show")
        return any(rule.get("iif") == f"n{number}" for rule in rules)


def shape(namespace: str, interface: str, rate_bps: int | None) -> None:
    """Limit what leaves by an interface (tc-tbf(8)); none removes the limit."""
    tc = ("tc", "-netns", namespace, "qdisc")
    if rate_bps is None:
        return
    burst = max(LEAST_BURST_BYTES, round(rate_bps / 8 * BURST_S))
    run(*tc, "replace", "dev", interface, "root", "tbf", "rate", f"{rate_bps}bit", "burst", f"{burst}b",
        "latency", f"{QUEUE_S * 1000:.0f}ms")  # fmt: skip


def add_namespace(name: str) -> None:
    """Make a network namespace with its loopback up; one that is left from a failed try is replaced."""
    remove_namespace(name)
    run("ip", "netns", "add", name)
    run("ip", "-netns", name, "link", "set", "lo", "up")


def remove_namespace(name: str) -> None:
    """Remove a network namespace and every interface in it, if it is there."""
    path = NAMESPACES / name
    if not path.exists():
        return
    # A link is destroyed at once, a namespace some time later: a new link may want the old one's name.
    for link in ask("ip", "-netns", name, "-json", "link", "show", "type", "veth"):
        with suppress(LabError):  # its other end may be gone already
            run("ip", "-netns", name, "link", "delete", link["ifname"])
    run("ip", "netns", "delete", name)


def remove_link(name: str) -> None:
    """Remove an interface of this machine, if it is there."""
    if (Path("/sys/class/net") / name).exists():
        run("ip", "link", "delete", name)


def write_sysctl(namespace: str, key: str, value: str) -> None:
    """Set a sysctl of a network namespace: /proc/sys/net shows the namespace of whoever looks."""
    run("nsenter", f"--net={NAMESPACES / namespace}", "sh", "-c", f"echo {value} > /proc/sys/{key}")
