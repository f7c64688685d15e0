"""``python -m airflow_runctl.sandbox``: serve the stand-ins until SIGTERM, SIGINT or the parent's end."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import secrets
import shlex
import signal

from airflow_runctl.sandbox.connections import connections
from airflow_runctl.sandbox.server import Server

PARENT_CHECK_SECONDS = 0.5


def seed(text: str) -> str:
    """Run passwords of axiom.ai hold the seed, and all that were ever seen are plain letters and digits."""
    if not re.fullmatch("[A-Za-z0-9]+", text):
        raise argparse.ArgumentTypeError("a seed is made of letters and digits")
    return text


def prefix(text: str) -> str:
    """Return the path with a leading and without a trailing slash; nothing for nothing."""
    return "/" + text.strip("/") if text.strip("/") else ""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m airflow_runctl.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes a free one")
    parser.add_argument("--seed", type=seed, default=None, help="text that every secret contains; random by default")
    parser.add_argument("--prefix", type=prefix, default="", help="path before everything else")
    parser.add_argument("--parent", type=int, default=None, help="process id: end when this is no longer the parent")
    return parser.parse_args()


async def serve(options: argparse.Namespace) -> None:
    end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end.set)
    server = Server(options.seed or secrets.token_hex(6), options.prefix)
    await server.start(options.host, options.port)
    lines = [f"sandbox listening on {server.url}"]
    lines += [f"{name}={shlex.quote(value)}" for name, value in connections(server.url, server.seed).items()]
    print(*lines, sep="\n", flush=True)
    while not end.is_set() and (options.parent is None or os.getppid() == options.parent):
        try:
            async with asyncio.timeout(PARENT_CHECK_SECONDS):
                await end.wait()
        except TimeoutError:
            continue
    await server.stop()


if __name__ == "__main__":
    asyncio.run(serve(arguments()))
