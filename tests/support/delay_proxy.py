"""A TCP proxy that adds a delay both ways, as a long road would: `python -m tests.support.delay_proxy`.

Each piece is held for half the round trip, whatever comes behind it, so that bandwidth stays what it was.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.redis import free_port

PIECE_BYTES = 64 * 1024
# What may be under way in one direction: 32 MiB, more than the kernel's own windows.
PIECES = 512


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    loop = asyncio.get_running_loop()
    road: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(PIECES)

    async def take() -> None:
        while True:
            try:
                data = await reader.read(PIECE_BYTES)
            except ConnectionError:
                data = b""
            await road.put((loop.time() + delay_s, data))
            if not data:
                return

    taking = asyncio.create_task(take())
    try:
        while True:
            at, data = await road.get()
            if (left := at - loop.time()) > 0:
                await asyncio.sleep(left)
            if not data:
                break
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        taking.cancel()
        writer.close()


async def serve(port: int, target: int, round_trip_s: float) -> None:
    """Pass connections to `port` on loopback on to `target`."""

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(
            _carry(reader, far_writer, round_trip_s / 2), _carry(far_reader, writer, round_trip_s / 2)
        )

    server = await asyncio.start_server(connect, "127.0.0.1", port)
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


@contextmanager
def delayed(target: int, round_trip_s: float) -> Iterator[int]:
    """The port behind which `target` seems far away, in a process of its own; without delay `target` itself."""
    if round_trip_s == 0:
        yield target
        return
    port = free_port()
    command = [sys.executable, "-m", "tests.support.delay_proxy", str(port), str(target), str(round_trip_s)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield port
    finally:
        process.kill()
        process.communicate()


def main() -> None:
    """The proxy's process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("target", type=int)
    parser.add_argument("round_trip_s", type=float)
    options = parser.parse_args()
    asyncio.run(serve(options.port, options.target, options.round_trip_s))


if __name__ == "__main__":
    main()
