"""A SnapLogic whose list of runs may say something else than a look at a run: older things, less, nothing, nonsense."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

ListAnswer = tuple[Any, ...]
"""HTTP status, and what is sent as JSON, or as it is if it is bytes; headers, if there are more."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 200

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that has gone meanwhile; a test ends when it has seen enough."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class ListedRuns:
    """The server, in threads of its own.

    :param states: run id to state, as a look at the run says it. ``requests`` has what was asked, in order.
    """

    def __init__(self, states: Mapping[str, str]) -> None:
        self.states = dict(states)
        self.listed: Callable[[], Mapping[str, str]] = lambda: self.states
        """What the list says."""
        self.list_answer: ListAnswer | None = None
        """What the list answers instead."""
        self.look_answer: tuple[int, bytes, dict[str, str]] | None = None
        """What a look answers instead, with headers."""
        self.list_seconds = 0.0
        """How long a page of the list takes."""
        self.hold_list = threading.Event()
        """The list is not answered before it is set."""
        self.hold_list.set()
        self.hold_looks = threading.Event()
        """The same of looks."""
        self.hold_looks.set()
        self.broken: set[str] = set()
        """Runs of which a look is answered with HTTP 500."""
        self.requests: list[tuple[str, str, str]] = []
        """``list``, ``look`` or ``stop``; the run, or which state was listed; the credential."""
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> ListedRuns:
        return self

    def __exit__(self, *error: object) -> None:
        self.hold_list.set()
        self.hold_looks.set()
        self._server.shutdown()
        self._server.server_close()

    def count(self, what: str) -> int:
        """Return how many such requests there were."""
        return sum(asked == what for asked, _, _ in self.requests)

    def looks(self) -> Counter[str]:
        """Return how often each run was looked at."""
        return Counter(run for asked, run, _ in self.requests if asked == "look")

    def _answer(self, method: str, target: str, credential: str) -> ListAnswer:
        address = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        run_id = address.path.rpartition("/")[2]
        if method == "POST":
            self.requests.append(("stop", run_id, credential))
            self.states[run_id] = "Stopped"
            return 200, {"response_map": {}, "http_status_code": 200}
        if "limit" in query:
            self.requests.append(("list", query.get("state", ""), credential))
            self.hold_list.wait(60)
            time.sleep(self.list_seconds)
            return self.list_answer or (200, self._page(query))
        self.requests.append(("look", run_id, credential))
        self.hold_looks.wait(60)
        if self.look_answer is not None:
            return self.look_answer
        if run_id in self.broken:
            return 500, {"response_map": {"error_list": [{"message": "no"}]}, "http_status_code": 500}
        return 200, {"response_map": {"ruuid": run_id, "state": self.states[run_id]}, "http_status_code": 200}

    def _page(self, query: Mapping[str, str]) -> Any:
        limit, offset = int(query["limit"]), int(query["offset"])
        entries = [
            {"id": run_id, "state": state, "invoker": "triggered"}
            for run_id, state in self.listed().items()
            if state == query["state"]
        ]
        page = {"entries": entries[offset : offset + limit], "total": len(entries), "limit": limit, "offset": offset}
        return {"response_map": page, "http_status_code": 200}

    def _handler(server: ListedRuns) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, said, *headers = server._answer(self.command, self.path, self.headers.get("Authorization", ""))
                body = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(status)
                for name, value in dict(*headers).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = answer

            def log_message(self, *args: object) -> None: ...

        return Handler
