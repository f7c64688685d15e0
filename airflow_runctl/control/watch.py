"""Follows a run to its end, or to a limit, at which it is stopped.

Limits are wall-clock times: they cross processes, and neither deferral nor a restart may prolong them.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from airflow_runctl.compat import conf
from airflow_runctl.control import audit
from airflow_runctl.control.stop import PROBLEMS, StopNote, stop
from airflow_runctl.exceptions import NotItsTurn, RateLimited, RunctlError
from airflow_runctl.metrics import count_error, count_poll
from airflow_runctl.runs import ExternalRun, RunState, RunStatus, StopOutcome, StopReason, StopResult
from airflow_runctl.transport.retry import Patience
from airflow_runctl.vendors.base import Flow, Hurry, NextLook, Rank, Tell, Vendor

POLL_INTERVAL: Final = 10.0
RIDE_OUT: Final = 600.0
"""Seconds for which bad polls in a row are ridden out, unless ``[runctl] ride_out`` says otherwise."""

LONG_INTERVAL: Final = 60.0
"""Seconds between two looks at a run that has been going on for long, unless more were asked for."""

PART_OF_AGE: Final = 0.01
"""By which part of its length the end of a run may be noticed later, up to ``LONG_INTERVAL``."""

JITTER: Final = 0.1
"""By which part an interval is longer at the most, so that many who began together do not go on together."""

LONGEST_WAIT: Final = 300.0
"""Seconds for which no look is made at the most, where the vendor asks for more (``Retry-After``)."""

PARKED: Final = frozenset({RunState.SUSPENDED})
"""States besides the final ones in which a run does nothing more by itself."""

POLL_PATIENCE: Final = Patience(total=5.0, answer=20.0)
"""For one poll: short, since the next poll is a repetition too, and a limit may pass meanwhile."""

Limits = Mapping[str, float]
"""Reason (a ``StopReason`` value) to the wall-clock time, in Unix seconds, at which it applies."""


@dataclass(frozen=True, slots=True)
class Watched:
    """How the watching of a run ended; exactly one of the first three tells it.

    :param status: the run ended, or is suspended.
    :param limit: this limit passed, and the run was told to stop.
    :param lost: the vendor answered badly for too long; the last error. The run may be alive.
    :param stop: how the stop at the limit went.
    :param stop_error: why it could not be stopped.
    """

    status: RunStatus | None = None
    limit: StopReason | None = None
    lost: str | None = None
    stop: StopResult | None = None
    stop_error: str | None = None

    def out(self) -> dict[str, Any]:
        """Return plain JSON, as a trigger's event carries it."""
        return {
            "status": _status_out(self.status),
            "limit": self.limit and self.limit.value,
            "lost": self.lost,
            "stop_error": self.stop_error,
            "stop": self.stop
            and {
                "outcome": self.stop.outcome.value,
                "status": _status_out(self.stop.status),
                "seconds": self.stop.seconds,
            },
        }

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Watched:
        """Return what :meth:`out` made plain."""
        stopped = value.get("stop")
        return cls(
            status=_status_in(value.get("status")),
            limit=StopReason(value["limit"]) if value.get("limit") else None,
            lost=value.get("lost"),
            stop=StopResult(StopOutcome(stopped["outcome"]), _status_in(stopped["status"]), float(stopped["seconds"]))
            if stopped
            else None,
            stop_error=value.get("stop_error"),
        )


@dataclass(frozen=True, slots=True)
class Slow:
    """Told once when a run has taken longer than expected. Nothing is done to it.

    :param seconds: for how long it has been running.
    """

    seconds: float


class Renewed(Exception):
    """Raised by a watcher's listener, to begin anew: the connection is another than the one that was used up to now."""


@dataclass(slots=True)
class Sight:
    """What a watcher remembers from one look to the next.

    :param ends: states that end the watching, besides those in which a run is over.
    :param ride_out: seconds for which bad looks in a row are put up with.
    :param bad_since: when the looks began to fail (Unix time); ``None`` while they are good.
    :param word: the vendor's word at the last look; ``None`` if that was a bad one.
    :param asked_to_wait: seconds for which the vendor asked to be left alone, then.
    """

    ends: frozenset[RunState] = PARKED
    ride_out: float = RIDE_OUT
    bad_since: float | None = None
    word: str | None = None
    asked_to_wait: float = 0.0
    _told: str | None = None

    def look(self, vendor: Vendor, run: ExternalRun) -> Flow[Watched | None]:
        """Look once; return how the watching ended, or ``None`` while it goes on.

        A change of state is told as a ``RunStatus``, a bad look as its error.
        """
        count_poll(vendor.name)
        self.word, self.asked_to_wait = None, 0.0
        try:
            status = yield from vendor.status(run)
        except NotItsTurn:
            return None
        except PROBLEMS as error:
            count_error(vendor.name, error)
            self.bad_since = self.bad_since or time.time()
            if time.time() - self.bad_since >= self.ride_out:
                return Watched(lost=f"{type(error).__name__}: {error}")
            if isinstance(error, RateLimited):
                self.asked_to_wait = min(error.retry_after or 0.0, LONGEST_WAIT)
            yield Tell(error)
            return None
        self.bad_since = None
        self.word = status.vendor_state
        if self.word != self._told:
            self._told = self.word
            yield Tell(status)
        return Watched(status=status) if status.state.is_terminal or status.state in self.ends else None


def follow(
    vendor: Vendor,
    run: ExternalRun,
    *,
    by: str,
    poll_interval: float | Callable[[], float],
    limits: Limits,
    stop_timeout: float | None,
    ride_out: float = RIDE_OUT,
    ends: frozenset[RunState] = PARKED,
    warn_at: float | None = None,
) -> Flow[Watched]:
    """Watch ``run`` until it is over, in one of the states ``ends``, lost, or at a limit; stop it at a limit.

    Every change of state is told as a ``RunStatus``, a run that is still there at ``warn_at`` as ``Slow``.

    :param by: which process watches, for the record of a stop.
    :param poll_interval: seconds between two looks, or what tells them before each. A run that has been going on for
        long is looked at less often: its end is noticed later by a hundredth of its length, and by a minute at most.
    :param limits: when the run has to be over.
    :param stop_timeout: seconds in which a stop has to be confirmed; ``None`` leaves the run alone at a limit.
    :param ride_out: seconds for which bad polls in a row are put up with.
    :param ends: states that end the watching, besides those in which the run is over.
    :param warn_at: when the run is slow (Unix time); ``None`` for never.
    """
    sight = Sight(ends, ride_out)
    warn_at = float("inf") if warn_at is None else warn_at
    while True:
        reason, at = next_limit(limits)
        if reason is not None and time.time() >= at:
            if stop_timeout is None:
                return Watched(limit=reason)
            return (yield from _stop_at_limit(vendor, run, StopNote(reason, by, since=at), stop_timeout))
        # A look is of no use any more once it is time for something else: neither waits for the other.
        yield Hurry(Rank.POLL, until=min(at, warn_at))
        watched = yield from sight.look(vendor, run)
        if watched is not None:
            return watched
        if time.time() >= warn_at:
            warn_at = float("inf")
            yield Tell(Slow(time.time() - run.started_at.timestamp()))
        now = time.time()
        seconds = max(_seconds(poll_interval, run, now), sight.asked_to_wait)
        yield NextLook(run, sight.word, seconds, max(0.0, min(at, warn_at) - now))


def _seconds(poll_interval: float | Callable[[], float], run: ExternalRun, now: float) -> float:
    """Return the seconds until the next look at ``run``."""
    if callable(poll_interval):
        interval = poll_interval()
    else:
        age = now - run.started_at.timestamp()
        interval = max(poll_interval, min(age * PART_OF_AGE, LONG_INTERVAL))
    return interval * random.uniform(1, 1 + JITTER)  # noqa: S311 - no secret


def tell_of_watching(run: ExternalRun, watched: Watched, seconds: float) -> None:
    """Tell, once, what the watching of a run came to."""
    status = watched.status or (watched.stop.status if watched.stop else None)
    error = "lost" if watched.lost else "not stopped" if watched.stop_error else None
    reason = watched.limit.value if watched.limit else None
    audit.watched(run, seconds, state=status.state.value if status else None, reason=reason, error=error)


def _stop_at_limit(vendor: Vendor, run: ExternalRun, note: StopNote, timeout: float) -> Flow[Watched]:
    try:
        result = yield from stop(vendor, run, note, timeout=timeout)
    except RunctlError as error:
        return Watched(limit=note.reason, stop_error=str(error))
    if result.outcome is StopOutcome.ALREADY_FINISHED and result.status is not None:
        return Watched(status=result.status)
    return Watched(limit=note.reason, stop=result)


def configured_ride_out() -> float:
    """Return the seconds for which bad polls are ridden out: ``[runctl] ride_out``."""
    return float(conf.getfloat("runctl", "ride_out", fallback=RIDE_OUT))


def next_limit(limits: Limits) -> tuple[StopReason | None, float]:
    """Return the earliest limit and its time; ``(None, infinity)`` if there is none."""
    if not limits:
        return None, float("inf")
    name = min(limits, key=lambda key: limits[key])
    return StopReason(name), limits[name]


def _status_out(status: RunStatus | None) -> dict[str, Any] | None:
    if status is None:
        return None
    return {
        "state": status.state.value,
        "vendor_state": status.vendor_state,
        "message": status.message,
        "result": status.result,
        "retry_is_safe": status.retry_is_safe,
    }


def _status_in(value: Mapping[str, Any] | None) -> RunStatus | None:
    if value is None:
        return None
    return RunStatus(
        RunState(value["state"]),
        value["vendor_state"],
        value.get("message"),
        value.get("result"),
        value.get("retry_is_safe", True),
    )
