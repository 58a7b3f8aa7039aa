"""Errors say what to do next."""

from __future__ import annotations

import pytest

from common.errors import OpenRaaSError
from common.oci.members import BadArchive
from workers.compute.errors import BadImage, EngineError, NoNetwork, PullFailed
from workers.depository.errors import TransferError
from workers.filestore.errors import MountError, ProgramFailed, StillThere
from workers.lab.errors import LabError


@pytest.mark.parametrize(
    "kind",
    [BadArchive, BadImage, EngineError, LabError, MountError, NoNetwork, ProgramFailed, PullFailed, StillThere,
     TransferError],
)  # fmt: skip
def test_an_error_of_a_box_says_what_usually_helps_unless_it_knows_better(kind: type[OpenRaaSError]) -> None:
    assert kind.usual_remedy
    assert str(kind("It broke.")) == f"It broke. {kind.usual_remedy}"
    assert str(kind("It broke.", remedy="Mend it.")) == "It broke. Mend it."


def test_an_error_without_any_remedy_says_only_what_happened() -> None:
    assert str(OpenRaaSError("It broke.")) == "It broke."
