"""What containers may reach: rules of the kernel's packet filter on the bridges of this box.

The chains hang in the table `mangle`, which is asked before `filter`: whatever order Docker, Podman or the
owner's own firewall give their rules there, a packet that these chains drop is gone, and a packet that they
let pass still meets the owner's rules. The whole set is rendered anew and swapped in at once
(iptables-restore(8) flushes the chains that it names), so applying it twice changes nothing.
"""

from __future__ import annotations

import hashlib
import ipaddress
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.logs import get_logger
from workers.box.config import BoxConfig
from workers.compute.errors import FirewallError

log = get_logger(__name__)

# How the names of all bridges of all boxes start.
BRIDGES = "ors"
TIMEOUT_S = 20.0
# How long to wait for another program that changes rules at this moment.
LOCK_WAIT_S = "10"

# Never, whoever allows what: this network, loopback, link-local with the metadata services of clouds (also
# those outside link-local), multicast, reserved and broadcast (RFC 6890).
NEVER = (
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "100.100.100.200/32",
    "192.0.0.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
)
# Only with the permission of the manifest and of the box's owner: RFC 1918, RFC 6598, RFC 2544.
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15")

_RETURN_TRAFFIC = "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"


@dataclass(frozen=True)
class Bridge:
    """A deployment's bridge and what its containers may reach beside each other."""

    name: str
    gateway: str
    internet: bool = True
    private: bool = False


def bridge_prefix(config: BoxConfig) -> str:
    """How the names of this box's bridges start: two boxes on one machine keep apart, whatever their names.

    A name of an interface has 15 characters at most; six are left for the bridge's own mark.
    """
    state = f"{config.box} {config.state_dir.resolve()}"
    return f"{BRIDGES}{hashlib.sha256(state.encode()).hexdigest()[:6]}"


def resolvers(file: Path = Path("/etc/resolv.conf")) -> list[str]:
    """The box's name servers (IPv4) that a container asks directly; its engine asks those on loopback."""
    found = []
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver":
            continue
        try:
            address = ipaddress.ip_address(words[1])
        except ValueError:
            continue
        if address.version == 4 and not address.is_loopback:
            found.append(str(address))
    return found


class Rules:
    """The rules of one box, as text for iptables-restore. Pure. `prefix` is that of its bridges."""

    def __init__(self, prefix: str) -> None:
        self.bridges = f"{prefix}+"
        suffix = prefix.removeprefix(BRIDGES)
        self.input = f"OPENRAAS-INPUT-{suffix}"
        self.forward = f"OPENRAAS-FORWARD-{suffix}"
        self.hooks = (
            ("INPUT", "-i", self.bridges, "-j", self.input),
            ("FORWARD", "-i", self.bridges, "-j", self.forward),
            ("FORWARD", "-o", self.bridges, "-j", self.forward),
        )

    def render(self, bridges: Sequence[Bridge], dns: Iterable[str], *, gateway_resolves: bool) -> str:
        """Both chains for IPv4."""
        servers = list(dns)
        return self._table(
            [*self._input(bridges, servers, gateway_resolves), *self._forward(bridges, servers)]
        )

    def render_closed(self) -> str:
        """Both chains for IPv6, which no deployment has: nothing passes."""
        return self._table([f"-A {self.input} -j DROP", f"-A {self.forward} -j DROP"])

    def _table(self, lines: Iterable[str]) -> str:
        chains = [f":{self.input} - [0:0]", f":{self.forward} - [0:0]"]
        return "\n".join(["*mangle", *chains, *lines, "COMMIT", ""])

    def _input(self, bridges: Sequence[Bridge], dns: list[str], gateway_resolves: bool) -> list[str]:
        chain = f"-A {self.input}"
        lines = [f"{chain} {_RETURN_TRAFFIC}"]
        lines += [f"{chain} {rule}" for server in dns for rule in _dns(server)]
        if gateway_resolves:
            lines += [
                f"{chain} -i {bridge.name} {rule}" for bridge in bridges for rule in _dns(bridge.gateway)
            ]
        return [*lines, f"{chain} -j DROP"]

    def _forward(self, bridges: Sequence[Bridge], dns: list[str]) -> list[str]:
        chain = f"-A {self.forward}"
        lines = [f"{chain} {_RETURN_TRAFFIC}"]
        lines += [f"{chain} -i {bridge.name} -o {bridge.name} -j ACCEPT" for bridge in bridges]
        # Other deployments, of this box or another on this machine; and nobody outside opens a connection in.
        lines += [f"{chain} -o {BRIDGES}+ -j DROP"]
        lines += [f"{chain} {rule}" for server in dns for rule in _dns(server)]
        lines += [f"{chain} -d {network} -j DROP" for network in NEVER]
        lines += [
            f"{chain} -i {bridge.name} -d {network} -j ACCEPT"
            for bridge in bridges
            if bridge.private
            for network in PRIVATE
        ]
        lines += [f"{chain} -d {network} -j DROP" for network in PRIVATE]
        return [*lines, *(f"{chain} -i {bridge.name} -j DROP" for bridge in bridges if not bridge.internet)]


def _dns(server: str) -> list[str]:
    return [f"-d {server} -p {protocol} --dport 53 -j ACCEPT" for protocol in ("udp", "tcp")]


class Firewall:
    """Sets and removes the rules of one box in the network namespace of this process."""

    def __init__(self, prefix: str, *, gateway_resolves: bool) -> None:
        self._rules = Rules(prefix)
        self._gateway_resolves = gateway_resolves
        self._has_ipv6 = Path("/proc/net/if_inet6").exists()

    def apply(self, bridges: Sequence[Bridge]) -> None:
        """Make the rules be what these bridges need. Raises FirewallError."""
        rules = self._rules.render(bridges, resolvers(), gateway_resolves=self._gateway_resolves)
        _run("iptables-restore", "--noflush", "-w", LOCK_WAIT_S, text=rules)
        self._hook("iptables")
        if self._has_ipv6:
            _run("ip6tables-restore", "--noflush", "-w", LOCK_WAIT_S, text=self._rules.render_closed())
            self._hook("ip6tables")

    def is_hooked(self) -> bool:
        """Whether packets still meet the rules: another program may have flushed the table."""
        return all(_succeeds("iptables", "-C", hook) for hook in self._rules.hooks)

    def remove(self) -> None:
        """Take every rule and chain of this box out again."""
        for tool in ("iptables", "ip6tables") if self._has_ipv6 else ("iptables",):
            for hook in self._rules.hooks:
                while _succeeds(tool, "-D", hook):
                    pass
            for chain in (self._rules.input, self._rules.forward):
                _succeeds(tool, "-F", (chain,))
                _succeeds(tool, "-X", (chain,))

    def _hook(self, tool: str) -> None:
        for hook in self._rules.hooks:
            if not _succeeds(tool, "-C", hook):
                _run(tool, "-w", LOCK_WAIT_S, "-t", "mangle", "-I", *hook)


def _succeeds(tool: str, verb: str, rule: Sequence[str]) -> bool:
    command = (tool, "-w", LOCK_WAIT_S, "-t", "mangle", verb, *rule)
    return subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False).returncode == 0


def _run(*command: str, text: str | None = None) -> None:
    try:
        subprocess.run(command, input=text, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    except FileNotFoundError as error:
        raise FirewallError(
            f"{command[0]} is not installed.", remedy="Run as root: apt-get install iptables"
        ) from error
    except subprocess.SubprocessError as error:
        why = getattr(error, "stderr", "") or str(error)
        raise FirewallError(
            f"The packet filter could not be set: {why.strip()}.",
            remedy="The compute role needs root (CAP_NET_ADMIN), so that containers stay apart.",
        ) from error
