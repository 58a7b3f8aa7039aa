"""What a container can reach, tried from inside: an engine in a namespace of its own, with an owner's network.

container ── bridge ── box (192.168.77.1) ── cable ── router (192.168.77.2) with everything behind it
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from common.service import Egress
from common.words import Resources
from tests.support.engine import run_engine
from tests.support.namespaces import inside, ip, link, namespace, web_servers
from tests.support.redis import wait_until
from tests.support.registry import make_image
from workers.box.config import BoxConfig
from workers.box.leftovers import clean
from workers.box.table import Table
from workers.compute.engine import ContainerSpec, Engine
from workers.compute.engines import find_engine
from workers.compute.firewall import Firewall, Rules, bridge_prefix
from workers.compute.instances import InstanceRow, Instances
from workers.compute.networks import NetworkPool

pytestmark = pytest.mark.engine

BOX = "isolation-test"
LABELS = {"openraas.box": BOX}
INTERNET, CGNAT, METADATA, OWNERS = "203.0.113.5", "100.64.0.9", "169.254.169.254", "192.168.77.2"
RESOLVER = "10.255.255.53"


@dataclass
class World:
    """A box in a network."""

    name: str
    config: BoxConfig
    engine: Engine
    pool: NetworkPool
    instances: Instances
    firewall: Firewall
    image: str

    def run(self, instance: str, deployment: str, command: str, egress: Egress | None = None) -> InstanceRow:
        """Start a container as a deployment's instance."""
        row = self.instances.admit(instance, 1, deployment, Resources(), Resources())
        attachment = self.pool.attach(row, egress or Egress())
        spec = ContainerSpec(
            name=f"isolation-{instance}",
            image=self.image,
            hostname=instance,
            labels=LABELS,
            network=attachment.network.name,
            address=attachment.address,
            aliases=(instance,),
            cpu=0.2,
            memory_bytes=32 * 2**20,
            pids=100,
            command=("sh", "-c", command),
        )
        self.engine.start(self.engine.create(spec))
        placed = self.instances.get(instance)
        assert placed is not None
        return placed

    def reaches(
        self, instance: str, deployment: str, egress: Egress | None = None, **targets: str
    ) -> set[str]:
        """Which of the targets answer to a container on port 80."""
        # Not wget: a static busybox of Debian crashes in it without the C library's own modules.
        ask = r"printf 'GET /index.html HTTP/1.0\r\n\r\n' | nc -w 3"
        tries = [
            f"({ask} {host} 80 | grep -q -E 'reached|hello' && echo {name}) &"
            for name, host in targets.items()
        ]
        self.run(instance, deployment, "\n".join([*tries, "wait"]), egress)
        container = f"isolation-{instance}"

        def ended() -> bool:
            facts = self.engine.inspect(container)
            return facts is not None and not facts.running

        wait_until(ended, 20, "the end of the attempts")
        return set(self.engine.logs(container, lines=50).decode().split()) & set(targets)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        box, router = stack.enter_context(namespace("b")), stack.enter_context(namespace("r"))
        link(box, "192.168.77.1/24", router, f"{OWNERS}/24")
        ip("-n", box, "route", "add", "default", "via", OWNERS)
        for address in (INTERNET, CGNAT, METADATA, RESOLVER):
            ip("-n", router, "address", "add", f"{address}/32", "dev", "lo")
        stack.enter_context(web_servers(router, "0.0.0.0"))
        stack.enter_context(web_servers(box, "0.0.0.0"))
        server = stack.enter_context(run_engine(box))
        engine = find_engine(server.url)
        yield from inside_world(box, engine, server.url, tmp_path_factory.mktemp("isolation"))


def inside_world(box: str, engine: Engine, engine_url: str, state: Path) -> Iterator[World]:
    from tests.support.registry import run_registry

    image = make_image()
    config = BoxConfig(
        box=BOX,
        state_dir=state,
        allow_private_egress=True,
        network_range="10.213.0.0/24",
        engine_url=engine_url,
    )
    table = Table(state / "box.db")
    instances = Instances(table)
    firewall = Firewall(bridge_prefix(config), gateway_resolves=engine.gateway_resolves_names)
    pool = NetworkPool(config, table, instances, engine, firewall)

    def prepare() -> str:
        with run_registry(image) as registry:
            reference = f"127.0.0.1:{registry.port}/sample@{image.manifest}"
            engine.pull(reference).wait()
        pool.adopt()
        pool.refill()
        return reference

    reference = inside(box, prepare)
    try:
        yield World(box, config, engine, pool, instances, firewall, reference)
    finally:
        inside(box, lambda: clean(config))


def test_a_container_reaches_the_internet_and_its_own_deployment(world: World) -> None:
    def check() -> set[str]:
        web = world.run("web", "d-own", "httpd -f -p 80 -h /www")
        return world.reaches("seeker", "d-own", internet=INTERNET, neighbour=str(web.address))

    assert inside(world.name, check) == {"internet", "neighbour"}


def test_a_container_reaches_no_other_deployment_no_service_of_the_box_and_nothing_private(
    world: World,
) -> None:
    def check() -> set[str]:
        other = world.run("other", "d-other", "httpd -f -p 80 -h /www")
        mine = world.instances.admit("captive", 1, "d-captive", Resources(), Resources())
        gateway = world.pool.attach(mine, Egress()).network.gateway
        return world.reaches(
            "captive",
            "d-captive",
            other_deployment=str(other.address),
            box_on_bridge=gateway,
            box_on_lan="192.168.77.1",
            owners_network=OWNERS,
            carrier_grade=CGNAT,
            metadata=METADATA,
            internet=INTERNET,
        )

    assert inside(world.name, check) == {"internet"}


def test_with_both_permissions_private_addresses_open_but_neither_box_nor_metadata(world: World) -> None:
    def check() -> set[str]:
        other = world.run("other2", "d-other2", "httpd -f -p 80 -h /www")
        return world.reaches(
            "trusted",
            "d-trusted",
            Egress(private=True),
            other_deployment=str(other.address),
            box_on_lan="192.168.77.1",
            owners_network=OWNERS,
            carrier_grade=CGNAT,
            metadata=METADATA,
            internet=INTERNET,
        )

    assert inside(world.name, check) == {"owners_network", "carrier_grade", "internet"}


def test_instances_of_one_deployment_find_each_other_by_name(world: World) -> None:
    def check() -> tuple[str, str]:
        web = world.run("named", "d-named", "httpd -f -p 80 -h /www")
        world.run("asking", "d-named", "nslookup named 127.0.0.11")
        wait_until(lambda: b"Name:" in world.engine.logs("isolation-asking", lines=50), 20, "the answer")
        return str(web.address), world.engine.logs("isolation-asking", lines=50).decode()

    address, answer = inside(world.name, check)
    assert address in answer


def test_a_deployment_without_internet_reaches_only_itself(world: World) -> None:
    def check() -> set[str]:
        egress = Egress(internet=False)
        web = world.run("web3", "d-offline", "httpd -f -p 80 -h /www", egress)
        return world.reaches("offline", "d-offline", egress, internet=INTERNET, neighbour=str(web.address))

    assert inside(world.name, check) == {"neighbour"}


def test_rules_are_the_same_after_they_were_set_twice_and_gone_when_the_box_is_cleaned(world: World) -> None:
    def rules() -> list[str]:
        saved = subprocess.run(["iptables-save", "-t", "mangle"], capture_output=True, text=True, check=True)
        chains = Rules(bridge_prefix(world.config))
        return [line for line in saved.stdout.splitlines() if line.startswith("-A") and (
            chains.input in line or chains.forward in line)]  # fmt: skip

    def check() -> None:
        world.pool.refill()
        once = rules()
        assert once
        world.pool.refill()
        world.pool.adopt()
        assert sorted(rules()) == sorted(once)
        subprocess.run(["iptables", "-t", "mangle", "-F"], check=True)
        assert not world.firewall.is_hooked()
        world.pool.refill()
        assert sorted(rules()) == sorted(once)

    inside(world.name, check)
    inside(world.name, lambda: clean(world.config))
    assert inside(world.name, rules) == []
    assert world.engine.networks(LABELS) == {}
