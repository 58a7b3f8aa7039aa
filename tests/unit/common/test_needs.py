"""What a machine lacks is named with its remedy."""

from __future__ import annotations

import socket

import pytest

from common.errors import Unavailable
from common.needs import Need, Port, require, require_free


def test_a_missing_program_is_named_with_the_package_that_brings_it() -> None:
    with pytest.raises(Unavailable) as caught:
        require([Need("sh", "dash", "scripts"), Need("no-such-server", "no-such-package", "queues")])
    assert "no-such-server (for queues)" in str(caught.value)
    assert "apt-get install --no-install-recommends no-such-package" in str(caught.value)
    assert "dash" not in str(caught.value)


def test_a_port_in_use_is_named_with_the_setting_that_changes_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=str(port)) as caught:
            require_free([Port("127.0.0.1", port, "OPENRAAS_WEB_PORT", "the portal")])
    assert caught.value.field == "OPENRAAS_WEB_PORT"
    assert "OPENRAAS_WEB_PORT" in str(caught.value)
    require_free([Port("127.0.0.1", port, "OPENRAAS_WEB_PORT", "the portal")])


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(Unavailable, match="this machine"):
        require_free([Port("192.0.2.200", 0, "OPENRAAS_LISTEN", "the portal")])
