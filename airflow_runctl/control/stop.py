"""Stops a run, and knows that it is stopped: record the intent, ask, confirm by looking, record the outcome.

There is one way to stop a run. An operator's stop, an ``on_kill``, a limit, a deadline's callback and the
command line all enter here.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from airflow_runctl.control import audit
from airflow_runctl.control.stop_note import StopNote
from airflow_runctl.exceptions import (
    BadAnswer,
    CannotStop,
    LoginRefused,
    NotFound,
    RunctlError,
    TransportError,
    VendorError,
)
from airflow_runctl.metrics import count_error
from airflow_runctl.runs import ExternalRun, RunState, RunStatus, StopOutcome, StopResult
from airflow_runctl.transport.retry import Patience
from airflow_runctl.vendors.base import Flow, FlowClock, Hurry, Pause, Rank, Tell, Vendor

log = logging.getLogger(__name__)

STOP_TIMEOUT: Final = 60.0
"""Seconds in which a stop has to be confirmed by default."""

LOOK_EVERY: Final = 1.0
LONGEST_LOOK: Final = 5.0
FIRST_LOOK: Final = 1.0
"""Seconds for a request of the look before a stop: a vendor that hangs, or asks to wait, is told to stop without."""

LAST_LOOK: Final = 2.0
"""Seconds for the one look after a stop that is not waited for."""

STOP_PATIENCE: Final = Patience(total=5.0, answer=10.0)
"""For one request of a stop: short, since the flow itself asks and looks again until its time is up."""

READABLE_AFTER: Final = 30.0
"""Seconds after a start in which "not found" may only mean "not readable yet"."""

PROBLEMS: Final = (TransportError, BadAnswer, VendorError)

OF_A_GATEWAY: Final = frozenset({502, 504})
"""HTTP status of an answer that is not the vendor's: no answer that could be read came from what is behind."""


@dataclass(frozen=True, slots=True)
class Time:
    """The time that a stop has. What it waits for its turn is not counted, so that many stops do not end one another.

    :param clock: the time of the flow.
    :param began: when, by that clock, it began.
    :param timeout: seconds in which the stop has to be confirmed.
    :param not_after: when all has to be over (Unix time), whatever was waited.
    """

    clock: FlowClock
    began: float
    timeout: float
    not_after: float

    def spent(self) -> float:
        """Return the seconds that it has taken."""
        return self.clock.now() - self.began

    def ends_at(self) -> float:
        """Return when a look that confirms is of no use any more (Unix time), though it may not have been its turn."""
        return self.not_after if self.timeout > 0 else min(self.not_after, time.time() + LAST_LOOK)

    def is_up_in(self, seconds: float) -> bool:
        """Return True if nothing can be done any more after a wait of so many seconds."""
        return self.spent() + seconds > self.timeout or time.time() + seconds > self.not_after


def stop(
    vendor: Vendor,
    run: ExternalRun,
    note: StopNote,
    *,
    timeout: float = STOP_TIMEOUT,
    look_first: bool = True,
    not_after: float = math.inf,
    in_signal_handler: bool = False,
) -> Flow[StopResult]:
    """Stop ``run``.

    :param note: why, and by whom; told before anything is asked, and again with the outcome.
    :param timeout: seconds in which the stop has to be confirmed, from its first request; 0 asks and does not wait.
    :param look_first: look before asking, and leave a run alone that is over. A kill has no time for it.
    :param not_after: when nothing more is waited for (Unix time), though the stop may have had to wait for its turn.
    :param in_signal_handler: count the stop, and leave it to the caller to tell of it: there nothing may be logged.
    :returns: the outcome; ``REQUESTED`` if the run was not seen to end in time.
    :raises CannotStop: if the vendor takes no stop of this run; the run may be alive.
    :raises NotFound: if the vendor does not know a run that was named by a user.
    """
    clock: FlowClock = yield Hurry(Rank.LOOK_BEFORE, seconds=FIRST_LOOK)
    has = Time(clock, clock.now(), timeout, not_after)
    now = datetime.now(UTC)
    note = replace(note, asked_at=now.isoformat(timespec="milliseconds"), since=note.since or now.timestamp())
    try:
        result = yield from _stop(vendor, run, note, has, look_first)
    except Exception as error:
        _came_to(run, note, error, only_count=in_signal_handler)
        raise
    _came_to(run, note, result, only_count=in_signal_handler)
    return result


def _stop(vendor: Vendor, run: ExternalRun, note: StopNote, has: Time, look_first: bool) -> Flow[StopResult]:
    if look_first:
        first = yield from _look(vendor, run)
        if first.is_over:
            return (yield from _ended(run, note, StopOutcome.ALREADY_FINISHED, first, has))
    yield Tell(note)
    outcome, last = yield from _ask_and_confirm(vendor, run, has)
    return (yield from _ended(run, note, outcome, last, has))


def _came_to(run: ExternalRun, note: StopNote, came: StopResult | Exception, *, only_count: bool) -> None:
    seconds = time.time() - (note.since or time.time())
    audit.count_stop(run, note.reason, came.outcome if isinstance(came, StopResult) else None, seconds)
    if not only_count:
        tell_of(run, note, came, seconds)


def tell_of(run: ExternalRun, note: StopNote, came: StopResult | Exception, seconds: float) -> None:
    """Tell of a stop that is over.

    :param came: what it came to.
    :param seconds: from its reason to that.
    """
    if isinstance(came, StopResult):
        audit.stopped(run, note.by, note.reason, note.text, came.outcome, came.status, seconds)
    else:
        audit.not_stopped(run, note.by, note.reason, note.text, came, seconds)


def _ended(run: ExternalRun, note: StopNote, outcome: StopOutcome, last: Look, has: Time) -> Flow[StopResult]:
    unknown = str(last.unknown) if last.unknown else None
    result = StopResult(outcome, last.status, round(has.spent(), 3), unknown)
    yield Tell(replace(note, outcome=outcome, seconds=result.seconds))
    return result


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at a run gave; nothing, if none can be had.

    :param status: the run, as it was seen.
    :param failed: why it was not seen.
    """

    status: RunStatus | None = None
    failed: RunctlError | None = None

    @property
    def unknown(self) -> NotFound | None:
        """The vendor's word that it knows no such run."""
        return self.failed if isinstance(self.failed, NotFound) else None

    @property
    def is_over(self) -> bool:
        """True if the run was seen to be over."""
        return self.status is not None and self.status.state.is_terminal

    @property
    def shows_no_stop(self) -> bool:
        """True if the run was seen to go on as if nobody had told it to stop."""
        return self.status is not None and self.status.state.is_live and self.status.state is not RunState.STOPPING


@dataclass(frozen=True, slots=True)
class AskingAgain:
    """Told before a run is asked to stop once more: its listener may raise, should the run have to live by now."""


def _ask_and_confirm(vendor: Vendor, run: ExternalRun, has: Time) -> Flow[tuple[StopOutcome, Look]]:
    """Ask until the vendor accepts, then look until the run is over or the time is up."""
    refused: RunctlError | None = None
    may_be_taken = False
    wait = LOOK_EVERY
    yield Hurry(Rank.ACT)
    while True:
        try:
            reply = yield from vendor.ask_stop(run)
            break
        except PROBLEMS as error:
            count_error(vendor.name, error)
            refused = error
            may_be_taken = may_be_taken or _may_be_taken(error)
        yield Hurry(Rank.CONFIRM, until=has.ends_at())
        look = yield from _look(vendor, run)
        if look.is_over and may_be_taken:
            return outcome_of(vendor, look.status), look
        if look.is_over or _is_gone(run, refused, look):
            return StopOutcome.ALREADY_FINISHED, look
        if isinstance(refused, LoginRefused):
            yield Tell(refused)
        if isinstance(refused, LoginRefused) or has.is_up_in(wait):
            raise _not_taken(vendor, run, refused, look)
        yield Pause(wait)
        yield Tell(AskingAgain())
        wait = min(wait * 1.5, LONGEST_LOOK)
    return (yield from _confirm(vendor, run, reply.status, has))


def _may_be_taken(error: RunctlError) -> bool:
    """Return True if a request to stop that came to this may have been carried out all the same."""
    if isinstance(error, VendorError):
        return error.status in OF_A_GATEWAY
    return not isinstance(error, TransportError) or error.sent


def _confirm(vendor: Vendor, run: ExternalRun, status: RunStatus | None, has: Time) -> Flow[tuple[StopOutcome, Look]]:
    """Look until a run that was told to stop is over, or the time is up; ask again if it goes on all the same."""
    wait = LOOK_EVERY
    pauses = iter(vendor.stop_again_after)
    ask_at = has.spent() + next(pauses, math.inf)
    look = Look(status)
    yield Hurry(Rank.CONFIRM, until=has.ends_at())
    while True:
        if look.status is None:
            look = yield from _look(vendor, run)
        if look.is_over and look.status is not None:
            return outcome_of(vendor, look.status), look
        if not vendor.can_look(run) or has.is_up_in(wait):
            return StopOutcome.REQUESTED, look
        if look.shows_no_stop and has.spent() >= ask_at:
            yield Tell(AskingAgain())
            log.info("%s run %s was told to stop and goes on; it is told again", vendor.label, run.run_id)
            yield from _ask_again(vendor, run)
            ask_at = has.spent() + next(pauses, math.inf)
        yield Pause(wait)
        look = Look()
        wait = min(wait * 1.5, LONGEST_LOOK)


def _ask_again(vendor: Vendor, run: ExternalRun) -> Flow[None]:
    """Ask once more for a stop that was accepted; a refusal of this one changes nothing of that."""
    try:
        yield from vendor.ask_stop(run)
    except PROBLEMS as error:
        count_error(vendor.name, error)
        log.info("%s did not take the stop of run %s once more: %s", vendor.label, run.run_id, error)


def _not_taken(vendor: Vendor, run: ExternalRun, refused: RunctlError, look: Look) -> RunctlError:
    if isinstance(refused, NotFound):
        return refused
    if look.unknown is not None and run.owner is None and not isinstance(refused, LoginRefused):
        return NotFound(
            f"{vendor.label} knows no run {run.run_id!r}, and did not take its stop either. {look.unknown} "
            f"To the stop: {refused}",
            status=look.unknown.status,
        )
    where = f" ({run.url})" if run.url else ""
    seen = f" To a look at it: {look.failed}" if isinstance(look.failed, VendorError) else ""
    return CannotStop(
        f"{vendor.label} did not take the stop of run {run.run_id!r}{where}; the run may be alive. {refused}{seen}"
    )


def _look(vendor: Vendor, run: ExternalRun) -> Flow[Look]:
    """Look at the run, if that is possible; a look that fails must not keep anybody from asking."""
    if not vendor.can_look(run):
        return Look()
    try:
        return Look((yield from vendor.status(run)))
    except PROBLEMS as error:
        count_error(vendor.name, error)
        return Look(failed=error)


def outcome_of(vendor: Vendor, status: RunStatus | None) -> StopOutcome:
    """Tell a run that we stopped from one that got to its end first.

    :param status: the last look at it; ``None`` if it is gone.
    """
    stopped = {RunState.STOPPED, RunState.FAILED} if vendor.failed_may_mean_stopped else {RunState.STOPPED}
    return StopOutcome.STOPPED if status is not None and status.state in stopped else StopOutcome.ALREADY_FINISHED


def _is_gone(run: ExternalRun, refused: RunctlError | None, look: Look) -> bool:
    """Return True if the vendor does not know one of our runs any more.

    Of an id that a user typed it is an error, and shortly after a start it proves nothing.
    """
    ours_and_readable = run.owner is not None and time.time() - run.started_at.timestamp() > READABLE_AFTER
    return look.status is None and isinstance(refused, NotFound) and ours_and_readable
