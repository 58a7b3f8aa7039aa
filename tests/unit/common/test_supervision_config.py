"""What supervisord is told."""

from __future__ import annotations

import configparser
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from supervisor.datatypes import dict_of_key_value_pairs

from common.errors import BadInput
from common.supervision import Program, Supervisor, render


def read(text: str) -> configparser.RawConfigParser:
    # The same dialect as supervisor.options.UnhosedConfigParser.
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    parser.read_string(text)
    return parser


def test_every_program_ends_with_its_supervisor(tmp_path: Path) -> None:
    text = render([Program("web", ("server", "--port", "80"))], run=tmp_path, logs=tmp_path)
    command = shlex.split(read(text)["program:web"]["command"])
    assert command == ["setpriv", "--pdeathsig", "TERM", "--", "server", "--port", "80"]


def test_only_the_owner_reaches_the_supervisor(tmp_path: Path) -> None:
    text = render([], run=tmp_path, logs=tmp_path)
    assert read(text)["unix_http_server"]["chmod"] == "0600"


@given(value=st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), min_size=1))
def test_a_value_reaches_the_program_as_it_was_given_or_is_refused(value: str) -> None:
    program = Program("one", ("run", value), {"KEY": value})
    try:
        section = read(render([program], run=Path("/r"), logs=Path("/l")))["program:one"]
    except BadInput:
        return
    assert shlex.split(section["command"].replace("%%", "%"))[-1] == value
    # supervisord takes quotes at either end off, so such values must have been refused.
    assert dict_of_key_value_pairs(section["environment"].replace("%%", "%")) == {"KEY": value}


def test_a_state_directory_too_deep_for_a_socket_is_named(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    with pytest.raises(BadInput, match="too long") as caught:
        Supervisor(deep, deep).prepare([])
    assert caught.value.field == "state_dir"
