"""What becomes of a run whose task fails: it is stopped, or left to a further try that goes on with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_runctl.compat import AirflowFailException, AirflowTaskTimeout, further_try_is_coming
from airflow_runctl.control.attempt import Attempt
from airflow_runctl.exceptions import RunSuspended
from airflow_runctl.runs import StopReason

if TYPE_CHECKING:
    from airflow.sdk import Context


def end_or_leave(attempt: Attempt, context: Context, error: BaseException) -> None:
    """Stop the run because of ``error``, or leave it to a further try.

    :raises AirflowFailException: if the run had been told to stop for good, so that no try may follow.
    """
    if attempt.told_to_end and not attempt.terms.stop_on_kill:
        attempt.log.info("Killed; the run is left alive, as stop_on_kill=False says")
        return
    final = attempt.final_stop()
    if final is not None and attempt.run is not None:
        said = final.about(attempt.run)
        attempt.stop_after(error, final.reason, final.text)
        raise AirflowFailException(said) from error
    if not _leaves_to_further_try(attempt, context, error):
        attempt.stop_after(error, _reason(attempt, error))


def _leaves_to_further_try(attempt: Attempt, context: Context, error: BaseException) -> bool:
    """Return True if the run may go on without a watcher until the next attempt takes it over."""
    if isinstance(error, AirflowFailException) or attempt.killed or not isinstance(error, Exception):
        return False
    wanted = {"resume"} if isinstance(error, RunSuspended) else {"reattach", "resume"}
    if attempt.terms.on_retry not in wanted or not attempt.ledger.survives_retries:
        return False
    if not further_try_is_coming(context):
        return False
    attempt.log.warning("The run is left alive for the next attempt, which takes it over")
    attempt.hand_on()
    return True


def _reason(attempt: Attempt, error: BaseException) -> StopReason:
    if isinstance(error, AirflowTaskTimeout):
        return StopReason.EXECUTION_TIMEOUT
    return StopReason.KILLED if attempt.killed else StopReason.ERROR
