"""The gateway's cookie and its judgement of where a request came from."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.gateway.auth import is_foreign
from workers.gateway.cookies import BadSession, CookieJar, Session, find

JAR = CookieJar(b"k" * 32)
LATER = float(int(time.time()) + 86_400)


@given(instance=st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?\Z"), generation=st.integers(0, 10**9))
def test_what_was_made_is_read_back(instance: str, generation: int) -> None:
    session = Session(instance=instance, generation=generation, until=LATER)
    assert JAR.read(JAR.make(session)) == session


@given(st.text(max_size=100))
def test_nothing_else_is_a_session(value: str) -> None:
    with pytest.raises(BadSession):
        JAR.read(value)


@given(place=st.integers(0, 60), letter=st.characters(min_codepoint=33, max_codepoint=126))
def test_a_changed_letter_spoils_it(place: int, letter: str) -> None:
    value = JAR.make(Session(instance="i-1", generation=1, until=LATER))
    changed = value[:place] + letter + value[place + 1 :]
    if changed != value:
        with pytest.raises(BadSession):
            JAR.read(changed)


def test_another_boxs_cookie_and_an_expired_one_are_refused() -> None:
    with pytest.raises(BadSession):
        CookieJar(b"o" * 32).read(JAR.make(Session(instance="i-1", generation=1, until=LATER)))
    with pytest.raises(BadSession) as refused:
        JAR.read(JAR.make(Session(instance="i-1", generation=1, until=time.time() - 1)))
    assert refused.value.expired


def test_the_key_is_made_once_and_read_by_nobody_else(tmp_path: Path) -> None:
    file = tmp_path / "gateway" / "cookie.key"
    value = CookieJar.load_or_create(file).make(Session(instance="i-1", generation=1, until=LATER))
    assert CookieJar.load_or_create(file).read(value).instance == "i-1"
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("", None),
        ("a=1", None),
        ("x__Host-openraas=no", None),
        ("__Host-openraas=v", "v"),
        ("a=1; __Host-openraas=v; b=2", "v"),
        ("a=1;__Host-openraas=v", "v"),
    ],
)
def test_the_cookie_is_found_among_others(header: str, value: str | None) -> None:
    assert find(header) == value


OWN = {"host": "i-1.localhost:8090", "x-openraas-scheme": "http"}


@pytest.mark.parametrize(
    ("headers", "foreign"),
    [
        ({}, False),
        ({"origin": "http://i-1.localhost:8090"}, False),
        ({"origin": "http://i-2.localhost:8090"}, True),
        ({"origin": "https://i-1.localhost:8090"}, True),
        ({"origin": "null"}, True),
        ({"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}, False),
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"}, True),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, False),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}, True),
    ],
)
def test_following_a_link_is_fine_and_all_else_must_come_from_the_own_origin(
    headers: dict[str, str], foreign: bool
) -> None:
    assert is_foreign({**OWN, **headers}) is foreign
