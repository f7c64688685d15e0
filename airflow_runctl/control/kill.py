"""The stop that a killed task sends from inside its signal handler, and what is told of it once out of that.

Inside the handler nothing talks to Airflow, and nothing is logged: the code that it has interrupted may hold either's
lock.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from airflow_runctl.control import audit
from airflow_runctl.control.stop import StopNote, outcome_of, stop, tell_of
from airflow_runctl.exceptions import RunctlError
from airflow_runctl.hooks.base import Access
from airflow_runctl.runs import ExternalRun, RunStatus, StopOutcome, StopReason, StopResult
from airflow_runctl.transport.retry import Patience

KILL_SECONDS: Final = 2.5
"""All that a kill may take in the signal handler: up to Airflow 3.3 SIGKILL comes 5 s after SIGTERM, whatever the
process is doing. In what is left of that time, on 3.4 of 60 s, the task looks for the end of its run."""


class Kill:
    """The stop of one attempt's run because its task is being killed.

    :param access: the connection.
    :param by: which process this is.
    """

    def __init__(self, access: Access, by: str) -> None:
        self._access = access
        self._by = by
        self.said = "no run is known yet"
        """What it came to, in words."""
        self.note: StopNote | None = None
        """The same, to be recorded."""
        self._came: tuple[ExternalRun, StopResult | RunctlError, float] | None = None
        """The same with its seconds, until it is told of."""

    def send(self, run: ExternalRun) -> None:
        """Stop ``run`` within the time of a signal handler; raises nothing that a stop can come to."""
        began = time.time()
        note = StopNote(StopReason.KILLED, self._by, since=began)
        patience = Patience(total=KILL_SECONDS, until=time.time() + KILL_SECONDS)
        flow = stop(self._access.vendor, run, note, timeout=KILL_SECONDS, look_first=False, in_signal_handler=True)
        try:
            result = self._access.drive(flow, patience, listener=self._keep)
        except RunctlError as error:
            self._came = run, error, time.time() - began
            # The watch, if it lives on, looks again and says what became of the run.
            self.said = f"the stop was sent, its outcome is unknown ({error})"
        else:
            self._came = run, result, time.time() - began
            self.said = f"{result.outcome.value} in {result.seconds:.1f} s"

    def _keep(self, what: object) -> None:
        if isinstance(what, StopNote):
            self.note = what

    def tell(self) -> None:
        """Tell of it, once, out of the signal handler."""
        came, self._came = self._came, None
        if came is not None and self.note is not None:
            run, outcome, seconds = came
            tell_of(run, self.note, outcome, seconds)

    def by_the_end(self, run: ExternalRun, status: RunStatus | None) -> StopNote | None:
        """Return the stop with what is known of it now that the run is over; ``None`` if none was sent.

        :param status: the last look at the run.
        """
        note = self.note
        if note is None or status is None or note.outcome not in (None, StopOutcome.REQUESTED):
            return note
        passed = (datetime.now(UTC) - datetime.fromisoformat(note.asked_at)).total_seconds()
        outcome = outcome_of(self._access.vendor, status)
        audit.confirmed_late(run, note.reason, outcome, note.by, passed)
        return replace(note, outcome=outcome, seconds=round(passed, 3))
