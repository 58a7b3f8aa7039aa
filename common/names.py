"""Names of queues, tasks and Redis keys, all in one place.

Every key that a box may touch ends in, or is a queue named after, the box: one Redis user per box can be
given exactly its own (`redis_rules`).
"""

from __future__ import annotations

from common.words import Role

# Queues of the master.
SCHEDULER_QUEUE = "scheduler"
LIFECYCLE_QUEUE = "lifecycle"

# Tasks. A task carries (subject, generation) and nothing else: it wakes, the wish list decides.
PLACE = "scheduler.place"
PLACE_WAITING = "scheduler.place_waiting"
RECONCILE = "lifecycle.reconcile"
REPORT = "lifecycle.report"

# Redis keys of the master.
BOXES = "boxes"
EPOCH = "fleet:epoch"
EPOCH_READY = "fleet:ready"
# The capped stream of what changed on which box, for the schedulers' snapshots. Only the master writes it: a box
# that could would name others, or end the stream for everybody with an id of its choice.
CHANGES = "fleet:changes"
WATCH_LOCK = "lock:watch"
CLAIMS = "queue:claims"
STANDING = "queue:standing"
HEAD = "queue:head"
RESERVED = "reserved"
EXPIRING = "expiring"
JOIN_TRIES = "join:tries"
SILENT = "silent"
RECONCILE_LOCK = "lock:reconcile"
PLACES = "places"
SURVEY_LOCK = "lock:survey"
SIMULATION_LOCK = "lock:simulation"
# Whom boxes trust, signed; every box may read it.
TRUST = "trust"


def role_queue(role: Role, box: str) -> str:
    """The queue of one role on one box."""
    return f"{role.value}.{box}"


def converge_task(role: Role) -> str:
    """The task that makes a box compare wish and fact for one subject."""
    return f"{role.value}.converge"


def report_queue(box: str) -> str:
    """Where a box reports; only it may write there."""
    return f"report.{box}"


def status_key(box: str) -> str:
    """The box's status record (JSON, with a time to live)."""
    return f"status:{box}"


def look_key(instance: str, viewer: str) -> str:
    """There while a person was told already that this viewer looks at small pictures of the instance."""
    return f"look:{instance}:{viewer}"


def layers_key(box: str) -> str:
    """The set of blob digests that a box holds."""
    return f"layers:{box}"


def timers_key(box: str) -> str:
    """The sorted set of blob digests by when their timers were reset (Unix time), as the box says."""
    return f"timers:{box}"


def spare_key(box: str) -> str:
    """The signed list of blobs that a box may drop, because enough others keep them; written by the master."""
    return f"spare:{box}"


def transfers_key(box: str) -> str:
    """The transfers that run on a box now (JSON, with a time to live), as the box says."""
    return f"transfers:{box}"


def samples_key(box: str) -> str:
    """The list of a box's samples of the last hour, packed; written by the master alone."""
    return f"samples:{box}"


def peers_key(box: str) -> str:
    """The signed list of boxes to which a box measures round trips; written by the master."""
    return f"peers:{box}"


def certificate_key(box: str) -> str:
    """A box's new certificate, signed for it (with a time to live); written by the master."""
    return f"certificate:{box}"


def lied_key(box: str) -> str:
    """The hash box → Unix time: who got bad bytes from this box, and when last. Only the master writes it."""
    return f"lied:{box}"


def wish_key(box: str) -> str:
    """The hash `<role>/<subject>` → signed wish: what a box is to do."""
    return f"wish:{box}"


def reserved_key(box: str) -> str:
    """The hash `<instance>` → reservation (JSON) on a box, with their sums; written by the master alone."""
    return f"{RESERVED}:{box}"


def expiring_key(box: str) -> str:
    """The sorted set of reservations on a box that SQL has not confirmed, by when they expire (Unix time)."""
    return f"{EXPIRING}:{box}"


def events_channel(deployment: str) -> str:
    """The channel on which every change of a deployment is announced."""
    return f"events:{deployment}"


def transport_options(owner: str) -> dict[str, str]:
    """kombu's bookkeeping keys, apart for each box (and one set for the master)."""
    return {
        "unacked_key": f"unacked.{owner}",
        "unacked_index_key": f"unacked_index.{owner}",
        "unacked_mutex_key": f"unacked_mutex.{owner}",
    }


def _readable(box: str) -> tuple[str, ...]:
    """What the master writes for one box."""
    return wish_key(box), spare_key(box), peers_key(box), certificate_key(box)


def redis_rules(box: str) -> list[str]:
    """Redis ACL rules (`ACL SETUSER`, Redis 7) that let a box reach its own keys and no other's.

    What the master reads has rules of its own (selectors) with the commands that a box needs there: a key of
    another type than expected would end every pass over all boxes with an error.
    """
    rules = [f"~{key}" for key in transport_options(box).values()]
    rules += [f"%R~{key}" for key in (*_readable(box), TRUST, EPOCH, EPOCH_READY)]
    queues = " ".join(f"~{role_queue(role, box)}" for role in Role)
    # kombu emulates priorities with queues of the same name and a suffix.
    queues += "".join(f" ~{role_queue(role, box)}\x06\x16*" for role in Role)
    selectors = [
        f"(+brpop +rpop +lpush +rpush +llen +exists {queues})",
        f"(+lpush %W~{report_queue(box)})",
        f"(+get +set ~{status_key(box)})",
        f"(+sadd +srem +del %W~{layers_key(box)})",
        f"(+zadd +del %W~{timers_key(box)})",
        f"(+set +del %W~{transfers_key(box)})",
    ]
    # kombu frees its mutex with a script of its own; what a script does is checked against these rules too.
    return ["resetkeys", "resetchannels", "-@all", *rules, "&celery*",
            "+@read", "+@write", "+@connection", "+@transaction", "+@blocking", "+evalsha", "+script|load",
            "-@dangerous", "+info", "-@admin", "-keys", "-scan", "-randomkey", "-dbsize",
            "clearselectors", *selectors]  # fmt: skip
