"""Trouble on request: which requests it strikes, and how an answer is spoiled."""

from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from aiohttp import web

from airflow_runctl.sandbox.changes import changed
from airflow_runctl.sandbox.wire import Answer, Refused

ANY: Final = "any"
CHUNK: Final = b"x" * 65536

Kind = Literal["latency", "status", "cut", "hang", "garbage", "empty", "truncated", "huge", "redirect", "body"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One kind of trouble.

    :param vendor: name of the vendor, or ``any``.
    :param operation: ``start``, ``status``, ``stop``, ``list``, ``resume``, ``pause``, ...; or ``any``.
    :param kind: ``latency`` waits and goes on; ``status`` answers with an error; ``cut`` ends the connection;
        ``hang`` never answers (with ``seconds``: cuts then); ``garbage`` is no JSON; ``empty`` has no body;
        ``truncated`` ends in the middle of the body; ``huge`` is very long; ``redirect`` points elsewhere;
        ``body`` answers with ``body``.
    :param seconds: how long to wait before the trouble, with any kind.
    :param status: of kinds ``status`` (503), ``redirect`` (302) and ``body`` (200).
    :param retry_after: value of the header ``Retry-After``.
    :param body: JSON to answer with, for kinds ``status`` and ``body``.
    :param location: where kind ``redirect`` points; by default the same server under another host name, so
        that the request log shows what a client sends to a stranger.
    :param bytes: length of the body of kind ``huge``.
    :param count: how many requests it strikes; None is every one until it is deleted.
    :param after_effect: the operation is carried out, and only its answer is spoiled.
    """

    vendor: str = ANY
    operation: str = ANY
    kind: Kind = "status"
    seconds: float | None = None
    status: int | None = None
    retry_after: str | None = None
    body: Any = None
    location: str | None = None
    bytes: int = 50_000_000
    count: int | None = None
    after_effect: bool = False

    def strikes(self, vendor: str, operation: str) -> bool:
        return self.vendor in (vendor, ANY) and self.operation in (operation, ANY)


class Faults:
    """The faults in force, oldest first."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._active: dict[int, Fault] = {}
        self._left: dict[int, int] = {}
        self.cleared = asyncio.Event()

    def add(self, body: object) -> int:
        if not isinstance(body, dict) or "kind" not in body:
            raise Refused(400, "a fault needs a kind")
        fault = changed(Fault(), body)
        number = next(self._ids)
        self._active[number] = fault
        if fault.count is not None:
            self._left[number] = fault.count
        return number

    def take(self, vendor: str, operation: str) -> Fault | None:
        """Return the oldest fault that strikes, and count it."""
        for number, fault in self._active.items():
            if fault.strikes(vendor, operation):
                if number in self._left:
                    self._left[number] -= 1
                    if self._left[number] <= 0:
                        self.remove(number)
                return fault
        return None

    def remove(self, number: int) -> bool:
        self._left.pop(number, None)
        return self._active.pop(number, None) is not None

    def clear(self) -> None:
        """Remove all; requests that hang are let go."""
        self._active.clear()
        self._left.clear()
        self.cleared.set()
        self.cleared = asyncio.Event()

    def shown(self) -> list[dict[str, Any]]:
        return [{"id": number, **asdict(f), "left": self._left.get(number)} for number, f in self._active.items()]

    async def hang(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.cleared.wait()
        except TimeoutError:
            pass


async def cut(request: web.Request) -> web.StreamResponse:
    """End the connection without an answer."""
    if request.transport:
        request.transport.abort()
    return web.Response()


async def truncated(request: web.Request, answer: Answer) -> web.StreamResponse:
    """Promise the whole body, send half of it, and end the connection."""
    body = answer.body if len(answer.body) > 1 else b'{"response_map": {"entries": []}}'
    response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
    response.content_length = len(body)
    response.force_close()
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport:
        request.transport.close()
    return response


async def huge(request: web.Request, length: int) -> web.StreamResponse:
    """Valid JSON, but far more of it than any of these APIs ever sends."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"padding": "')
    for _ in range(length // len(CHUNK)):
        await response.write(CHUNK)
    await response.write(b'"}')
    return response


def spoiled(fault: Fault, refusal: Answer, location: str) -> Answer:
    """Return the answer of the kinds that are an answer like any other.

    :param refusal: the vendor's own error body for the fault's status.
    :param location: where a redirect points if the fault does not say.
    """
    headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
    if fault.kind == "redirect":
        return Answer(fault.status or 302, headers={"Location": fault.location or location, **headers})
    if fault.kind == "garbage":
        return Answer(fault.status or 200, b"<html>\xff\xfe not { JSON", headers)
    if fault.kind == "empty":
        return Answer(fault.status or 200, headers=headers)
    if fault.kind == "body":
        return Answer(fault.status or 200, json.dumps(fault.body).encode(), headers)
    body = refusal.body if fault.body is None else json.dumps(fault.body).encode()
    return Answer(fault.status or 503, body, headers, refusal.content_type)
