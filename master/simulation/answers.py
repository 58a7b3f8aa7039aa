"""Files of a simulation as answers of the web."""

from __future__ import annotations

from pathlib import PurePath

from flask import Response
from sqlalchemy.orm import Session

from master.simulation.job import MEDIA
from master.simulation.services import read_file
from master.web.security import CONTENT_POLICY

# Pictures and the report have styles inside. Nothing of them may run, reach out or be part of the portal.
_ALONE = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"
_SHOWN = ".svg"


def file_answer(session: Session, simulation: str, name: str) -> Response:
    """A file to be kept, or a picture to be shown; raises NotFound."""
    content = read_file(session, simulation, name)
    suffix = PurePath(name).suffix
    response = Response(content, content_type=MEDIA[suffix])
    response.headers[CONTENT_POLICY] = _ALONE
    if suffix != _SHOWN:
        response.headers["Content-Disposition"] = f'attachment; filename="{simulation}-{name}"'
    return response
