"""`Idempotency-Key` on every POST of REST: a call that is sent again gets the first one's answer.

After the IETF draft "The Idempotency-Key HTTP Header Field". A key belongs to one person for a day. Only answers of
success are kept: what failed changed nothing and may be tried again.
"""

from __future__ import annotations

import hashlib
import time

from flask import Response, g, request
from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from werkzeug.wrappers import Response as BaseResponse

from common.errors import BadInput, Conflict
from common.signing import seal
from master.accounts.guard import caller
from master.db.session import Database
from master.web.current import context
from master.web.models import KeptAnswer

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
MAXIMUM_KEY = 64
KEPT_S = 24 * 3600.0
# A call under way for longer was lost with its process: it may be made again.
UNDER_WAY_S = 60.0
_KEPT_HEADERS = ("Content-Type", "Location")


def begin() -> Response | None:
    """Answer with what is kept, or make the key this call's (`before_request`). Raises Conflict, BadInput."""
    key = request.headers.get(HEADER)
    if key is None or request.method != "POST" or not request.path.startswith("/api/v1/"):
        return None
    if not 0 < len(key) <= MAXIMUM_KEY or not key.isascii() or not key.isprintable():
        raise BadInput(f"{HEADER}: 1 to {MAXIMUM_KEY} ASCII characters.", field=HEADER)
    known = caller()
    if known is None:
        return None
    database, user, print_ = context().database, known.user.id, _fingerprint()
    if _claim(database, user, key, print_):
        g.idempotent = (user, key)
        return None
    with database.read() as session:
        kept = session.get(KeptAnswer, (user, key))
    if kept is None or (kept.fingerprint == print_ and kept.status is None):
        raise Conflict("The same call is still under way.", field=HEADER, remedy="Send it again in a moment.")
    if kept.fingerprint != print_:
        raise Conflict(
            "This key was used for another call.", field=HEADER, remedy="Use a new key for each call."
        )
    response = Response(context().seal_key.unseal(kept.sealed_body), kept.status, dict(kept.headers))
    response.headers[REPLAYED] = "true"
    return response


def _fingerprint() -> str:
    """Of the call and of who may make it: another token gets no answer that was another's."""
    known = caller()
    scopes = "session" if known is None or known.scopes is None else ",".join(sorted(known.scopes))
    digest = hashlib.sha256(f"{scopes}\n{request.full_path}\n".encode())
    digest.update(request.get_data())
    return digest.hexdigest()


def _claim(database: Database, user: str, key: str, fingerprint: str) -> bool:
    """Whether this call is the one to be made; of several at once exactly one is."""
    now = time.time()
    try:
        with database.write() as session:
            session.execute(delete(KeptAnswer).where(KeptAnswer.created_at < now - KEPT_S))
            is_this = (KeptAnswer.user_id == user, KeptAnswer.key == key)
            if session.scalar(select(KeptAnswer.key).where(*is_this)) is None:
                session.add(KeptAnswer(user_id=user, key=key, fingerprint=fingerprint, created_at=now))
                return True
            lost = (KeptAnswer.status.is_(None), KeptAnswer.created_at < now - UNDER_WAY_S)
            again = update(KeptAnswer).where(*is_this, *lost, KeptAnswer.fingerprint == fingerprint)
            return bool(session.execute(again.values(created_at=now)).rowcount)  # type: ignore[attr-defined]
    except IntegrityError:
        return False


def finish(response: BaseResponse) -> BaseResponse:
    """Keep the answer, or give the key back (`after_request`)."""
    claimed: tuple[str, str] | None = g.pop("idempotent", None)
    if claimed is None:
        return response
    is_this = (KeptAnswer.user_id == claimed[0], KeptAnswer.key == claimed[1])
    with context().database.write() as session:
        if response.status_code >= 300 or response.is_streamed:
            session.execute(delete(KeptAnswer).where(*is_this))
        else:
            text = response.get_data(as_text=True)
            session.execute(
                update(KeptAnswer)
                .where(*is_this)
                .values(
                    status=response.status_code,
                    headers={
                        name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers
                    },
                    sealed_body=seal(context().seal_key.public_key, text),
                )
            )
    return response
