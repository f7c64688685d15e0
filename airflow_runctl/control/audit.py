"""What happens to a run, told where people and machines look for it: the audit log, Airflow's metrics, spans.

Each function is one event, called once at the one place where that happens. The audit log is a logger of its own,
``airflow_runctl.audit``: one line of JSON an event, without secrets, beside the log of whichever process it is. The
same events are the history of a run, for whoever collects and keeps them (``history.py``).

Whatever goes wrong here, the run is more important: nothing is raised.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Final, ParamSpec

from airflow_runctl.compat import tell_span
from airflow_runctl.control.history import hear, is_heard
from airflow_runctl.metrics import (
    CONFIRMED_LATE,
    FAILED,
    ORPHANS_FOUND,
    RUNS_ENDED,
    RUNS_STARTED,
    SLOW_RUNS,
    STOP_DURATION,
    STOPS,
    count,
    took,
)
from airflow_runctl.runs import ExternalRun, RunState, RunStatus, StopOutcome, StopReason, TaskKey, printable

P = ParamSpec("P")

log = logging.getLogger(__name__)
audit_log = logging.getLogger("airflow_runctl.audit")

LONGEST_TEXT: Final = 300
"""How many characters of a reason, or of an error, an event has."""

REFUSED: Final = "refused"


def _quietly(tell: Callable[P, None]) -> Callable[P, None]:
    """Let nothing that goes wrong with telling be the run's business."""

    @wraps(tell)
    def telling(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            tell(*args, **kwargs)
        except Exception:
            log.warning("Could not tell of an event (%s)", tell.__name__, exc_info=True)

    return telling


@_quietly
def started(run: ExternalRun, by: str, seconds: float) -> None:
    """A run was started.

    :param by: which process did it, or who.
    :param seconds: how long the start took.
    """
    count(RUNS_STARTED, _owner(run), vendor=run.vendor)
    tell_span("runctl.start", seconds, _attributes(run))
    _say("started", run, by=by, seconds=seconds)


@_quietly
def not_started(vendor: str, conn_id: str, where: TaskKey, by: str, error: BaseException, seconds: float) -> None:
    """A start came to nothing, or nobody knows to what.

    :param where: the task.
    :param error: why.
    """
    attributes = {"runctl.vendor": vendor, "runctl.conn_id": conn_id}
    tell_span("runctl.start", seconds, attributes, error=type(error).__name__)
    named = {"vendor": vendor, "conn_id": conn_id, "task": str(where)}
    _line("start_failed", named, by=by, why=_words(error), outcome=type(error).__name__, seconds=seconds)


@_quietly
def found(run: ExternalRun, by: str) -> None:
    """A run was found whose start nobody has told of: the process was lost before it could."""
    count(RUNS_STARTED, _owner(run), vendor=run.vendor)
    _say("found", run, by=by)


@_quietly
def taken_over(run: ExternalRun, by: str, left_by: int, status: RunStatus) -> None:
    """A further try goes on with a run that an earlier one left.

    :param left_by: the earlier attempt.
    """
    _say("taken_over", run, status, by=by, why=f"left by attempt {left_by}")


@_quietly
def changed(run: ExternalRun, status: RunStatus, by: str) -> None:
    """The vendor's word for a run's state is another than before."""
    _say("state", run, status, by=by)


@_quietly
def watched(run: ExternalRun, seconds: float, *, state: str | None, reason: str | None, error: str | None) -> None:
    """The watching of a run is over.

    :param state: the run's state, as it was last seen.
    :param reason: the limit that passed, if one did.
    :param error: why it was lost sight of.
    """
    tell_span("runctl.watch", seconds, _attributes(run, state=state, reason=reason), error=error)


@_quietly
def stopped(
    run: ExternalRun,
    by: str,
    reason: StopReason,
    text: str | None,
    outcome: StopOutcome,
    status: RunStatus | None,
    seconds: float,
) -> None:
    """A stop came to its end.

    :param reason: why it was made; ``text``: what a user gave as the reason.
    :param status: the last look at the run.
    :param seconds: from its reason to that.
    """
    state = status.state.value if status else None
    tell_span("runctl.stop", seconds, _attributes(run, state=state, reason=reason.value, outcome=outcome.value))
    _say("stop", run, status, by=by, why=_why(reason, text), outcome=outcome.value, seconds=seconds)


@_quietly
def not_stopped(
    run: ExternalRun, by: str, reason: StopReason, text: str | None, error: BaseException, seconds: float
) -> None:
    """A stop failed; the run may be alive."""
    attributes = _attributes(run, reason=reason.value, outcome=FAILED)
    tell_span("runctl.stop", seconds, attributes, error=type(error).__name__)
    _say("stop", run, by=by, why=_why(reason, text), outcome=FAILED, seconds=seconds, error=_words(error))


@_quietly
def count_stop(run: ExternalRun, reason: StopReason, outcome: StopOutcome | None, seconds: float) -> None:
    """Count a stop; all that a signal handler may do about it.

    :param outcome: ``None`` if it failed.
    :param seconds: from its reason to that.
    """
    count(STOPS, _owner(run), vendor=run.vendor, reason=reason.value, outcome=outcome.value if outcome else FAILED)
    if outcome is StopOutcome.STOPPED:
        took(STOP_DURATION, seconds, vendor=run.vendor, reason=reason.value)


@_quietly
def confirmed_late(run: ExternalRun, reason: StopReason, outcome: StopOutcome, by: str, seconds: float) -> None:
    """A stop that had not been confirmed in its time was seen to have worked, or not to have been needed."""
    count(STOPS, _owner(run), vendor=run.vendor, reason=reason.value, outcome=CONFIRMED_LATE)
    if outcome is StopOutcome.STOPPED:
        took(STOP_DURATION, seconds, vendor=run.vendor, reason=reason.value)
    _say("stop", run, by=by, why=reason.value, outcome=outcome.value, seconds=seconds)


@_quietly
def ended(run: ExternalRun, status: RunStatus | None, by: str, *, stopped: bool) -> None:
    """A run was seen to be over, by whoever sees it first.

    :param status: the last look at it; ``None`` if all that is known is that it is gone.
    :param stopped: a stop of ours ended it, whatever its vendor calls that.
    """
    state = RunState.STOPPED if stopped else status.state if status else RunState.UNKNOWN
    count(RUNS_ENDED, _owner(run), vendor=run.vendor, state=state.value)
    _say("ended", run, status, by=by, outcome=state.value, seconds=time.time() - run.started_at.timestamp())


@_quietly
def told_to(what: str, run: ExternalRun, by: str, outcome: str, status: RunStatus | None, seconds: float) -> None:
    """A run was told to pause or to resume.

    :param what: ``pause`` or ``resume``.
    :param outcome: what it came to.
    """
    _say(what, run, status, by=by, outcome=outcome, seconds=seconds)


@_quietly
def ended_by_person(where: TaskKey, run_id: object, by: str, text: str | None) -> None:
    """A person has ended the task of a run, so that its kill stops the run; of that the task itself tells.

    :param where: the task instance.
    :param run_id: the run's id as its handle shows it, which need not have been opened.
    :param text: why, as the person said.
    """
    named = {"task": str(where), "run_id": printable(run_id)}
    _line("task_ended", named, by=by, why=_why(StopReason.BY_HAND, text), outcome="its kill stops the run")


@_quietly
def refused(what: str, run: ExternalRun, by: str, why: BaseException | str) -> None:
    """Something was not done with a run that somebody wanted done.

    :param what: ``stop``, ``pause`` or ``resume``.
    """
    _say(what, run, by=by, why=_words(why), outcome=REFUSED)


@_quietly
def refused_unread(what: str, where: TaskKey, by: str, why: BaseException | str) -> None:
    """The same of a run whose handle was not opened: what stands in it may be anybody's words.

    :param where: the task at which it was found.
    """
    _line(what, {"task": str(where)}, by=by, why=_words(why), outcome=REFUSED)


@_quietly
def orphan_found(run: ExternalRun, status: RunStatus | None = None, by: str = "sweep") -> None:
    """A sweep found a run alive whose owner is over.

    :param run: what is sealed in its handle: what is not may be anybody's words, and is no tag of a metric.
    """
    count(ORPHANS_FOUND, _owner(run), vendor=run.vendor)
    _say("orphan", run, status, by=by)


@_quietly
def slow(vendor: str, where: TaskKey) -> None:
    """A run takes longer than ``warn_after``; how that is reported is told by ``slow_runs.py``."""
    count(SLOW_RUNS, where, vendor=vendor)


def _owner(run: ExternalRun) -> TaskKey | None:
    return run.owner.key if run.owner else None


def _attributes(run: ExternalRun, **more: str | None) -> dict[str, str]:
    """Return the attributes of a span."""
    named = {"vendor": run.vendor, "conn_id": run.conn_id, "run_id": run.run_id, **more}
    return {f"runctl.{name}": value for name, value in named.items() if value}


def _why(reason: StopReason, text: str | None) -> str:
    return f"{reason.value}: {printable(text, LONGEST_TEXT)}" if text else reason.value


def _words(error: BaseException | str) -> str:
    return printable(error, LONGEST_TEXT)


def _say(event: str, run: ExternalRun, status: RunStatus | None = None, **more: Any) -> None:
    if not _is_told():
        return
    owner = run.owner
    named = {
        "vendor": run.vendor,
        "conn_id": run.conn_id,
        "run_id": run.run_id,
        "url": run.url,
        "task": str(owner.key) if owner else None,
        "try_number": owner.try_number if owner else None,
        "state": status.state.value if status else None,
        "vendor_state": printable(status.vendor_state) if status else None,
    }
    _line(event, named, **more)


def _is_told() -> bool:
    """Return True if anybody hears of an event."""
    return audit_log.isEnabledFor(logging.INFO) or is_heard()


def _line(event: str, named: dict[str, Any], *, seconds: float | None = None, **more: Any) -> None:
    """Write one event to the audit log, and to the history of whoever collects one."""
    if not _is_told():
        return
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    fields = {"event": event, "at": at, **named, **more, "seconds": None if seconds is None else round(seconds, 3)}
    hear(fields)
    if audit_log.isEnabledFor(logging.INFO):
        audit_log.info("%s", json.dumps({name: value for name, value in fields.items() if value is not None}))
