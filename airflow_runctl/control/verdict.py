"""Turns what the watching of a run came to into a result, or into the error that Airflow acts on.

===========================================  =========================  ===============
how the run ended                            error                      retries apply
===========================================  =========================  ===============
well                                         none
failed                                       RunFailed                  yes
ended with an unknown outcome                AirflowFailException       no
stopped by a deadline, an SLA, a person      AirflowFailException       no
stopped at the vendor, not by Airflow        AirflowFailException       no
stopped with its killed task                 RunStopped                 yes
``max_runtime`` passed                       LimitReached               yes
``execution_timeout`` passed                 AirflowTaskTimeout         yes
suspended                                    RunSuspended               yes
lost sight of                                RunctlError                yes
===========================================  =========================  ===============
"""

from __future__ import annotations

from typing import Any, NoReturn

from airflow_runctl.compat import AirflowFailException, AirflowTaskTimeout
from airflow_runctl.control.attempt import Attempt
from airflow_runctl.control.watch import Watched
from airflow_runctl.exceptions import LimitReached, RunctlError, RunFailed, RunStopped, RunSuspended
from airflow_runctl.runs import ExternalRun, RunState, RunStatus, StopReason


def conclude(attempt: Attempt, run: ExternalRun, watched: Watched) -> dict[str, Any]:
    """Return what the task returns, or raise what Airflow has to know."""
    name = f"{attempt.access.vendor.label} run {run.run_id}"
    if watched.limit is not None:
        _raise_limit(attempt, run, name, watched)
    if watched.status is None:
        raise RunctlError(f"{name} was lost sight of: {watched.lost}")
    status = watched.status
    attempt.last_state = status.state
    if status.state is RunState.SUCCEEDED:
        attempt.close(status)
        return attempt.result(run, status)
    if status.state is RunState.SUSPENDED:
        raise RunSuspended(f"{name} suspended itself{_because(status)}. {attempt.access.vendor.suspended_hint}")
    _raise_ended(attempt, run, name, status)


def _raise_limit(attempt: Attempt, run: ExternalRun, name: str, watched: Watched) -> NoReturn:
    # A deadline may have passed in the same moment; then no retry may come.
    note = attempt.final_stop()
    if watched.stop is not None and watched.stop.is_over:
        attempt.close(watched.stop.status)
        came = f"it was stopped ({watched.stop.outcome.value}, {watched.stop.seconds:.1f} s)"
    else:
        # Its handle stays, for whoever comes next.
        attempt.run = None
        unconfirmed = f"its stop was not confirmed within {attempt.terms.stop_timeout:.0f} s: it may be alive"
        came = watched.stop_error or unconfirmed
    if note is not None:
        raise AirflowFailException(f"{note.about(run)} {name}: {came}")
    if watched.limit is StopReason.EXECUTION_TIMEOUT:
        raise AirflowTaskTimeout(f"execution_timeout passed; of {name}: {came}")
    raise LimitReached(f"{name} took longer than max_runtime; {came}")


def _raise_ended(attempt: Attempt, run: ExternalRun, name: str, status: RunStatus) -> NoReturn:
    """Raise for a run that failed or was stopped; who stopped it decides whether a retry may come."""
    note = attempt.ledger.noted_stop(run)
    attempt.close(status, note)
    if attempt.killed:
        raise RunStopped(f"The task was killed; {name} is {status.vendor_state}.")
    if note is not None:
        raise (AirflowFailException if note.reason.is_final else RunStopped)(note.about(run))
    if status.state is RunState.STOPPED:
        raise AirflowFailException(f"{name} was stopped at the vendor, not by Airflow{_because(status)}.")
    if not status.retry_is_safe:
        raise AirflowFailException(
            f"{name} is {status.vendor_state}{_because(status)}. What it did is not known, so no retry may start it: "
            f"look at it at {attempt.access.vendor.label}, then clear the task."
        )
    raise RunFailed(f"{name} is {status.vendor_state}{_because(status)}.")


def _because(status: RunStatus) -> str:
    return f": {status.message}" if status.message else ""
