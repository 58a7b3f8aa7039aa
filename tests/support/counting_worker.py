"""A Celery worker for tests: each task writes its number to a Redis list. Arguments: Redis URL, queue."""

from __future__ import annotations

import sys
import time

import redis

from common import logs
from common.celery_app import make_celery, run_worker


def main() -> None:
    """Work until ended."""
    url, queue = sys.argv[1:]
    logs.configure("INFO")
    app = make_celery("counting", url, owner="test", queues=[queue], timeout_s=2)
    client = redis.Redis.from_url(url, retry_on_timeout=True)

    @app.task(name="count")  # type: ignore[untyped-decorator]
    def count(number: int, pause_s: float = 0.0) -> None:
        time.sleep(pause_s)
        client.rpush("counted", number)

    run_worker(app, concurrency=4)


if __name__ == "__main__":
    main()
