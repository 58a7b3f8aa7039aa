"""Random numbers: a stream of its own per purpose, so that what one draws never shifts what another draws."""

from __future__ import annotations

from enum import StrEnum

import numpy as np


class Purpose(StrEnum):
    """What is drawn. The order is part of what a seed means: new ones go to the end."""

    DEVICES = "devices"
    BACKBONE = "backbone"
    CATALOGUE = "catalogue"
    COPIES = "copies"
    ONLINE = "online"
    LENDING = "lending"
    DEMAND = "demand"
    POLICY = "policy"


def streams(seed: int) -> dict[Purpose, np.random.Generator]:
    """A generator per purpose; the same seed gives the same numbers, bit for bit."""
    children = np.random.SeedSequence(seed).spawn(len(Purpose))
    return {
        purpose: np.random.Generator(np.random.PCG64(child))
        for purpose, child in zip(Purpose, children, strict=True)
    }
