"""Options: a form, a program and the command line give the same values."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from master.catalogue.options import BadOptions, Option, check


def option(**values: Any) -> Option:
    return Option.model_validate({"name": "it", **values})


def problem(value: object, **values: Any) -> str:
    with pytest.raises(BadOptions) as caught:
        check([option(**values)], {"it": value})
    assert caught.value.field == "options.it"
    return caught.value.problems["it"]


@pytest.mark.parametrize(
    ("described", "given_value", "expected"),
    [
        ({"type": "integer"}, "5", 5),
        ({"type": "integer"}, 5.0, 5),
        ({"type": "number"}, "2.5", 2.5),
        ({"type": "boolean"}, "on", True),
        ({"type": "boolean"}, "false", False),
        ({"type": "choice", "choices": ["a", "b"]}, "b", "b"),
        ({"type": "text", "pattern": "[a-z]+"}, "abc", "abc"),
        ({"type": "integer", "default": 3}, "", 3),
    ],
)
def test_texts_and_typed_values_give_the_same(
    described: dict[str, Any], given_value: object, expected: object
) -> None:
    assert check([option(**described)], {"it": given_value}) == ({"it": expected}, {})


@pytest.mark.parametrize(
    ("described", "value"),
    [
        ({"type": "integer"}, "5.5"),
        ({"type": "integer"}, True),
        ({"type": "integer"}, "9" * 400),
        ({"type": "integer", "minimum": 2}, 1),
        ({"type": "integer", "maximum": 2}, "3"),
        ({"type": "number"}, "nan"),
        ({"type": "number"}, 1e999),
        ({"type": "boolean"}, "maybe"),
        ({"type": "choice", "choices": ["a"]}, "A"),
        ({"type": "text"}, 5),
        ({"type": "text", "pattern": "[a-z]+"}, "abc\n"),
        ({"type": "text", "pattern": "a|b"}, "ab"),
        ({"type": "text", "maximum_length": 3}, "abcd"),
        ({"type": "text"}, "a\0b"),
        ({"type": "text"}, "x" * 1001),
        ({"type": "text", "required": True}, ""),
    ],
)
def test_what_is_out_of_range_is_told(described: dict[str, Any], value: object) -> None:
    assert problem(value, **described)


def test_an_unknown_option_is_named_with_those_that_there_are() -> None:
    with pytest.raises(BadOptions, match=r"Option colour: .*it has it"):
        check([option()], {"colour": "red"})


def test_all_problems_are_told_at_once() -> None:
    options = [option(name="a", type="integer"), option(name="b", required=True)]
    with pytest.raises(BadOptions) as caught:
        check(options, {"a": "x"})
    assert set(caught.value.problems) == {"a", "b"}


def test_secret_values_are_kept_apart() -> None:
    assert check([option(type="secret"), option(name="x")], {"it": "hush", "x": "1"}) == (
        {"x": "1"},
        {"it": "hush"},
    )


def test_a_pattern_that_backtracks_is_answered_at_once() -> None:
    # Python's own expressions would need longer than the universe has had.
    assert problem("a" * 500 + "!", pattern="(a+)+b")


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text())


@given(st.sampled_from(["text", "integer", "number", "boolean", "secret"]), values)
def test_no_value_breaks_a_check(kind: str, value: object) -> None:
    try:
        check([option(type=kind)], {"it": value})
    except BadOptions as error:
        assert error.problems["it"]
