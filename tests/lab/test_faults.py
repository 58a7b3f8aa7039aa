"""Boxes that are cut off, killed and healed."""

from __future__ import annotations

import pytest

from tests.lab import applications
from tests.lab.portal import Portal
from tests.support.redis import wait_until
from workers.lab.fleet import Lab
from workers.lab.master import Master

pytestmark = [pytest.mark.lab, pytest.mark.engine]

SEEN_S = 60.0


def wait_online(lab: Lab, name: str, online: bool) -> None:
    """Wait until the master sees, or no longer sees, a box."""
    what = f"{name} {'seen' if online else 'missed'} by the master"
    wait_until(lambda: (name in Master(lab.state).online()) == online, SEEN_S, what)


def test_a_box_that_was_cut_off_is_missed_and_comes_back_with_what_it_ran(lab: Lab, portal: Portal) -> None:
    compute = lab.state.boxes[0].name
    deployment = portal.start("lab-site")
    try:
        portal.wait(deployment, "running")
        lab.cut(compute)
        try:
            wait_online(lab, compute, False)
        finally:
            lab.heal(compute)
        wait_online(lab, compute, True)

        portal.wait(deployment, "running")
        assert portal.open(deployment).get(f"/{applications.FILE}").text == applications.TEXT
    finally:
        portal.stop(deployment)


def test_an_image_still_comes_when_one_of_its_depositories_is_killed(lab: Lab, portal: Portal) -> None:
    killed = lab.state.boxes[3].name
    lab.kill(killed)
    try:
        wait_online(lab, killed, False)
        deployment = portal.start("lab-site")
        try:
            portal.wait(deployment, "running")
            assert portal.open(deployment).get(f"/{applications.FILE}").text == applications.TEXT
        finally:
            portal.stop(deployment)
    finally:
        lab.heal(killed)
    wait_online(lab, killed, True)


def test_a_compute_box_that_lost_power_starts_empty_and_takes_new_instances(lab: Lab, portal: Portal) -> None:
    compute = lab.state.boxes[0].name
    lab.kill(compute)
    lab.heal(compute)
    wait_online(lab, compute, True)
    deployment = portal.start("lab-site")
    try:
        portal.wait(deployment, "running")
        assert portal.open(deployment).get(f"/{applications.FILE}").text == applications.TEXT
    finally:
        portal.stop(deployment)
