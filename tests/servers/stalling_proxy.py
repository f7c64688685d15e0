"""Passes TCP connections on, and can let all that goes through them stand still, as a database that hangs does."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress


class StallingProxy:
    """Listens on a port of 127.0.0.1, in a thread of its own.

    :param host: where it passes connections on to.
    :param port: and the port there.
    """

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._loop = asyncio.new_event_loop()
        self._flows = asyncio.Event()
        self._flows.set()
        self._listens = threading.Event()
        self.port = 0
        threading.Thread(target=self._serve, daemon=True).start()
        self._listens.wait(10)

    def stall(self) -> None:
        """Let nothing through any more; connections stay open, and new ones are taken."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def go_on(self) -> None:
        """Let through what waits, and all else."""
        self._loop.call_soon_threadsafe(self._flows.set)

    def close(self) -> None:
        """Cut all connections."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _serve(self) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._pass, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._listens.set()
        self._loop.run_forever()

    async def _pass(self, here: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        await self._flows.wait()
        with suppress(OSError):
            there, on = await asyncio.open_connection(*self._to)
            await asyncio.gather(self._copy(here, on), self._copy(there, back))

    async def _copy(self, source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await source.read(65536):
                await self._flows.wait()
                to.write(chunk)
                await to.drain()
        to.close()
