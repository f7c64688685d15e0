"""Drives flows with aiohttp: in the triggerer, and where many runs are stopped at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, ContextVar
from functools import lru_cache
from ssl import SSLContext
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

import aiohttp
from tenacity import AsyncRetrying
from yarl import URL

from airflow_runctl.exceptions import BadAnswer, TransportError
from airflow_runctl.metrics import LAST_SECONDS, hand_on
from airflow_runctl.transport.answer import answer_to
from airflow_runctl.transport.budget import budget_of
from airflow_runctl.transport.endpoint import (
    CONNECT_TIMEOUT,
    MAX_BODY,
    Endpoint,
    body_of,
    certificates_error,
    transport_error,
)
from airflow_runctl.transport.proof import Proof
from airflow_runctl.transport.retry import Patience, arguments, is_worth_another
from airflow_runctl.transport.steps import FOR_THE_FLOW, Steps
from airflow_runctl.transport.turns import Line, forget_turns, turns_at
from airflow_runctl.vendors.base import Flow, HttpRequest, HttpResponse, NextLook, Open, Owned, Pause, Rank, Step, Tell

T = TypeVar("T")

_proof: ContextVar[Proof] = ContextVar("proof")
"""About the request that the running task is sending."""


class _ProvingRequest(aiohttp.ClientRequest):
    """A request that notes in its :class:`Proof` that its first byte is about to be sent.

    A trace of aiohttp's would do the same, for a quarter more CPU on all requests.
    """

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        if self.method != "CONNECT":  # asks a proxy for a tunnel, and sends nothing of the request
            _proof.get().sent = True
        return await super().send(conn)


_sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()


def _session() -> aiohttp.ClientSession:
    """Return the event loop's one session: a session of its own per poll costs six times the CPU."""
    loop = asyncio.get_running_loop()
    session = _sessions.get(loop)
    if session is None or session.closed:
        session = _sessions[loop] = aiohttp.ClientSession(
            # No limit of its own: whoever waited for it would do so on the time of its request (``turns.py``).
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            # No total: while that runs out aiohttp loses a cancellation (3.14.5), and whoever is cancelled goes on.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
            auto_decompress=True,
            request_class=_ProvingRequest,
        )
        # aiohttp repeats a GET, PUT or DELETE by itself if its connection dies; any of them can be a start.
        session._retry_connection = False
    return session


async def close_session() -> None:
    """Close the running event loop's session, before the loop ends."""
    forget_turns()
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

    try:
        return asyncio.run(closing())
    finally:
        hand_on(LAST_SECONDS)


class AsyncTransport:
    """Requests to one endpoint, over the event loop's shared session.

    :param endpoint: where the requests go.
    :param listener: gets what a flow tells.
    :param owned: tells which runs the records of other tasks claim; by default nobody is asked.
    :param next_look: returns when another look at a run is worth it; by default when it is due.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        listener: Callable[[object], Awaitable[None]] | None = None,
        owned: Callable[[frozenset[str]], Awaitable[frozenset[str]]] | None = None,
        next_look: Callable[[NextLook], Awaitable[None]] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._listener = listener
        self._owned = owned
        self._when_worth_it = next_look
        self._proxies: dict[str, str | None] = {}

    async def drive(self, flow: Flow[T], patience: Patience | None = None) -> T:
        """Run ``flow`` to its end and return what it returns.

        :param patience: how long to go on with one request, and with the whole.
        :raises TransportError: if the flow's time is up, or it did not catch one.
        """
        steps = Steps(flow, patience)
        while (step := steps.next()) is not None:
            try:
                if isinstance(step, HttpRequest):
                    steps.answer = await self.send(step, steps.patience, steps.line)
                else:
                    steps.answer = await self._do(step, steps.patience)
            except FOR_THE_FLOW as error:
                steps.failure = error
        return steps.result

    async def _do(self, step: Step, patience: Patience) -> object:
        if isinstance(step, Tell):
            if self._listener is not None:
                await self._listener(step.what)
            return None
        if isinstance(step, Pause):
            await asyncio.sleep(min(step.seconds, patience.left()))
            return None
        if isinstance(step, NextLook):
            await self._next_look(step, patience)
            return None
        if isinstance(step, Owned):
            return await self._owned(step.run_ids) if self._owned else frozenset()
        if isinstance(step, Open):
            return AsyncOpenCall(self, step.request)
        raise TypeError(f"{step!r} is no step of a flow")

    async def _next_look(self, step: NextLook, patience: Patience) -> None:
        if self._when_worth_it is not None and patience.until is None:
            await self._when_worth_it(step)
        else:
            await asyncio.sleep(min(step.seconds, step.at_most, patience.left()))

    async def send(self, request: HttpRequest, patience: Patience, line: Line | None = None) -> HttpResponse:
        """Send ``request``, again where the retry policy allows it.

        :param line: where its flow stands; each try waits for its turn. ``None`` waits for none.
        :raises TransportError: if no answer came.
        :raises BadAnswer: if the answer is too large.
        """
        now = time.monotonic if line is None else line.now
        patience = patience if line is None else line.bounded(patience)
        began = now()
        first = await self._try(request, patience, line)
        if not is_worth_another(request, first):
            return _came(first)
        # Only here: for a request that succeeds at once, as most do, tenacity takes as much as half of the sending.
        outcomes = [first]

        async def tried() -> HttpResponse:
            return _came(outcomes.pop() if outcomes else await self._try(request, patience, line, again=True))

        return await AsyncRetrying(**arguments(request, patience, now, began))(tried)

    async def _try(
        self, request: HttpRequest, patience: Patience, line: Line | None, *, again: bool = False
    ) -> HttpResponse | TransportError:
        """Send ``request`` once, in its turn; return the answer, or why there is none."""
        try:
            if line is None:
                if budget := budget_of(self.endpoint.allowance):
                    budget.take(Rank.ACT)
                return await _send(self.endpoint, request, patience, self._proxy_for(request))
            rank = line.rank_of(request, again=again)
            turns = turns_at(request.base_url or self.endpoint.base_url, self.endpoint.allowance, rank)
            turn = await turns.turn(line, rank)
            try:
                return await _send(self.endpoint, request, patience, self._proxy_for(request))
            finally:
                turns.end(turn)
        except TransportError as error:
            return error

    def _proxy_for(self, request: HttpRequest) -> str | None:
        """Return the proxy; the environment is asked once for all requests of a flow, not once for each."""
        base_url = request.base_url or self.endpoint.base_url
        if base_url not in self._proxies:
            self._proxies[base_url] = self.endpoint.proxy_for(base_url)
        return self._proxies[base_url]


def _came(outcome: HttpResponse | TransportError) -> HttpResponse:
    if isinstance(outcome, TransportError):
        raise outcome
    return outcome


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


async def _send(endpoint: Endpoint, request: HttpRequest, patience: Patience, proxy: str | None = None) -> HttpResponse:
    body, headers = body_of(request)
    timeout = patience.timeout(endpoint.timeout_of(request))
    proof = Proof()
    _proof.set(proof)
    sent_at = time.time()
    try:
        base = _base(request.base_url or endpoint.base_url)
        async with (
            asyncio.timeout(timeout),
            _session().request(
                request.method,
                base.with_path(base.raw_path.rstrip("/") + request.path, encoded=True),
                params=request.query or None,
                data=body,
                headers=headers,
                skip_auto_headers=None if request.method == "GET" else NO_CONTENT_TYPE,
                allow_redirects=False,
                proxy=proxy,
                ssl=await _certificates(endpoint) if base.scheme == "https" else True,
            ) as response,
        ):
            content = await _read(response)
            return answer_to(request, response.status, response.raw_headers, content, sent_at)
    except (aiohttp.ClientError, TimeoutError, ConnectionError, UnicodeError) as error:
        raise transport_error(request, endpoint.url(request), error, sent=proof.sent) from error
    except OSError as error:  # of the CA file; aiohttp wraps those of the network
        raise certificates_error(endpoint) from error


@lru_cache(maxsize=256)
def _base(url: str) -> URL:
    """Return a base URL; to put a path behind it takes a third of reading the whole."""
    return URL(url, encoded=True)  # else ;:@ and others lose their percent-encoding again


NO_CONTENT_TYPE: Final = ("Content-Type",)
"""aiohttp would make one up for a POST without a body."""


async def _certificates(endpoint: Endpoint) -> SSLContext | bool:
    """Return what aiohttp wants to know of certificates; a thread is needed only until they were read once."""
    ready = endpoint.tls_if_ready()
    return await asyncio.to_thread(endpoint.tls) if ready is None else ready


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Read the body as it comes, most often in one piece."""
    pieces: list[bytes] = []
    size = 0
    while piece := await response.content.readany():
        pieces.append(piece)
        size += len(piece)
        if size > MAX_BODY:
            raise BadAnswer(f"The answer (HTTP {response.status}) is larger than {MAX_BODY} bytes.")
    return b"".join(pieces)
