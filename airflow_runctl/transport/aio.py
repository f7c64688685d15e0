"""Drives flows with aiohttp: in the triggerer, and where many runs are stopped at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from types import SimpleNamespace
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import aiohttp
from tenacity import AsyncRetrying
from yarl import URL

from airflow_runctl.exceptions import BadAnswer
from airflow_runctl.transport.answer import answer_to
from airflow_runctl.transport.endpoint import (
    CONNECT_TIMEOUT,
    MAX_BODY,
    Endpoint,
    body_of,
    certificates_error,
    transport_error,
)
from airflow_runctl.transport.proof import Proof
from airflow_runctl.transport.retry import Patience, arguments
from airflow_runctl.transport.steps import Steps
from airflow_runctl.vendors.base import Flow, HttpRequest, HttpResponse, Open, Owned, Pause, Step, Tell

T = TypeVar("T")

MAX_CONNECTIONS = 100
"""Connections of one process to all vendors together."""

_sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()


def _session() -> aiohttp.ClientSession:
    """Return the event loop's one session: a session of its own per poll costs six times the CPU."""
    loop = asyncio.get_running_loop()
    session = _sessions.get(loop)
    if session is None or session.closed:
        session = _sessions[loop] = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=True,
            trace_configs=[_proving()],
        )
        # aiohttp repeats a GET, PUT or DELETE by itself if its connection dies; any of them can be a start.
        session._retry_connection = False
    return session


def _proving() -> aiohttp.TraceConfig:
    """Note in a request's :class:`Proof` that its first byte is about to be sent."""

    async def note(session: aiohttp.ClientSession, context: SimpleNamespace, what: object) -> None:
        context.trace_request_ctx.sent = True

    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(note)
    return trace


async def close_session() -> None:
    """Close the running event loop's session, before the loop ends."""
    session = _sessions.pop(asyncio.get_running_loop(), None)
    if session is not None:
        await session.close()


def in_own_loop(doing: Coroutine[Any, Any, T]) -> T:
    """Run in an event loop of its own, as a worker does that is in none; close the loop's session with it."""

    async def closing() -> T:
        try:
            return await doing
        finally:
            await close_session()

    return asyncio.run(closing())


class AsyncTransport:
    """Requests to one endpoint, over the event loop's shared session.

    :param endpoint: where the requests go.
    :param listener: gets what a flow tells.
    :param owned: tells which runs the records of other tasks claim; by default nobody is asked.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        listener: Callable[[object], Awaitable[None]] | None = None,
        owned: Callable[[frozenset[str]], Awaitable[frozenset[str]]] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._listener = listener
        self._owned = owned

    async def drive(self, flow: Flow[T], patience: Patience | None = None) -> T:
        """Run ``flow`` to its end and return what it returns.

        :param patience: how long to go on with one request, and with the whole.
        :raises TransportError: if the flow's time is up, or it did not catch one.
        """
        steps = Steps(flow, patience)
        while (step := steps.next()) is not None:
            with steps.carrying_out():
                steps.answer = await self._do(step, steps.patience)
        return steps.result

    async def _do(self, step: Step, patience: Patience) -> object:
        if isinstance(step, Tell):
            if self._listener is not None:
                await self._listener(step.what)
            return None
        if isinstance(step, Pause):
            await asyncio.sleep(min(step.seconds, patience.left()))
            return None
        if isinstance(step, Owned):
            return await self._owned(step.run_ids) if self._owned else frozenset()
        if isinstance(step, Open):
            return AsyncOpenCall(self, step.request)
        return await self.send(step, patience)

    async def send(self, request: HttpRequest, patience: Patience) -> HttpResponse:
        """Send ``request``, again where the retry policy allows it.

        :raises TransportError: if no answer came.
        :raises BadAnswer: if the answer is too large.
        """
        retrying = AsyncRetrying(**arguments(request, patience))
        return await retrying(_send, self.endpoint, request, patience)


class AsyncOpenCall:
    """A request that is under way in a task of its own."""

    def __init__(self, transport: AsyncTransport, request: HttpRequest) -> None:
        self.opened_at = time.time()
        self.ended_at: float | None = None
        # An empty context: else its log lines land in the file of whichever trigger began it.
        self._task = asyncio.get_running_loop().create_task(self._call(transport, request), context=Context())
        # Once the run is known nobody asks any more; asyncio would log a call that broke then.
        self._task.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _call(self, transport: AsyncTransport, request: HttpRequest) -> HttpResponse:
        try:
            return await transport.send(request, Patience())
        finally:
            self.ended_at = time.time()

    def poll(self) -> HttpResponse | None:
        """Return the answer, or ``None`` while there is none."""
        return self._task.result() if self._task.done() else None


async def _send(endpoint: Endpoint, request: HttpRequest, patience: Patience) -> HttpResponse:
    url = endpoint.url(request)
    body, headers = body_of(request)
    timeout = patience.timeout(endpoint.timeout_of(request))
    proof = Proof()
    sent_at = time.time()
    try:
        async with _session().request(
            request.method,
            URL(url, encoded=True),  # else ;:@ and others lose their percent-encoding again
            params=dict(request.query),
            data=body,
            headers=headers,
            skip_auto_headers=("Content-Type",),
            timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=min(CONNECT_TIMEOUT, timeout), sock_read=timeout),
            allow_redirects=False,
            proxy=endpoint.proxy_for(url),
            trace_request_ctx=proof,
            ssl=await asyncio.to_thread(endpoint.tls) if url.startswith("https:") else True,
        ) as response:
            content = await _read(response)
            return answer_to(request, response.status, response.raw_headers, content, sent_at)
    except (aiohttp.ClientError, TimeoutError, ConnectionError, UnicodeError) as error:
        raise transport_error(request, url, error, sent=proof.sent) from error
    except OSError as error:  # of the CA file; aiohttp wraps those of the network
        raise certificates_error(endpoint) from error


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY:
            raise BadAnswer(f"The answer (HTTP {response.status}) is larger than {MAX_BODY} bytes.")
    return bytes(body)
