"""The page with what desktops show now, small."""

from __future__ import annotations

from flask import Blueprint, Response, make_response, render_template, request

from master.accounts.guard import current_user, may
from master.accounts.models import UserRole
from master.screens.services import list_screens, origins
from master.web.current import context
from master.web.security import CONTENT_POLICY, content_policy

views = Blueprint("screens", __name__, url_prefix="/screens")


@views.get("")
def screens() -> Response:
    """My screens; operators may see everybody's. Pictures come from the boxes that the page's policy names."""
    user = current_user()
    everybody = request.args.get("all") == "1" and may(user, UserRole.OPERATOR)
    found = list_screens(context(), user, everybody=everybody)
    answer = make_response(render_template("screens.html", screens=found, everybody=everybody))
    answer.headers[CONTENT_POLICY] = content_policy(images=origins(found))
    return answer
