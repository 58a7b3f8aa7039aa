"""The page with what desktops show now, small."""

from __future__ import annotations

from flask import Blueprint, Response, make_response, render_template, request

from master.accounts.guard import current_user, may
from master.accounts.models import UserRole
from master.people.groups import taught_by
from master.screens.services import list_screens, origins
from master.web.current import context
from master.web.security import CONTENT_POLICY, content_policy

views = Blueprint("screens", __name__, url_prefix="/screens")


@views.get("")
def screens() -> Response:
    """My screens, those of a class for its teachers, everybody's for operators.

    Pictures come from the boxes that the page's policy names.
    """
    user, group = current_user(), request.args.get("group", "")[:64]
    everybody = not group and request.args.get("all") == "1" and may(user, UserRole.OPERATOR)
    with context().database.read() as session:
        taught = [(item.name, item.title or item.name) for item in taught_by(session, user)]
    found = list_screens(context(), user, everybody=everybody, group=group)
    answer = make_response(
        render_template(
            "screens.html", screens=found, everybody=everybody, group=group, groups=taught, me=user.name
        )
    )
    answer.headers[CONTENT_POLICY] = content_policy(images=origins(found))
    return answer
