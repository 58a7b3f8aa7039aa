"""The rules as text."""

from __future__ import annotations

from pathlib import Path

from workers.box.config import BoxConfig
from workers.compute.firewall import NEVER, PRIVATE, Bridge, Rules, bridge_prefix, resolvers

RULES = Rules("ors0a1b2c")
USUAL = Bridge("orsa", "10.213.0.1")
TRUSTED = Bridge("orsb", "10.213.0.17", private=True)
OFFLINE = Bridge("orsc", "10.213.0.33", internet=False)


def forward(*bridges: Bridge, dns: tuple[str, ...] = ()) -> list[str]:
    """The rules of the forward chain without its name."""
    text = RULES.render(bridges, dns, gateway_resolves=False)
    start = f"-A {RULES.forward} "
    return [line.removeprefix(start) for line in text.splitlines() if line.startswith(start)]


def test_bridges_of_two_boxes_have_different_names_that_the_kernel_takes() -> None:
    near = BoxConfig(box="near", state_dir=Path("/one"))
    others = [BoxConfig(box="far", state_dir=Path("/one")), BoxConfig(box="near", state_dir=Path("/two"))]
    assert bridge_prefix(near) not in {bridge_prefix(other) for other in others}
    assert len(bridge_prefix(near) + "012345") <= 15


def test_chains_fit_the_kernels_limit_of_names() -> None:
    assert max(len(RULES.input), len(RULES.forward)) <= 28


def test_the_whole_set_is_one_transaction_that_empties_its_chains_first() -> None:
    lines = RULES.render([USUAL], [], gateway_resolves=False).splitlines()
    assert lines[:3] == ["*mangle", f":{RULES.input} - [0:0]", f":{RULES.forward} - [0:0]"]
    assert lines[-1] == "COMMIT"


def test_other_deployments_are_closed_before_anything_is_opened_to_private_addresses() -> None:
    rules = forward(USUAL, TRUSTED)
    closed = rules.index("-o ors+ -j DROP")
    opened = rules.index("-i orsb -d 10.0.0.0/8 -j ACCEPT")
    assert closed < opened < rules.index("-d 10.0.0.0/8 -j DROP")
    assert not [rule for rule in rules if rule.startswith("-i orsa -d")]


def test_metadata_and_link_local_are_closed_even_to_the_trusted() -> None:
    rules = forward(TRUSTED)
    opened = min(index for index, rule in enumerate(rules) if rule.startswith("-i orsb -d"))
    for network in NEVER:
        assert rules.index(f"-d {network} -j DROP") < opened
    assert {f"-d {network} -j DROP" for network in PRIVATE} <= set(rules)


def test_without_internet_only_the_own_bridge_and_name_servers_are_left() -> None:
    rules = forward(OFFLINE, dns=("192.168.1.1",))
    assert rules[-1] == "-i orsc -j DROP"
    assert "-i orsc -o orsc -j ACCEPT" in rules
    assert rules.index("-d 192.168.1.1 -p udp --dport 53 -j ACCEPT") < rules.index(
        "-d 192.168.0.0/16 -j DROP"
    )


def test_the_box_takes_nothing_but_answers_and_questions_for_names() -> None:
    text = RULES.render([USUAL], ["192.168.1.1"], gateway_resolves=True)
    rules = [line.split(maxsplit=2)[2] for line in text.splitlines() if line.startswith(f"-A {RULES.input} ")]
    assert rules[-1] == "-j DROP"
    assert "-i orsa -d 10.213.0.1 -p udp --dport 53 -j ACCEPT" in rules
    assert all("--dport 53" in rule or "ESTABLISHED" in rule for rule in rules[:-1])


def test_nothing_passes_by_ipv6() -> None:
    lines = RULES.render_closed().splitlines()[3:-1]
    assert lines == [f"-A {RULES.input} -j DROP", f"-A {RULES.forward} -j DROP"]


def test_name_servers_on_loopback_and_in_ipv6_are_left_to_the_engine(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text(
        "# comment\nnameserver 127.0.0.53\nnameserver 192.168.1.1\nnameserver fe80::1\nnameserver x\n"
    )
    assert resolvers(file) == ["192.168.1.1"]
    assert resolvers(tmp_path / "none") == []
