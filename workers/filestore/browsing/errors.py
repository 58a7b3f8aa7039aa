"""What the kernel says about a file, as errors for people."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from common.errors import BadInput, Conflict, Forbidden, NotFound, OpenRaaSError
from workers.filestore.browsing.paths import shown
from workers.filestore.errors import FilesError


class NoRoom(FilesError):
    """The home is full."""

    http_status = 507
    usual_remedy = "Delete what you do not need, or have the home's limit raised."


def explain(error: OSError, path: bytes) -> OpenRaaSError:
    """The error that a person sees for `error` about `path`."""
    name = shown(path) or "the home"
    number = error.errno
    if number == errno.ENOENT:
        return NotFound(f"There is no {name}.", field="path", remedy="Look at its folder again.")
    if number in (errno.EEXIST, errno.ENOTEMPTY):
        return Conflict(
            f"There is something called {name} already.", field="path", remedy="Choose another name."
        )
    if number in (errno.EXDEV, errno.ELOOP):
        return Forbidden(f"{name} is a link that leads elsewhere.", field="path")
    if number in (errno.ENOSPC, errno.EDQUOT):
        return NoRoom(f"The home is full, so {name} cannot be written.")
    if number in (errno.EACCES, errno.EPERM):
        return Forbidden(f"The permissions of {name} do not allow this.", field="path")
    if number == errno.ENAMETOOLONG:
        return BadInput("A name is too long.", field="path", remedy="Choose a shorter one.")
    if number == errno.ENOTDIR:
        return Conflict(f"{name} is, or leads through, a file and no folder.", field="path")
    if number == errno.EISDIR:
        return Conflict(f"{name} is a folder.", field="path")
    if number == errno.EINVAL:
        return BadInput(f"{name} cannot be moved into itself.", field="to", remedy="Choose another place.")
    return FilesError(
        f"{name} cannot be used: {error.strerror}.", remedy="Try again; the box's log may say more."
    )


@contextmanager
def explained(path: bytes) -> Iterator[None]:
    """Errors of the kernel become errors for people; a connection that broke stays what it is."""
    try:
        yield
    except (ConnectionError, TimeoutError):
        raise
    except OSError as error:
        raise explain(error, path) from error
