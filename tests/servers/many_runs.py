"""A SnapLogic with any number of runs, which costs next to nothing: for what becomes slow with many of them.

A run is there, and in the list of runs, as soon as it is asked for, lives until it is told to stop, and is over at once
then. One whose id begins with ``hang`` is never answered for; one with ``deaf`` takes the stop and goes on.
``python -m tests.servers.many_runs`` serves in a process of its own and prints its address; it is told what to do at
``/_server/...``, see :class:`ManyRunsElsewhere`.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, islice
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl
from urllib.request import ProxyHandler, build_opener

LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
LIST = re.compile(r"/api/1/rest/public/runtime/[^/]+")
MOST_LISTED = 1000
"""Runs on one page of the list, as SnapLogic has it."""


@dataclass(frozen=True)
class Seen:
    """One request: ``look``, ``list`` or ``stop``, at which run, and when (monotonic time)."""

    what: str
    run_id: str
    at: float = field(default_factory=time.monotonic)


class ManyRuns:
    """The server, in a thread of its own.

    :param latency: seconds until a request is answered.
    :param stop_latency: seconds until a request to stop is answered, if those are others.
    """

    def __init__(self, latency: float = 0.0, stop_latency: float | None = None) -> None:
        self.latency = latency
        self.stop_latency = stop_latency
        self.seen: list[Seen] = []
        self.told = 0
        """How many times the state of a run was told: once by a look, many times by a list."""
        self.stopped: set[str] = set()
        self._entries: dict[str, bytes] = {}
        """The live runs, each as the list has it."""
        self.loop = asyncio.new_event_loop()
        self.on_request: Callable[[], object] = lambda: None
        """Called with each request."""
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

    def answer(self, method: bytes, path: str, query: str = "", body: bytes = b"") -> bytes | None:
        """Return the body of the answer; ``None`` for none."""
        self.on_request()
        if path.startswith("/_server/"):
            told = getattr(self, f"_do_{path.rpartition('/')[2]}")(**dict(parse_qsl(query)))
            return json.dumps(told).encode()
        if method == b"GET" and LIST.fullmatch(path):
            self.seen.append(Seen("list", ""))
            return self._page(dict(parse_qsl(query)))
        run_id = path.rpartition("/")[2]
        what = "stop" if method == b"POST" else "look"
        self.seen.append(Seen(what, run_id))
        if run_id.startswith("hang"):
            return None
        if what == "stop" and not run_id.startswith("deaf"):
            self.stopped.add(run_id)
            self._entries.pop(run_id, None)
        elif run_id not in self._entries and run_id not in self.stopped:
            self._entries[run_id] = entry(run_id, "Started")
        self.told += what == "look"
        state = "Stopped" if run_id in self.stopped else "Started"
        return json.dumps({"response_map": {"ruuid": run_id, "state": state}, "http_status_code": 200}).encode()

    def _page(self, wanted: dict[str, str]) -> bytes:
        """Return a page of the list. What is not on it is not looked at: of ten thousand runs it costs as little."""
        over = (entry(run_id, "Stopped") for run_id in self.stopped)
        found, total = {
            "Started": (iter(self._entries.values()), len(self._entries)),
            "Stopped": (over, len(self.stopped)),
            None: (chain(self._entries.values(), over), len(self._entries) + len(self.stopped)),
        }.get(wanted.get("state"), (iter(()), 0))
        if wanted.get("invoker", "triggered") != "triggered":
            found, total = iter(()), 0
        offset, limit = int(wanted.get("offset", 0)), min(int(wanted.get("limit", 10)), MOST_LISTED)
        entries = list(islice(found, offset, offset + limit))
        self.told += len(entries)
        head = b'{"response_map": {"entries": [%b], "total": %d, "limit": %d, "offset": %d}, "http_status_code": 200}'
        return head % (b",".join(entries), total, limit, offset)

    # -- what ``ManyRunsElsewhere`` asks -----------------------------------------------------------------

    def _do_begin(self, runs: str = "0", latency: str = "0", stop_latency: str = "") -> None:
        """Forget everything; have so many live runs, and take so long to answer."""
        self.seen.clear()
        self.stopped.clear()
        self.told = 0
        self.latency, self.stop_latency = float(latency), float(stop_latency) if stop_latency else None
        self._entries = {run_id: entry(run_id, "Started") for run_id in run_ids(int(runs))}

    def _do_seen(self) -> dict[str, Any]:
        counted = Counter(seen.what for seen in self.seen)
        return {**counted, "told": self.told, "stopped": len(self.stopped)}

    def _do_stops(self) -> list[float]:
        first: dict[str, float] = {}
        for seen in self.seen:
            if seen.what == "stop":
                first.setdefault(seen.run_id, seen.at)
        return list(first.values())


def run_ids(runs: int) -> list[str]:
    """Return the ids of so many runs, as long as SnapLogic's are."""
    return [f"5f00aa11bb22cc33dd44ee55_0f1e2d3c-4b5a-4678-8899-{number:012d}" for number in range(runs)]


def entry(run_id: str, state: str) -> bytes:
    """Return a run as the list of runs has it."""
    made = datetime.now(UTC).isoformat()
    return json.dumps(
        {
            "id": run_id,
            "pipe_id": "99998888-7777-4666-8555-444433332222",
            "label": "load-orders",
            "path_id": "/Acme/projects/sales",
            "state": state,
            "state_timestamp": made,
            "create_time": made,
            "invoker": "triggered",
            "user_id": "ops@example.com",
            "mode": "standard",
            "duration": 120,
            "documents": 3,
            "error_documents": 0,
        }
    ).encode()


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
            path, _, query = target.decode().partition("?")
            server = self._server
            # The answer first: it may change how long one takes.
            body = server.answer(method, path, query, rest[:length])
            latency = server.latency if method == b"GET" or server.stop_latency is None else server.stop_latency
            if body is not None:
                server.loop.call_later(latency, self._transport.write, HEAD % len(body) + body)


class ManyRunsElsewhere:
    """The same in a process of its own, so that it takes no time from whoever asks it.

    :param module: whose ``main`` serves; it prints its address.
    """

    def __init__(self, module: str = __name__) -> None:
        self._module = module

    def __enter__(self) -> ManyRunsElsewhere:
        self._process = subprocess.Popen([sys.executable, "-m", self._module], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()

    def begin(self, runs: int = 0, latency: float = 0.0, stop_latency: float | None = None) -> None:
        """Forget everything; have so many live runs, and take so many seconds to answer."""
        self._do(f"begin?runs={runs}&latency={latency}&stop_latency={'' if stop_latency is None else stop_latency}")

    def seen(self) -> Counter[str]:
        """Return so many requests of each kind, how often a run's state was ``told``, how many are ``stopped``."""
        return Counter(self._do("seen"))

    def stops(self) -> list[float]:
        """Return when each run was told to stop first, in monotonic time, which all processes of a machine share."""
        stops: list[float] = self._do("stops")
        return stops

    def _do(self, what: str) -> Any:
        return ask(self.url, what)


def ask(url: str, what: str) -> Any:
    """Tell the server at ``url`` something, or ask it; no proxy of the environment comes between."""
    with build_opener(ProxyHandler({})).open(f"{url}/_server/{what}", timeout=60) as answer:
        return json.load(answer)


def main(server: ManyRuns) -> None:
    """Serve until the process is ended."""
    print(server.url, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(ManyRuns())
