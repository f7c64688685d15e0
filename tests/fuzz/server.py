"""A server that answers each example's requests by its script: good answers, made odd as hypothesis drew them."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from airflow_runctl.transport.answer import answer_to
from airflow_runctl.transport.endpoint import Endpoint, body_of
from airflow_runctl.transport.retry import Patience
from airflow_runctl.transport.sync import SyncTransport
from airflow_runctl.transport.turns import Line
from airflow_runctl.vendors.base import HttpRequest, HttpResponse, Open, Step
from tests.fuzz.answers import STRANGER, Good, Odd
from tests.servers.odd_server import OddServer, read

HOLD_SECONDS = 0.4
"""How long a connection is held that says nothing more: longer than the clients wait."""

MOST_REQUESTS = 600
"""How many requests an operation may send; it is not answered any more then."""

Key = tuple[str, str]
"""Method and path of a request, without its query."""


@dataclass
class Script:
    """The answers of one example.

    :param good: the good answers to each request that a vendor knows.
    :param odd: what is odd about the first answers, in the order of the requests.
    :param tail: which of several good answers follow.
    """

    good: Mapping[Key, Sequence[Good]]
    odd: Sequence[Odd] = ()
    tail: Odd = field(default_factory=Odd)
    heard: list[Key] = field(default_factory=list)

    def next(self, key: Key) -> tuple[Odd, Good]:
        """Return what is answered to a request: a good answer, and what is odd about it."""
        number = len(self.heard)
        self.heard.append(key)
        odd = self.odd[number] if number < len(self.odd) else self.tail
        good = self.good[self._nearest(key)]
        return odd, good[odd.turn % len(good)]

    def _nearest(self, key: Key) -> Key:
        """Return the known request that is most like this one: an odd answer can name ids that nobody has."""
        if key in self.good:
            return key
        parts = key[1].split("/")

        def likeness(known: Key) -> tuple[bool, int, int]:
            others = known[1].split("/")
            same = sum(one == other for one, other in zip(parts, others, strict=False))
            return known[0] == key[0], -abs(len(others) - len(parts)), same

        return max(sorted(self.good), key=likeness)


class AnsweredAtOnce(SyncTransport):
    """Waits for the answer of a call that may stay open: it is over as soon as it began."""

    def _do(self, step: Step, patience: Patience) -> object:
        if isinstance(step, Open):
            return Answered(self.send(step.request, patience))
        return super()._do(step, patience)


class ScriptedTransport(AnsweredAtOnce):
    """Drives flows without a network: what is said is the script's, and comes a hundred times as fast.

    :param endpoint: where the requests would go.
    :param script: the answers.
    :param now: tells the time.
    :param pause: what it does instead of sleeping.
    """

    def __init__(
        self, endpoint: Endpoint, script: Script, now: Callable[[], float], pause: Callable[[float], None]
    ) -> None:
        super().__init__(endpoint, sleep=pause)
        self._now = now
        self._script = script
        self._prefix = urlsplit(endpoint.base_url).path

    def send(self, request: HttpRequest, patience: Patience, line: Line | None = None) -> HttpResponse:
        """Answer ``request``."""
        odd, good = self._script.next((request.method, self._prefix + request.path))
        if len(self._script.heard) > MOST_REQUESTS:
            raise AssertionError("it goes on and on")
        content, headers = body_of(request)
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        body = odd.body_of(good, head.encode() + b"\r\n" + (content or b""))
        status = int(odd.status) if odd.status and len(odd.status) == 3 and odd.status.isdigit() else good.status
        return answer_to(request, status, good.headers, body, self._now())


@dataclass(frozen=True)
class Answered:
    """A call that is over as soon as it began."""

    response: HttpResponse

    @property
    def opened_at(self) -> float:
        return self.response.sent_at

    @property
    def ended_at(self) -> float | None:
        return self.response.received_at

    def poll(self) -> HttpResponse:
        return self.response


class ScriptedServer:
    """Serves scripts, each under a path of its own, and watches that nobody is led to another host."""

    def __init__(self) -> None:
        self._scripts: dict[str, Script] = {}
        self._stranger = OddServer(lambda connection, request: None)
        self._server = OddServer(self._serve)

    def __enter__(self) -> ScriptedServer:
        return self

    def __exit__(self, *error: object) -> None:
        self._server.__exit__()
        self._stranger.__exit__()

    @property
    def led_away(self) -> list[bytes]:
        """What another host was sent."""
        return self._stranger.received

    def url(self, name: str, script: Script) -> str:
        """Serve a script; return where."""
        self._scripts[name] = script
        return f"{self._server.url}/{name}"

    def forget(self, name: str) -> None:
        """Serve it no more."""
        del self._scripts[name]

    def _serve(self, connection: socket.socket, request: bytes) -> None:
        while request:
            line = re.match(rb"(\S+) (?:http://[^/]+)?/([^/ ]+)(/[^? ]*)", request)
            script = self._scripts.get(line[2].decode()) if line else None
            if line is None or script is None or len(script.heard) >= MOST_REQUESTS:
                return
            odd, good = script.next((line[1].decode(), line[3].decode()))
            end = odd.end
            connection.sendall(odd.answer(good, request).replace(STRANGER.encode(), self._stranger.url.encode()))
            if end == "hold":
                connection.settimeout(HOLD_SECONDS)
                connection.recv(1)
            if end == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if end != "keep":
                return
            connection.settimeout(2.0)
            request = read(connection)
