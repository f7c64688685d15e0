"""A SnapLogic with any number of runs, which costs next to nothing: for what becomes slow with many of them.

A run is there as soon as it is asked for, lives until it is told to stop, and is over at once then. One whose id
begins with ``hang`` is never answered for; one with ``deaf`` takes the stop and goes on.
``python -m tests.servers.many_runs`` serves in a process of its own and prints its address.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


@dataclass(frozen=True)
class Seen:
    """One request: ``look`` or ``stop``, at which run, and when (monotonic time)."""

    what: str
    run_id: str
    at: float = field(default_factory=time.monotonic)


class ManyRuns:
    """The server, in a thread of its own.

    :param latency: seconds until a request is answered.
    """

    def __init__(self, latency: float = 0.0) -> None:
        self.latency = latency
        self.seen: list[Seen] = []
        self.stopped: set[str] = set()
        self.loop = asyncio.new_event_loop()
        self.port = 0
        self.connections: set[asyncio.Transport] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self._ready.wait(10)
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> ManyRuns:
        return self

    def __exit__(self, *error: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)

    def _serve(self) -> None:
        server = self.loop.run_until_complete(
            self.loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=1000)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self.loop.run_forever()
        server.close()
        for connection in list(self.connections):
            connection.abort()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    def answer(self, method: bytes, path: str) -> bytes | None:
        """Return the body of the answer; ``None`` for none."""
        if path == "/reset":
            self.stopped.clear()
            self.seen.clear()
            return b"{}"
        if path == "/stopped":
            return str(len(self.stopped)).encode()
        run_id = path.rpartition("/")[2]
        what = "stop" if method == b"POST" else "look"
        self.seen.append(Seen(what, run_id))
        if run_id.startswith("hang"):
            return None
        if what == "stop" and not run_id.startswith("deaf"):
            self.stopped.add(run_id)
        state = "Stopped" if run_id in self.stopped else "Started"
        return json.dumps({"response_map": {"ruuid": run_id, "state": state}, "http_status_code": 200}).encode()


class _Connection(asyncio.Protocol):
    def __init__(self, server: ManyRuns) -> None:
        self._server = server
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.connections.add(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._server.connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, rest = self._received.partition(b"\r\n\r\n")
            found = LENGTH.search(head)
            length = int(found[1]) if found else 0
            if len(rest) < length:
                return
            self._received = rest[length:]
            method, target = head.split(b" ", 2)[:2]
            body = self._server.answer(method, target.partition(b"?")[0].decode())
            if body is not None:
                self._server.loop.call_later(self._server.latency, self._transport.write, HEAD % len(body) + body)


class ManyRunsElsewhere:
    """The same in a process of its own, so that it takes no time from whoever asks it."""

    def __enter__(self) -> ManyRunsElsewhere:
        self._process = subprocess.Popen([sys.executable, "-m", __name__], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait()


if __name__ == "__main__":
    print(ManyRuns().url, flush=True)
    threading.Event().wait()
