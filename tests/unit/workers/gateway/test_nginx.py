"""nginx's configuration as text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from common.errors import Unavailable
from workers.box.config import BoxConfig, BoxPaths
from workers.gateway.nginx import instance_suffix, render


def config(state_dir: Path = Path("/state"), **changes: object) -> BoxConfig:
    return BoxConfig.model_validate({"box": "near", "state_dir": state_dir, **changes})


def test_on_loopback_instances_are_names_under_localhost_by_plain_http() -> None:
    text = render(config(), BoxPaths(Path("/state")), "apps.example.org")
    assert text.count("listen 127.0.0.1:8090") == 2
    assert "ssl" not in text
    assert r")\.localhost$" in text


def test_elsewhere_they_are_names_under_the_box_by_tls() -> None:
    far = config(address="192.0.2.7")
    assert instance_suffix(far, "apps.example.org") == "near.apps.example.org"
    text = render(far, BoxPaths(Path("/state")), "apps.example.org")
    assert text.count("listen 192.0.2.7:8090 ssl") == 2
    assert "default /state/tls/box.crt;" in text


def test_an_ipv6_address_is_written_in_brackets() -> None:
    text = render(config(address="2001:db8::7"), BoxPaths(Path("/state")), "x")
    assert "listen [2001:db8::7]:8090 ssl" in text


def test_nothing_of_the_template_is_left_over() -> None:
    assert not re.findall(r"@[A-Z_]+@", render(config(), BoxPaths(Path("/state")), "x"))


@pytest.mark.parametrize("place", ["/a b", "/a;b", '/a"b', "/a$b", "/a{b"])
def test_a_path_that_could_end_a_word_is_refused(place: str) -> None:
    with pytest.raises(Unavailable, match="state directory"):
        render(config(Path(place)), BoxPaths(Path(place)), "x")


def test_nobody_but_the_front_makes_nginx_send_files() -> None:
    text = render(config(), BoxPaths(Path("/state")), "x")
    others = [
        block
        for block in re.findall(r"location [^{]+\{(.*?)\n        \}", text, re.DOTALL)
        if "http://$" in block
    ]
    assert len(others) == 3
    assert all("proxy_ignore_headers X-Accel-Redirect" in block for block in others)
