"""Manifests: what is accepted, and what is said of what is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from common.access.job import Job
from master.catalogue.manifest import (
    MAXIMUM_CHARACTERS,
    BadManifest,
    Manifest,
    fill,
    json_schema,
    load_manifest,
    parse_manifest,
)

SERVICE: dict[str, Any] = {"image": "openraas/site", "port": 80}
SMALL: dict[str, Any] = {"openraas": 1, "name": "site", "title": "Site", "services": {"web": SERVICE}}


def manifest(service: dict[str, Any] | None = None, **values: Any) -> Manifest:
    return parse_manifest({**SMALL, "services": {"web": {**SERVICE, **(service or {})}}, **values})


def refusal(service: dict[str, Any] | None = None, **values: Any) -> BadManifest:
    with pytest.raises(BadManifest) as caught:
        manifest(service, **values)
    return caught.value


def test_yaml_and_json_say_the_same() -> None:
    assert load_manifest(yaml.safe_dump(SMALL)) == load_manifest(json.dumps(SMALL))


def test_what_was_stored_reads_back_the_same() -> None:
    whole = manifest(
        {"resources": {"memory": "1GiB", "bandwidth": "10Mbit"}, "home": "/home/person", "instances": 2},
        options=[{"name": "size", "type": "integer", "minimum": 1, "default": 3}],
        lease="8h",
    )
    assert Manifest.model_validate(whole.model_dump(mode="json")) == whole


def test_amounts_are_written_as_people_write_them() -> None:
    amounts = manifest({"resources": {"memory": "512MiB", "bandwidth": "10Mbit"}}).services["web"].resources
    assert (amounts.memory, amounts.bandwidth) == (512 * 2**20, 10_000_000)


def test_an_image_without_a_tag_is_latest() -> None:
    assert manifest().services["web"].image == "openraas/site:latest"


def test_what_an_instance_runs_while_it_waits_is_filled_in_like_its_command() -> None:
    options = [{"name": "colour", "default": "red"}]
    service = {**SMALL["services"]["web"], "prewarm": {"command": ["wait", "${colour}"]}}
    manifest = parse_manifest({**SMALL, "services": {"web": service}, "options": options})
    prewarm = fill(manifest, {"colour": "blue"})["web"].spec.prewarm
    assert prewarm is not None
    assert prewarm.command == ["wait", "blue"]


@pytest.mark.parametrize(
    ("service", "values", "field"),
    [
        ({}, {"openraas": 2}, "openraas"),
        ({}, {"colour": "red"}, "colour"),
        ({}, {"name": "No Good"}, "name"),
        ({"imag": "x"}, {}, "services.web.imag"),
        ({"image": "UPPER"}, {}, "services.web.image"),
        ({"image": "../etc"}, {}, "services.web.image"),
        ({"port": None}, {}, "services.web.port"),
        ({"port": 70000}, {}, "services.web.port"),
        ({"port": None, "access": "job", "readiness": {"http": "/"}}, {}, "services.web.readiness.http"),
        ({"home": "/a/../b"}, {}, "services.web.home"),
        ({"home": "/proc/x"}, {}, "services.web.home"),
        ({"home": "/"}, {}, "services.web.home"),
        ({"capabilities": ["SYS_ADMIN"]}, {}, "services.web.capabilities.0"),
        ({"resources": {"memory": "lots"}}, {}, "services.web.resources.memory"),
        ({"environment": {"A": True}}, {}, "services.web.environment.A"),
        ({"command": ["${nothing}"]}, {}, "services.web.command.0"),
        ({"prewarm": {"instances": 2}}, {}, "services.web.prewarm"),
        ({"prewarm": {"command": ["wait"]}, "instances": 2}, {}, "prewarm"),
        ({"prewarm": {"command": ["wait"], "instances": -1}}, {}, "services.web.prewarm.instances"),
        (
            {},
            {"options": [{"name": "a", "type": "integer", "default": 9, "maximum": 3}]},
            "options.0.default",
        ),
        ({}, {"options": [{"name": "a", "pattern": "("}]}, "options.0.pattern"),
        ({}, {"options": [{"name": "a", "type": "choice"}]}, "options.0"),
        ({}, {"options": [{"name": "a", "type": "boolean", "minimum": 3}]}, "options.0"),
        ({}, {"options": [{"name": "a"}, {"name": "a"}]}, "options"),
    ],
)
def test_what_is_wrong_is_named_by_its_key(
    service: dict[str, Any], values: dict[str, Any], field: str
) -> None:
    error = refusal(service, **values)
    assert error.field == field
    assert field in error.message
    assert error.http_status == 422


def test_a_missing_key_is_named() -> None:
    with pytest.raises(BadManifest) as caught:
        parse_manifest({key: value for key, value in SMALL.items() if key != "services"})
    assert caught.value.message == "services: this key is missing."


@pytest.mark.parametrize(
    "text",
    ["", "a: [", "just text", "- 1", "a: &x [1]\nb: *x", "openraas: 1\nopenraas: 1", "[" * 1000, "? [a]\n: 1",
     "!!python/object/apply:os.system [id]", "x" * (MAXIMUM_CHARACTERS + 1), "\x00", "a: 2020-99-99"],
)  # fmt: skip
def test_a_document_that_is_no_manifest_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(BadManifest):
        load_manifest(text)


@given(st.text(max_size=300))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        load_manifest(text)
    except BadManifest as error:
        assert error.message


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(list(Manifest.model_fields)), json_values)
def test_no_value_breaks_the_model(key: str, value: object) -> None:
    try:
        parse_manifest({**SMALL, key: value})
    except BadManifest as error:
        assert error.message


def test_options_are_filled_into_command_and_environment() -> None:
    described = manifest(
        {
            "command": ["serve", "--title=${title}", "$$HOME ${size}"],
            "environment": {"DEBUG": "${debug}", "N": 5},
        },
        options=[
            {"name": "title"},
            {"name": "size", "type": "integer"},
            {"name": "debug", "type": "boolean"},
        ],
    )
    spec = fill(described, {"title": "a ${size} $$", "debug": True})["web"].spec
    # What a person types is never filled in a second time; an option without a value is empty.
    assert spec.command == ["serve", "--title=a ${size} $$", "$HOME "]
    assert spec.environment == {"DEBUG": "true", "N": "5"}


def test_a_secret_is_told_apart_and_stands_nowhere_else() -> None:
    secret = [{"name": "password", "type": "secret"}]
    filled = fill(manifest({"environment": {"PW": "${password}", "A": "1"}}, options=secret), {})["web"]
    assert filled.secrets == {"PW": "password"}
    assert filled.spec.environment == {"A": "1"}
    assert refusal({"command": ["${password}"]}, options=secret).field == "services.web.command.0"
    assert (
        refusal({"environment": {"URL": "x:${password}"}}, options=secret).field
        == "services.web.environment.URL"
    )
    assert "secret" in refusal(options=[{**secret[0], "default": "x"}]).message


def test_several_services_are_described() -> None:
    two = {"web": SERVICE, "db": {"image": "postgres:16", "access": "job", "instances": 2}}
    filled = fill(manifest(services=two), {})
    assert filled["db"].spec.access == Job()
    assert filled["db"].instances == 2
    assert filled["web"].spec.name == "web"


def test_the_schema_tells_editors_of_every_key() -> None:
    schema = json_schema()
    assert set(schema["properties"]) == set(Manifest.model_fields)
    assert schema["additionalProperties"] is False
    memory = schema["$defs"]["ManifestResources"]["properties"]["memory"]
    assert {"type": "string"} in memory["anyOf"]


PLACED = {"openraas": 1, "name": "shop", "title": "Shop"}


def _services(**placements: dict[str, object]) -> dict[str, object]:
    return {
        **PLACED,
        "services": {
            name: {"image": "shop:1", "port": 80, "placement": placement}
            for name, placement in placements.items()
        },
    }


def test_a_service_may_say_where_it_runs_and_the_box_is_not_told() -> None:
    manifest = parse_manifest(
        _services(
            db={"boxes": ["box-3"]},
            web={
                "labels": {"room": "a12"},
                "spread": "room",
                "beside": ["db"],
                "apart": ["web", "games/main"],
            },
        )
    )
    filled = fill(manifest, {})["web"]
    assert filled.placement.labels == {"room": "a12"}
    assert filled.placement.apart == ["web", "games/main"]
    assert not hasattr(filled.spec, "placement")


@pytest.mark.parametrize(
    ("placements", "field"),
    [
        ({"web": {"beside": ["db"]}}, "services.web.placement.beside"),
        ({"web": {"apart": ["db"]}}, "services.web.placement.apart"),
        (
            {"a": {"beside": ["b"]}, "b": {"beside": ["c"]}, "c": {"beside": ["a"]}},
            "services.a.placement.beside",
        ),
        ({"web": {"beside": ["web"]}}, "services.web.placement.beside"),
        ({"web": {"boxes": ["no box"]}}, "services.web.placement.boxes.0"),
        ({"web": {"colour": "red"}}, "services.web.placement.colour"),
    ],
)
def test_a_placement_that_cannot_be_is_named_by_its_key(placements: dict[str, Any], field: str) -> None:
    with pytest.raises(BadManifest) as caught:
        parse_manifest(_services(**placements))
    assert caught.value.field == field
