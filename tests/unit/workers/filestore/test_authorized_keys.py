"""Lines of `authorized_keys`: what a key may do is written there, so nothing else may get in."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers.filestore.errors import Refused
from workers.filestore.protocols import Admission
from workers.filestore.protocols.sshfs import authorized_key, expiry

KEY = "ssh-ed25519 " + "A" * 68
ENTER = Path("/state/exports/enter")


def test_a_key_runs_one_command_until_its_lease_ends() -> None:
    line = authorized_key(Admission("g-1", KEY, 1_700_000_000.0), ENTER)
    assert (
        line == f'restrict,expiry-time="20231114221320Z",command="/bin/sh /state/exports/enter g-1" {KEY}\n'
    )
    assert authorized_key(Admission("g-1", KEY, None), ENTER) == (
        f'restrict,command="/bin/sh /state/exports/enter g-1" {KEY}\n'
    )


def test_an_end_is_written_in_universal_time() -> None:
    assert expiry(0) == "19700101000000Z"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "ssh-rsa AAAA",
        KEY + "\n" + KEY,
        KEY + " comment",
        "ssh-ed25519 " + "A" * 67,
        'command="sh" ' + KEY,
        "ssh-ed25519 " + "A" * 67 + "\n",
        KEY + "\n",
    ],
)
def test_what_is_not_exactly_a_key_is_refused(key: str) -> None:
    with pytest.raises(Refused, match="not an ed25519 key"):
        authorized_key(Admission("g-1", key, None), ENTER)
