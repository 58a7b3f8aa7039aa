"""Where a master is, as people type it."""

from __future__ import annotations

import pytest

from common.addresses import MasterAddress, bracketed, from_here, is_everywhere
from common.errors import BadInput


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("localhost:9000", "http://localhost:9000"),
        ("http://localhost", "http://localhost:80"),
        ("http://[::1]:81/", "http://[::1]:81"),
        ("master.example", "https://master.example:8080"),
        ("https://master.example", "https://master.example:443"),
        ("https://192.0.2.7:8443", "https://192.0.2.7:8443"),
    ],
)
def test_a_master_is_given_by_url_or_host(text: str, url: str) -> None:
    assert MasterAddress.parse(text, field="URL").url == url


@pytest.mark.parametrize(
    "text",
    ["http://192.0.2.7:8080", "http://master.example", "ftp://x", "", "https://x/y", "https://x:99999"],
)
def test_a_secret_never_travels_in_the_clear_nor_to_what_is_no_address(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        MasterAddress.parse(text, field="URL")
    assert (caught.value.field, bool(caught.value.remedy)) == ("URL", True)


@pytest.mark.parametrize(
    ("listen", "everywhere", "here"),
    [("0.0.0.0", True, "127.0.0.1"), ("::", True, "::1"), ("192.0.2.7", False, "192.0.2.7")],
)
def test_what_listens_everywhere_is_reached_on_loopback(listen: str, everywhere: bool, here: str) -> None:
    assert (is_everywhere(listen), from_here(listen)) == (everywhere, here)


def test_only_an_ipv6_address_stands_in_brackets() -> None:
    assert [bracketed(host) for host in ("::1", "192.0.2.7", "a.example")] == [
        "[::1]",
        "192.0.2.7",
        "a.example",
    ]
