"""Drives flows with requests: on the worker, in a signal handler, in a hook's methods."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

import requests
from tenacity import Retrying
from urllib3.exceptions import HTTPError

from airflow_runctl.exceptions import BadAnswer, NotItsTurn
from airflow_runctl.transport.answer import answer_to
from airflow_runctl.transport.budget import budget_of
from airflow_runctl.transport.connections import ProvingSession
from airflow_runctl.transport.endpoint import (
    CONNECT_TIMEOUT,
    MAX_BODY,
    Endpoint,
    body_of,
    certificates_error,
    transport_error,
)
from airflow_runctl.transport.retry import Patience, arguments
from airflow_runctl.transport.steps import FOR_THE_FLOW, Steps
from airflow_runctl.transport.turns import Line
from airflow_runctl.vendors.base import Flow, HttpRequest, HttpResponse, NextLook, Open, Owned, Pause, Rank, Step, Tell

T = TypeVar("T")
CHUNK = 64 * 1024


class SyncTransport:
    """One requests session for one endpoint.

    :param endpoint: where the requests go.
    :param sleep: waits for so many seconds; an operator's may return early when it is killed.
    :param listener: gets what a flow tells.
    :param owned: tells which runs the records of other tasks claim; by default nobody is asked.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        sleep: Callable[[float], None] = time.sleep,
        listener: Callable[[object], None] | None = None,
        owned: Callable[[frozenset[str]], frozenset[str]] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._sleep = sleep
        self._listener = listener
        self._owned = owned
        self._session = _session(endpoint)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the session."""
        self._session.close()

    def drive(self, flow: Flow[T], patience: Patience | None = None) -> T:
        """Run ``flow`` to its end and return what it returns.

        :param patience: how long to go on with one request, and with the whole.
        :raises TransportError: if the flow's time is up, or it did not catch one.
        """
        steps = Steps(flow, patience)
        while (step := steps.next()) is not None:
            try:
                if isinstance(step, HttpRequest):
                    steps.answer = self.send(step, steps.patience, steps.line)
                else:
                    steps.answer = self._do(step, steps.patience)
            except FOR_THE_FLOW as error:
                steps.failure = error
        return steps.result

    def _do(self, step: Step, patience: Patience) -> object:
        if isinstance(step, Tell):
            if self._listener is not None:
                self._listener(step.what)
            return None
        if isinstance(step, Pause):
            self._sleep(min(step.seconds, patience.left()))
            return None
        if isinstance(step, NextLook):
            self._sleep(min(step.seconds, step.at_most, patience.left()))
            return None
        if isinstance(step, Owned):
            return self._owned(step.run_ids) if self._owned else frozenset()
        if isinstance(step, Open):
            return OpenCall(self.endpoint, step.request)
        raise TypeError(f"{step!r} is no step of a flow")

    def send(self, request: HttpRequest, patience: Patience, line: Line | None = None) -> HttpResponse:
        """Send ``request``, again where the retry policy allows it.

        :param line: where its flow stands.
        :raises TransportError: if no answer came.
        :raises BadAnswer: if the answer is too large.
        """
        line = line or Line()
        patience = line.bounded(patience)
        tries = itertools.count()

        def tried() -> HttpResponse:
            self._wait_for_room(patience, line, line.rank_of(request, again=next(tries) > 0))
            return _send(self._session, self.endpoint, request, patience)

        return Retrying(sleep=self._sleep, **arguments(request, patience, line.now))(tried)

    def _wait_for_room(self, patience: Patience, line: Line, rank: Rank) -> None:
        """Wait until the vendor takes a call more; a kill, which has no time for that, makes one too many.

        :raises NotItsTurn: if the time in which the request is of use is up before.
        """
        budget = budget_of(self.endpoint.allowance)
        began = time.monotonic()
        while budget is not None and (seconds := budget.take(rank)) > 0:
            if rank is Rank.LOOK_BEFORE:
                raise NotItsTurn
            if seconds <= patience.left():
                self._sleep(seconds)
            elif rank >= Rank.CONFIRM and line.until < math.inf:
                self._sleep(max(0.0, patience.left()))
                raise NotItsTurn
            else:
                break
        line.waited += time.monotonic() - began


class OpenCall:
    """A request that is under way in a thread of its own, with a session of its own."""

    def __init__(self, endpoint: Endpoint, request: HttpRequest) -> None:
        self._answer: HttpResponse | None = None
        self._error: Exception | None = None
        self._endpoint = endpoint
        self._request = request
        self.opened_at = time.time()
        self.ended_at: float | None = None
        # A daemon: once the run is known the call does not matter any more, nor may it keep a process alive.
        threading.Thread(target=self._call, name="runctl-open-call", daemon=True).start()

    def _call(self) -> None:
        try:
            with SyncTransport(self._endpoint) as transport:
                self._answer = transport.send(self._request, Patience())
        except Exception as error:  # handed to whoever polls
            self._error = error
        self.ended_at = time.time()

    def poll(self) -> HttpResponse | None:
        """Return the answer, or ``None`` while there is none."""
        if self.ended_at is None:
            return None
        if self._error is not None:
            raise self._error
        return self._answer


def _session(endpoint: Endpoint) -> ProvingSession:
    session = ProvingSession()
    # Proxies and certificates are ours to choose; a .netrc must not replace the connection's credential.
    session.trust_env = False
    session.verify = endpoint.verify and (endpoint.ca_file() or True)
    return session


def _send(session: ProvingSession, endpoint: Endpoint, request: HttpRequest, patience: Patience) -> HttpResponse:
    url = endpoint.url(request)
    body, headers = body_of(request)
    proxy = endpoint.proxy_for(url)
    timeout = patience.timeout(endpoint.timeout_of(request))
    proof = session.prove(timeout)
    sent_at = time.time()
    try:
        response = session.request(
            request.method,
            url,
            params=dict(request.query),
            data=body,
            headers=headers,
            timeout=(min(CONNECT_TIMEOUT, timeout), timeout),
            allow_redirects=False,
            proxies={"http": proxy, "https": proxy} if proxy else {},
            stream=True,
        )
        with response:
            octets = ((n.encode("latin-1"), v.encode("latin-1")) for n, v in response.headers.items())
            return answer_to(request, response.status_code, octets, _read(response), sent_at)
    except (requests.RequestException, HTTPError, TimeoutError, UnicodeError) as error:
        raise transport_error(request, url, error, sent=proof.sent) from error
    except OSError as error:  # of the CA file; requests wraps those of the network
        raise certificates_error(endpoint) from error


def _read(response: requests.Response) -> bytes:
    """Read the body as it comes: ``iter_content`` waits until a chunk is full, however slowly it trickles in."""
    body = bytearray()
    while chunk := response.raw.read1(CHUNK, decode_content=True):
        body += chunk
        if len(body) > MAX_BODY:
            raise BadAnswer(f"The answer (HTTP {response.status_code}) is larger than {MAX_BODY} bytes.")
    return bytes(body)
