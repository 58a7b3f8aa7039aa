"""What can go wrong with a lab."""

from common.errors import OpenRaaSError


class LabError(OpenRaaSError):
    """The lab could not do what was asked; what it had begun is undone or can be undone with `lab down`."""

    usual_remedy = "If something of it is left, openraas lab list names it and openraas lab down removes it."
