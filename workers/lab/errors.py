"""What can go wrong with a lab."""

from common.errors import OpenRaaSError


class LabError(OpenRaaSError):
    """The lab could not do what was asked; what it had begun is undone or can be undone with `lab down`."""
