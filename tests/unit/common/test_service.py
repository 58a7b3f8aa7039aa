"""Mount points: one spelling for each place, and none that hides what belongs to the kernel."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from common.service import SYSTEM_PATHS, MountPoint, ServiceSpec
from common.wishes import MountWish
from common.words import MountMode, Resources

MOUNT_POINT: TypeAdapter[str] = TypeAdapter(MountPoint)
SLASHES = st.integers(1, 4).map(lambda count: "/" * count)
STEPS = st.lists(st.tuples(SLASHES, st.sampled_from([".", ""])), max_size=3).map(
    lambda steps: "".join(slashes + step for slashes, step in steps)
)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("/data", "/data"),
        ("//data", "/data"),
        ("/data//x/", "/data/x"),
        ("/./data/.", "/data"),
        ("/procs", "/procs"),
    ],
)
def test_a_mount_point_has_one_spelling(written: str, meant: str) -> None:
    assert MOUNT_POINT.validate_python(written) == meant


@pytest.mark.parametrize(
    "path", ["", "data", "/", "//", "/.", "/data/..", "/a/../proc", "/a\0b", "/" + "x" * 300]
)
def test_what_is_no_place_below_the_root_is_refused(path: str) -> None:
    with pytest.raises(ValidationError):
        MOUNT_POINT.validate_python(path)


@given(st.sampled_from(SYSTEM_PATHS), STEPS, SLASHES, STEPS, st.sampled_from(["", "/x", "//self/./root"]))
def test_what_belongs_to_the_kernel_is_refused_in_every_spelling(
    top: str, before: str, slashes: str, after: str, below: str
) -> None:
    with pytest.raises(ValidationError, match="not below"):
        MOUNT_POINT.validate_python(f"{before}{slashes}{top[1:]}{after}{below}")


@given(st.text(st.sampled_from("/.apdevrocsy"), max_size=20).map(lambda text: f"/{text}"))
def test_whatever_is_taken_is_normal_and_leads_to_none_of_these(path: str) -> None:
    try:
        taken = MOUNT_POINT.validate_python(path)
    except ValidationError:
        return
    assert taken == "/" + posixpath.normpath(path).lstrip("/")
    assert f"/{taken.split('/')[1]}" not in ("/", *SYSTEM_PATHS)
    assert MOUNT_POINT.validate_python(taken) == taken


def test_a_box_refuses_such_a_place_too_whatever_the_master_says() -> None:
    with pytest.raises(ValidationError, match="target"):
        MountWish(fileset="f", version=1, target="//proc", mode=MountMode.READ_ONLY, filestore="b")
    with pytest.raises(ValidationError, match="writable"):
        ServiceSpec(name="web", image="i:1", resources=Resources(), writable=["/sys/./fs"])
