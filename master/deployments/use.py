"""What an instance uses now, asked of its box for the people it runs for."""

from __future__ import annotations

import http.client

from pydantic import BaseModel, Field, ValidationError

from common.errors import Unavailable
from common.tls import connect_box
from common.use import InstanceUse
from common.words import InstanceId
from master.accounts.models import User
from master.context import MasterContext
from master.deployments.output import PIECE_BYTES, find_output, refusal

PATH = "/_openraas/use"


class UseQuery(BaseModel):
    """Of which instance."""

    instance: InstanceId | None = Field(
        None, description="Needed where the deployment has several instances."
    )


def read_use(context: MasterContext, user: User, deployment: str, instance: str | None) -> InstanceUse:
    """One's own, or for operators everybody's. Raises what `find_output` raises, NotFound once it has ended."""
    source = find_output(context, user, deployment, instance)
    connection = connect_box(
        source.front,
        source.box,
        authorities=context.paths.trusted,
        timeout_s=context.settings.log_timeout_s,
    )
    try:
        headers = {"Authorization": f"Bearer {source.ticket}"}
        connection.request("GET", f"{PATH}/{source.instance}", headers=headers)
        answer = connection.getresponse()
        body = answer.read(PIECE_BYTES)
        if answer.status != http.client.OK:
            raise refusal(source.box, answer.status, body)
        return InstanceUse.model_validate_json(body)
    except (OSError, http.client.HTTPException, ValidationError) as error:
        raise Unavailable(
            f"The box {source.box} does not answer: {type(error).__name__}.",
            remedy="Try again in a moment; a box that stays silent is replaced.",
        ) from error
    finally:
        connection.close()
