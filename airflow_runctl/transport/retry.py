"""The one retry policy: which failures, of which requests, how often, for how long.

=========  ==================  ====================  ===========  ======================
effect     surely not sent     no answer (unclear)   429          502, 503, 504, 5xx
=========  ==================  ====================  ===========  ======================
read       again               again                 again        again
stop       again               again (harmless)      again        again (harmless)
start      again               **never**             again        **never**
=========  ==================  ====================  ===========  ======================

"Surely not sent" is a proof (``proof.py``): no byte of the request has left this machine. The class of an error says
nothing of it. A start that may have arrived is not sent a second time: it would double the run. Waits grow
exponentially with jitter, and ``Retry-After`` is honoured; all of it ends with the total time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tenacity import (
    RetryCallState,
    retry_if_exception,
    retry_if_result,
    wait_random_exponential,
)

from airflow_runctl.exceptions import NotItsTurn, TransportError
from airflow_runctl.vendors.base import Effect, HttpRequest, HttpResponse, retry_after

TOTAL_SECONDS: Final = 60.0
FIRST_WAIT: Final = 0.5
LONGEST_WAIT: Final = 20.0


@dataclass(frozen=True, slots=True)
class Rule:
    """What may be sent again.

    :param unclear: after a failure that leaves open whether the request arrived.
    :param server_errors: after a 5xx.
    """

    unclear: bool
    server_errors: bool


RULES: Final = {
    Effect.READ: Rule(unclear=True, server_errors=True),
    Effect.STOP: Rule(unclear=True, server_errors=True),
    Effect.START: Rule(unclear=False, server_errors=False),
}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a driver goes on for one request.

    :param total: seconds for all tries of a request together.
    :param answer: longest wait for one answer, where the endpoint or the request would wait longer.
    :param until: wall-clock time (Unix) at which the whole flow must be over; ``None`` for no such time.
    """

    total: float = TOTAL_SECONDS
    answer: float = float("inf")
    until: float | None = None

    def within(self, seconds: float) -> Patience:
        """Return the same, but no longer than so many seconds for a request."""
        return Patience(min(self.total, seconds), min(self.answer, seconds), self.until)

    def ending(self, at: float) -> Patience:
        """Return the same, but over at a time (Unix) at the latest."""
        return Patience(self.total, self.answer, at if self.until is None else min(self.until, at))

    def left(self) -> float:
        """Return the seconds that are left of the flow."""
        return float("inf") if self.until is None else self.until - time.time()

    def timeout(self, wanted: float) -> float:
        """Return the seconds to wait for an answer: ``wanted``, or less."""
        return max(0.05, min(wanted, self.answer, self.left()))


def arguments(
    request: HttpRequest, patience: Patience, now: Callable[[], float] = time.monotonic, began: float | None = None
) -> dict[str, Any]:
    """Return the arguments of tenacity's ``Retrying`` and ``AsyncRetrying`` for ``request``.

    :param now: the time that counts for the flow of the request.
    :param began: when, by that time, the request was first sent; now by default.
    """
    return {
        "retry": retry_if_exception(lambda error: _may_repeat(request, error))
        | retry_if_result(lambda response: _is_passing(request, response)),
        "wait": _wait,
        "stop": _stop_after(patience, now, now() if began is None else began),
        "retry_error_callback": _last_outcome,
    }


def is_worth_another(request: HttpRequest, came: HttpResponse | TransportError) -> bool:
    """Return True if the same request may be sent again after what came of it."""
    return _may_repeat(request, came) if isinstance(came, TransportError) else _is_passing(request, came)


def _may_repeat(request: HttpRequest, error: BaseException) -> bool:
    """Return True for a failure after which the request may be sent again without doing harm."""
    if isinstance(error, NotItsTurn):
        return False
    return isinstance(error, TransportError) and (RULES[request.effect].unclear or not error.sent)


def _is_passing(request: HttpRequest, response: HttpResponse) -> bool:
    """Return True for an answer after which the same request may soon succeed."""
    if response.status == 429:
        return True
    return response.status >= 500 and RULES[request.effect].server_errors


_backoff: Final = wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)


def _wait(state: RetryCallState) -> float:
    return max(_backoff(state), _retry_after(state) or 0.0)


def _retry_after(state: RetryCallState) -> float | None:
    """Return the seconds that the vendor asked to wait."""
    outcome = state.outcome
    if outcome is None or outcome.failed:
        return None
    return retry_after(outcome.result())


def _stop_after(patience: Patience, now: Callable[[], float], began: float) -> Callable[[RetryCallState], bool]:
    """Stop when the next try would begin after the time is up: waiting for nothing helps nobody."""

    def stop(state: RetryCallState) -> bool:
        sleep = state.upcoming_sleep or 0.0
        return now() - began + sleep >= patience.total or sleep >= patience.left()

    return stop


def _last_outcome(state: RetryCallState) -> HttpResponse:
    """Hand the last answer to the flow, or raise the last error: the flow says what it means."""
    assert state.outcome is not None
    response: HttpResponse = state.outcome.result()
    return response
