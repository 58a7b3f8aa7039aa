"""A box's Redis user: what its worker needs it can do, and nothing of anybody else's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from common import names
from common.celery_app import make_celery, send
from common.reports import Preparing
from common.words import Role
from master.boxes import redis_users
from tests.support.redis import RedisServer, wait_until

BOX, OTHER = "box-a", "box-b"

# A worker as workers.box.worker makes it: it consumes its queues and reports, like a box.
WORKER = """
import sys
from common import names
from common.celery_app import make_celery, send, run_worker
from common.words import Role
box, url = sys.argv[1:]
queues = [names.role_queue(role, box) for role in Role]
app = make_celery("box." + box, url, owner=box, queues=queues)
for role in Role:
    def converge(subject, generation):
        send(app, names.REPORT, names.report_queue(box), box, subject)
    app.task(name=names.converge_task(role), ignore_result=True)(converge)
run_worker(app, concurrency=2)
"""


@pytest.fixture
def admin(redis_server: RedisServer) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(redis_server.url, decode_responses=True)
    yield client
    for box in (BOX, OTHER):
        client.acl_deluser(redis_users.user_name(box))


def admitted(admin: redis.Redis, server: RedisServer, box: str = BOX) -> str:
    """The URL of a box's own user."""
    password = redis_users.new_password()
    redis_users.admit(admin, box, redis_users.hash_password(password))
    return f"redis://{redis_users.user_name(box)}:{password}@127.0.0.1:{server.port}/0"


@pytest.fixture
def box(admin: redis.Redis, redis_server: RedisServer) -> redis.Redis:
    return redis.Redis.from_url(admitted(admin, redis_server), decode_responses=True)


def test_a_worker_runs_and_reports_under_its_boxs_redis_user(
    admin: redis.Redis, redis_server: RedisServer, tmp_path: Path
) -> None:
    url = admitted(admin, redis_server)
    admin.acl_log_reset()
    log = (tmp_path / "worker.log").open("w+")
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, BOX, url], stdout=log, stderr=log, env={**os.environ}
    )
    try:
        master = make_celery("master", redis_server.url, owner="master")
        for number, role in enumerate(Role):
            send(master, names.converge_task(role), names.role_queue(role, BOX), f"i-{number}", 1)
        wait_until(lambda: admin.llen(names.report_queue(BOX)) == len(Role), 30, "a report for every task")
        # Long enough alive for kombu to look after unacknowledged messages, every second, as it is set up.
        wait_until(lambda: admin.zcard(f"unacked_index.{BOX}") == 0, 10, "all acknowledged")
        worker.terminate()
        assert worker.wait(20) == 0
    finally:
        if worker.poll() is None:
            worker.kill()
            worker.wait(10)
        log.seek(0)
        text = log.read()
        log.close()
    denied = [(entry["reason"], entry["object"]) for entry in admin.acl_log()]
    assert not denied, f"{denied}\n{text}"


def test_what_a_killed_worker_left_is_taken_up_again_under_the_boxs_user(
    admin: redis.Redis, redis_server: RedisServer
) -> None:
    url = admitted(admin, redis_server)
    admin.acl_log_reset()
    app = make_celery(f"box.{BOX}", url, owner=BOX, queues=[names.role_queue(Role.COMPUTE, BOX)])
    master = make_celery("master", redis_server.url, owner="master")
    send(master, names.converge_task(Role.COMPUTE), names.role_queue(Role.COMPUTE, BOX), "i-1", 1)
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        queue = app.amqp.queues[names.role_queue(Role.COMPUTE, BOX)](channel)
        message = queue.get()
        assert message is not None
        # Everything kombu does for a message that nobody acknowledged: index, mutex, restore.
        channel.qos.restore_visible(num=10)
        channel.qos.restore_by_tag(message.delivery_tag)
        assert admin.llen(names.role_queue(Role.COMPUTE, BOX)) == 1
    assert [entry["object"] for entry in admin.acl_log()] == []


def test_a_box_reaches_its_own_keys(box: redis.Redis, admin: redis.Redis) -> None:
    box.set(names.status_key(BOX), "{}", ex=15)
    box.set(names.transfers_key(BOX), "{}", ex=15)
    box.delete(names.transfers_key(BOX))
    with box.pipeline() as pipeline:
        pipeline.delete(names.layers_key(BOX))
        pipeline.sadd(names.layers_key(BOX), "sha256:1")
        pipeline.execute()
    box.lpush(names.report_queue(BOX), Preparing(subject="i-1", generation=1).model_dump_json())
    admin.hset(names.wish_key(BOX), "compute/i-1", "token")
    admin.set(names.EPOCH, "e1")
    assert box.hget(names.wish_key(BOX), "compute/i-1") == "token"
    assert box.hgetall(names.wish_key(BOX)) == {"compute/i-1": "token"}
    assert box.mget([names.EPOCH, names.EPOCH_READY]) == ["e1", None]
    assert box.ping()
    assert "redis_version" in box.info()


FOREIGN = [
    names.status_key(OTHER),
    names.layers_key(OTHER),
    names.transfers_key(OTHER),
    names.wish_key(OTHER),
    names.reserved_key(OTHER),
    names.reserved_key(BOX),
    names.expiring_key(BOX),
    names.CHANGES,
    names.CLAIMS,
    names.STANDING,
    names.report_queue(OTHER),
    names.BOXES,
    names.SCHEDULER_QUEUE,
    names.LIFECYCLE_QUEUE,
    *(names.role_queue(role, OTHER) for role in Role),
    *names.transport_options(OTHER).values(),
    *names.transport_options("master").values(),
    "_kombu.binding.anything",
    # Names that begin like its own.
    f"{names.status_key(BOX)}2",
    f"{names.role_queue(Role.COMPUTE, BOX)}2",
]

READS = ["GET", "TYPE", "LLEN", "HGETALL", "SMEMBERS", "LPOP", "EXISTS", "TTL", "DUMP", "OBJECT ENCODING"]
WRITES = [["SET", "x"], ["LPUSH", "x"], ["HSET", "f", "x"], ["SADD", "x"], ["DEL"], ["EXPIRE", "1"]]


@pytest.mark.parametrize("key", FOREIGN)
def test_a_boxs_redis_user_reaches_its_own_keys_and_no_others(box: redis.Redis, key: str) -> None:
    for command in READS:
        with pytest.raises(redis.exceptions.NoPermissionError):
            box.execute_command(*command.split(), key)
    for name, *values in WRITES:
        with pytest.raises(redis.exceptions.NoPermissionError):
            box.execute_command(name, key, *values)
    with pytest.raises(redis.exceptions.NoPermissionError):
        box.rename(names.status_key(BOX), key)
    with pytest.raises(redis.exceptions.ResponseError, match=r"(?i)permission"):
        box.eval("return redis.call('GET', KEYS[1])", 1, key)


@pytest.mark.parametrize(
    "command",
    [
        "KEYS *", "SCAN 0", "RANDOMKEY", "FLUSHALL", "FLUSHDB", "SWAPDB 0 1", "CONFIG GET *",
        "CONFIG SET maxmemory 1", "ACL LIST", "ACL WHOAMI", "ACL SETUSER x on", "CLIENT LIST", "CLIENT KILL ID 1",
        "SHUTDOWN NOSAVE", "SAVE", "BGSAVE", "REPLICAOF NO ONE", "MONITOR", "SLOWLOG GET",
        "MODULE LIST", "SCRIPT FLUSH", "SCRIPT KILL", "FUNCTION LIST", "LATENCY RESET", "MEMORY DOCTOR",
        "PUBLISH events:d-1 x", "SUBSCRIBE events:d-1", "PSUBSCRIBE *", "PUBSUB CHANNELS", "SORT boxes", "DBSIZE",
        "MIGRATE 127.0.0.1 1 k 0 1", "RESTORE k 0 x",
    ],
)  # fmt: skip
def test_a_box_may_not_look_around_or_administrate(box: redis.Redis, command: str) -> None:
    with pytest.raises(redis.exceptions.NoPermissionError):
        box.execute_command(*command.split())


def test_a_box_may_write_reports_but_not_read_or_take_them_back(box: redis.Redis, admin: redis.Redis) -> None:
    box.lpush(names.report_queue(BOX), "report")
    for command in ("LRANGE {} 0 -1", "LPOP {}", "GET {}", "LINDEX {} 0"):
        with pytest.raises(redis.exceptions.NoPermissionError):
            box.execute_command(*command.format(names.report_queue(BOX)).split())
    assert admin.llen(names.report_queue(BOX)) == 1


@pytest.mark.parametrize(
    "command",
    [
        f"LPUSH {names.status_key(BOX)} x",
        f"SADD {names.status_key(BOX)} x",
        f"SET {names.layers_key(BOX)} x",
        f"LPUSH {names.layers_key(BOX)} x",
        f"SET {names.report_queue(BOX)} x",
        f"DEL {names.report_queue(BOX)}",
        f"LPUSH {names.transfers_key(BOX)} x",
        f"SET {names.role_queue(Role.COMPUTE, BOX)} x",
        f"RENAME unacked.{BOX} {names.status_key(BOX)}",
        f"COPY {names.status_key(BOX)} {names.layers_key(BOX)}",
        f"SUNIONSTORE {names.role_queue(Role.COMPUTE, BOX)} {names.layers_key(BOX)}",
    ],
)
def test_what_the_master_reads_of_a_box_keeps_its_type(box: redis.Redis, command: str) -> None:
    with pytest.raises(redis.exceptions.NoPermissionError):
        box.execute_command(*command.split())


def test_a_box_may_not_write_its_own_wishes(box: redis.Redis) -> None:
    with pytest.raises(redis.exceptions.NoPermissionError):
        box.hset(names.wish_key(BOX), "compute/i-1", "forged")
    with pytest.raises(redis.exceptions.NoPermissionError):
        box.set(names.EPOCH, "forged")


def test_a_removed_box_is_let_in_no_more(
    admin: redis.Redis, redis_server: RedisServer, box: redis.Redis
) -> None:
    assert box.ping()
    redis_users.dismiss(admin, BOX)
    with pytest.raises((redis.exceptions.AuthenticationError, redis.exceptions.ConnectionError)):
        box.ping()
    assert not admin.sismember(names.BOXES, BOX)
