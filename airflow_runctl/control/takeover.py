"""What an attempt does with the run that an earlier one left: go on with it, or end it before starting anew."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from airflow_runctl.compat import AirflowFailException
from airflow_runctl.control import audit
from airflow_runctl.control.attempt import BY, Attempt
from airflow_runctl.control.identity import lists_until, search_lost
from airflow_runctl.control.ledger import Leftover
from airflow_runctl.control.records import AMBIGUOUS, LIVE, OVER, RELEASED, STARTING
from airflow_runctl.control.seal import open_handle
from airflow_runctl.control.start import start
from airflow_runctl.control.stop import PROBLEMS
from airflow_runctl.exceptions import HandleError, NotFound, RunctlError, StartUncertain, VendorError
from airflow_runctl.runs import ExternalRun, Ownership, RunState, RunStatus, StopReason
from airflow_runctl.vendors.base import Search, StartPlan

CLEAR_SECONDS: Final = 20.0
"""In which the stop of a cleared attempt's run shows, if one was sent."""

ENDING: Final = {
    RunState.STOPPING: "it is being stopped already",
    RunState.STOPPED: "it was stopped already",
    RunState.FAILED: "it has failed already",
}
"""States in which no attempt goes on with a run, and why."""

NOT_SEEN: Final = RunStatus(RunState.RUNNING, "not seen")
"""Of a run that cannot be looked at: it is taken for alive."""


def take_over(attempt: Attempt, alike: Search | None = None, not_after: datetime | None = None) -> ExternalRun | None:
    """Return the run of an earlier attempt that this one goes on with, or ``None`` to start anew.

    In the second case whatever was left is over: a run is never started beside a live one.

    :param alike: see :class:`~airflow_runctl.vendors.base.StartPlan`.
    :param not_after: start nothing from then on.
    :raises AirflowFailException: if what was left cannot be told apart, or not be opened.
    :raises RunctlError: if it was not seen to end in time.
    """
    try:
        left = attempt.ledger.left_by_earlier_attempt()
    except HandleError as error:
        raise AirflowFailException(f"An earlier attempt left a run. {error} Nothing was started.") from error
    if left is None:
        return None
    if left.phase == OVER:
        return _restart_own(attempt, left, not_after)
    if left.phase == AMBIGUOUS:
        _refuse_beside_candidates(attempt, left)
        return None
    run = _search_for(attempt, left, alike) if left.phase == STARTING else _opened(attempt, left)
    if run is None or _is_left_to_itself(left, run):
        return None
    run = replace(run, owner=attempt.terms.owner)
    # Ours before anything is asked: should the vendor not answer now, the run is stopped or handed on.
    # After a clear it is not recorded as followed at once: the stop that the clear sends must still reach it.
    attempt.run = run
    if left.was_cleared:
        attempt.handle = attempt.ledger.left_behind(run, left.try_number)
    else:
        attempt.adopt(run)
        attempt.obey_what_came_meanwhile(run)
    status = _status(attempt, run, left)
    attempt.log.info("Attempt %d left run %s (%s) behind", left.try_number, run.run_id, status.vendor_state)
    again = _restart_plan(attempt, left, run)
    unwatched = left.phase in (STARTING, LIVE) and not left.was_cleared
    if status.state is RunState.STOPPED and unwatched and again is None:
        attempt.close(status)
        raise AirflowFailException(
            f"Run {run.run_id} of an earlier attempt was stopped while nobody watched it, by a deadline or a "
            "person. A retry does not start it again; clear the task to do so."
        )
    if (why := _why_not(attempt, left, run, status)) is not None:
        _end(attempt, run, status, why)
        return _restarted(attempt, again, not_after)
    if left.was_cleared:
        attempt.adopt(run)
    audit.taken_over(run, BY, left.try_number, status)
    _resume(attempt, run, status)
    return run


def _is_left_to_itself(left: Leftover, run: ExternalRun) -> bool:
    """Return True for a run that was started with ``leave_running=True`` by a task that was cleared since."""
    nobodys = run.owner is not None and run.owner.ownership is Ownership.NOBODY
    return nobodys and left.phase == RELEASED and left.was_cleared


def _search_for(attempt: Attempt, left: Leftover, alike: Search | None) -> ExternalRun | None:
    """Look for the run of a start whose answer was never recorded."""
    vendor = attempt.access.vendor
    try:
        # A deadline must see that there may be a run, and its stop is obeyed once the run is known.
        attempt.ledger.still_starting(left, attempt.terms.owner)
    except Exception:
        # To fail here would leave the run to itself; once it is found it is recorded, or stopped.
        attempt.log.warning("Could not record that the run of an earlier attempt is looked for", exc_info=True)
    began = datetime.fromtimestamp(left.at, UTC)
    try:
        with attempt.siblings.turn(alike, attempt.refuse_if_killed):
            ours = attempt.drive(search_lost(vendor, left.search, began, until=lists_until(began)))
            run = attempt.run_of(ours, began, left.fingerprint) if ours else None
    except StartUncertain as error:
        attempt.ledger.ambiguous(error.candidates)
        raise AirflowFailException(
            "An earlier attempt began to start a run and was lost before it could record it. Since then runs came up. "
            f"{error} They may be alive; none was stopped, and none started. End what is yours at {vendor.label}, "
            "then clear the task."
        ) from error
    if run is None:
        attempt.log.info("Attempt %d began a start, of which no run came up", left.try_number)
    else:
        audit.found(run, BY)
    return run


def _refuse_beside_candidates(attempt: Attempt, left: Leftover) -> None:
    """Start nothing beside a run that may be an earlier attempt's.

    :raises AirflowFailException: if one of those that may be it is alive.
    """
    alive = []
    for started in attempt.drive(attempt.access.vendor.find(left.search)):
        run = attempt.run_of(started, datetime.fromtimestamp(left.at, UTC), left.fingerprint)
        if run.run_id in left.candidates and not attempt.drive(attempt.access.vendor.status(run)).state.is_terminal:
            alive.append(run.run_id)
    if alive:
        raise AirflowFailException(
            f"An earlier attempt started one of these runs, which are alive; nothing tells which: {', '.join(alive)}. "
            f"None was stopped, and none started. End what is yours at {attempt.access.vendor.label}, then clear the "
            "task."
        )


def _opened(attempt: Attempt, left: Leftover) -> ExternalRun:
    try:
        return open_handle(left.handle or {}, attempt.access, found_at=attempt.ledger.where)
    except HandleError as error:
        raise AirflowFailException(f"An earlier attempt left a run. {error} Nothing was started.") from error


def _status(attempt: Attempt, run: ExternalRun, left: Leftover) -> RunStatus:
    """Look at the run that was left; after a clear, once its stop had time to show.

    A clear stops the run, through the trigger a few seconds later. No stop comes if no triggerer was alive:
    then the run goes on, and ``on_retry`` says what to do with it.
    """
    waits = left.was_cleared and attempt.terms.stop_on_kill
    until = time.monotonic() + (CLEAR_SECONDS if waits else 0.0)
    while True:
        try:
            status = attempt.drive(attempt.access.vendor.status(run))
        except PROBLEMS as error:
            if attempt.terms.owner.ownership is not Ownership.TASK:
                raise
            # Whoever goes on to watch it rides that out, within the limits of the task.
            attempt.log.warning("Run %s of an earlier attempt cannot be looked at: %s", run.run_id, error)
            status = NOT_SEEN
        if status.state in ENDING or status.state.is_terminal or time.monotonic() >= until:
            return status
        attempt.sleep(1.0)


def _why_not(attempt: Attempt, left: Leftover, run: ExternalRun, status: RunStatus) -> str | None:
    """Return why this attempt does not go on with the run that was left; ``None`` if it does.

    It does if that is the run which it would start, and which can go on.
    """
    on_retry = attempt.terms.on_retry
    another = run.fingerprint != attempt.ledger.fingerprint
    # A task that had succeeded and is cleared starts anew; one whose success was lost on the way does not.
    succeeded = left.phase == RELEASED and left.was_cleared
    over = status.state is RunState.SUCCEEDED
    stays = status.state is RunState.SUSPENDED and on_retry != "resume"
    reasons = {
        "the task had succeeded, and was cleared to start anew": succeeded,
        f"it is over ({status.vendor_state}), and the task was cleared to start anew": over and left.was_cleared,
        _other_arguments(attempt, left) if another else "": another,
        "on_retry is 'restart'": on_retry == "restart",
        f"it is suspended ({status.vendor_state}), and on_retry is not 'resume'": stays,
        f"{ENDING.get(status.state)} ({status.vendor_state})": status.state in ENDING,
    }
    return next((why for why, holds in reasons.items() if holds), None)


def _other_arguments(attempt: Attempt, left: Leftover) -> str:
    names = attempt.ledger.differing(left)
    return f"it was started with other arguments than now{f' ({names})' if names else ''}"


def _resume(attempt: Attempt, run: ExternalRun, status: RunStatus) -> None:
    """Resume a run that is suspended, or may be, for all that its vendor's word tells."""
    vendor = attempt.access.vendor
    if attempt.terms.on_retry != "resume" or not vendor.may_be_suspended(status):
        return
    try:
        attempt.drive(vendor.ask_resume(run))
    except VendorError as error:
        if status.state is RunState.SUSPENDED:
            raise
        attempt.log.warning("Run %s (%s) was not resumed: %s", run.run_id, status.vendor_state, error)
    else:
        attempt.log.info("Resumed run %s", run.run_id)
        audit.told_to("resume", run, BY, "requested", status, 0.0)


def _restart_plan(attempt: Attempt, left: Leftover, run: ExternalRun) -> StartPlan | None:
    """Return how the retry starts again what was stopped, if it has no need to start another."""
    wanted = attempt.terms.on_retry == "resume" and not left.was_cleared
    return attempt.access.vendor.restart(run) if wanted and left.fingerprint == attempt.ledger.fingerprint else None


def _restart_own(attempt: Attempt, left: Leftover, not_after: datetime | None) -> ExternalRun | None:
    """Start again what an earlier attempt has stopped itself, as on a kill."""
    if left.handle is None or attempt.terms.on_retry != "resume":
        return None
    return _restarted(attempt, _restart_plan(attempt, left, _opened(attempt, left)), not_after)


def _restarted(attempt: Attempt, plan: StartPlan | None, not_after: datetime | None) -> ExternalRun | None:
    if plan is None:
        return None
    try:
        return start(attempt, plan, not_after)
    except NotFound:
        attempt.log.info("What was stopped is gone at the vendor")
        return None


def _end(attempt: Attempt, run: ExternalRun, status: RunStatus, why: str) -> None:
    """See to it that the run of an earlier attempt is over before another one is started."""
    if status.state.is_terminal:
        attempt.log.info("Run %s, which an earlier attempt left, is over and not gone on with: %s", run.run_id, why)
    else:
        attempt.log.info("Ending run %s, which an earlier attempt left: %s", run.run_id, why)
        if not attempt.stop(StopReason.LEFTOVER).is_over:
            raise RunctlError(
                f"Run {run.run_id} of an earlier attempt was told to stop ({why}), and was not seen to be over within "
                f"{attempt.terms.stop_timeout:.0f} s. No second run was started beside it."
            )
    attempt.close(status)
