"""Errors of the filestore and of what mounts from it."""

from __future__ import annotations

from common.errors import Conflict, OpenRaaSError, Unavailable


class FilesError(OpenRaaSError):
    """Base class: something about filesets did not work."""


class ProgramFailed(FilesError):
    """A program that was needed ended with an error or did not end in time."""

    usual_remedy = "The log of the box's worker says more; a full or broken disk is the usual cause."


class MissingFileset(FilesError):
    """The version of a fileset that is asked for does not lie on this box."""

    http_status = 404


class Refused(FilesError):
    """An export that this box must not make."""

    http_status = 403


class Fenced(Refused):
    """A newer writer was let in: this one stays out for good."""


class StillThere(FilesError):
    """Sessions did not end in time; trying again may help."""

    usual_remedy = "It is tried again by itself."


class TooLarge(FilesError):
    """The content is larger than what it may take."""

    http_status = 413


class AlreadyHeld(Conflict):
    """This version lies here already."""


class NotPossibleHere(Unavailable):
    """This machine lacks what the role needs."""


class MountError(FilesError):
    """A fileset could not be mounted; the message names it and says why."""

    usual_remedy = "See that its filestore is up (openraas box list) and reachable from the compute box."
