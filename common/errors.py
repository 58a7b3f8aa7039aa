"""The root of all errors that people see.

A message says what happened, to what, and what to do next. The command line prints it and exits with
`exit_code`; the web answers with `http_status` and, for bad input, the name of the field.
"""


class OpenRaaSError(Exception):
    """Base class of every error that this project raises on purpose."""

    exit_code = 1
    http_status = 500
    # What helps against most errors of a class; one that says its own remedy knows better.
    usual_remedy: str | None = None

    def __init__(self, message: str, *, field: str | None = None, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.remedy = remedy or self.usual_remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}" if self.remedy else self.message


class BadInput(OpenRaaSError):
    """Somebody gave something that cannot be accepted; `field` names it."""

    exit_code = 2
    http_status = 422


class NotFound(OpenRaaSError):
    """What was named does not exist, or not for this person."""

    exit_code = 2
    http_status = 404


class Conflict(OpenRaaSError):
    """The wish contradicts what is there now."""

    http_status = 409


class Forbidden(OpenRaaSError):
    """Known who it is, and not allowed."""

    http_status = 403


class Unauthorized(OpenRaaSError):
    """Not known who it is: no ticket or session, or one that does not hold."""

    http_status = 401


class TooMany(OpenRaaSError):
    """Too often in too short a time."""

    http_status = 429


class Unavailable(OpenRaaSError):
    """Something that is needed cannot be reached now; trying again may help."""

    http_status = 503
