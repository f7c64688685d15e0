"""One task attempt and its run: records it, hands it on, ends it, stops it on a kill; on the worker.

Whatever goes wrong between start and end, the run is stopped, left to a further try that is coming, or
named in the error as possibly alive. The operators are thin around this class.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar

from airflow_runctl.compat import (
    AirflowFailException,
    BlockingChannel,
    mask_secret,
    when_airflow_was_told,
)
from airflow_runctl.control import audit
from airflow_runctl.control.history import Event
from airflow_runctl.control.kill import Kill
from airflow_runctl.control.ledger import Ledger
from airflow_runctl.control.ownership import is_handed_on
from airflow_runctl.control.recording import INTENT_SECONDS, BlockingRecording
from airflow_runctl.control.seal import Handle
from airflow_runctl.control.siblings import Siblings
from airflow_runctl.control.slow_runs import CALLBACK_SECONDS, Callback, SlowRun, call
from airflow_runctl.control.stop import STOP_PATIENCE, StopNote, outcome_of, stop
from airflow_runctl.control.watch import Renewed, Slow
from airflow_runctl.exceptions import LoginRefused, RunStopped
from airflow_runctl.hooks.base import Access
from airflow_runctl.metrics import begin
from airflow_runctl.runs import (
    HANDLE_KEY,
    SECRET_IDS,
    ExternalRun,
    Owner,
    RunState,
    RunStatus,
    StopOutcome,
    StopReason,
    StopResult,
)
from airflow_runctl.transport.retry import Patience
from airflow_runctl.vendors.base import Authority, Flow, Started, Vendor

T = TypeVar("T")

KILLED_LOOK: Final = 1.0
"""Longest pause between two looks of a task that was killed: it ends once its run is seen to be over."""

NAP: Final = 0.5
"""Longest sleep in one piece, so that a kill is noticed soon."""

BY: Final = "worker"
"""Who acts here, for records and events."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a task wants for its run.

    :param owner: this attempt, and who has to end the run.
    :param on_retry: what a further try does with a run that was left alive.
    :param stop_on_kill: stop the run when the task is killed.
    :param stop_timeout: seconds in which a stop has to be confirmed.
    :param warn_callback: what to call when the run is slow.
    :param limits: tells when a run has to be over.
    """

    owner: Owner
    on_retry: str
    stop_on_kill: bool
    stop_timeout: float
    warn_callback: Callback | None = None
    limits: Callable[[ExternalRun], Mapping[str, float]] = lambda run: {}


class AnotherRun(Exception):
    """The start's own answer has come, and names another run than the one that was taken for its own."""


class Attempt:
    """One task attempt on the worker, and the run that it is responsible for.

    :param access: the connection; read before anything is started, since a signal handler must not ask Airflow.
    :param ledger: the records of the attempt.
    :param terms: what the task wants for its run.
    :param log: the task's log.
    :param siblings: ids of the Dag's tasks that start runs at the same vendor.
    :param connect: reads the connection as it is by now.
    :param what: name of what it starts, as people may see it.
    """

    def __init__(
        self,
        access: Access,
        ledger: Ledger,
        terms: Terms,
        log: Any,
        siblings: frozenset[str] = frozenset(),
        connect: Callable[[], Access] | None = None,
        what: str | None = None,
    ) -> None:
        begin()
        self.access = access
        self._connect = connect
        self._what = what
        self._renews = False
        self.ledger = ledger
        self.terms = terms
        self.log = log
        self.siblings = Siblings(ledger.where, siblings, self.sleep)
        self._run: ExternalRun | None = None
        self.last_run: ExternalRun | None = None
        """The run that the attempt had to end last, over or not."""
        self.last_state: RunState | None = None
        """Where that was seen to be last."""
        self.handle: Handle = {}
        self.killed = False
        """True once the task is being killed, and its run is to be stopped for that."""
        self._kill_is_recorded = False
        self.told_to_end = False
        """True once the task is being killed, whatever is to become of its run."""
        self._kill = Kill(access, BY)
        self._last_stop: StopNote | None = None
        self._recording = BlockingRecording()
        self.events: list[Event] = []
        """What was told of its runs and is to be kept."""
        self.started: Started | None = None
        """What the vendor answered to the start, if this attempt has sent it."""
        self._authority: Authority | None = None

    @property
    def run(self) -> ExternalRun | None:
        """The run that has to be ended; ``None`` once it is over, or is another's to end."""
        return self._run

    @run.setter
    def run(self, run: ExternalRun | None) -> None:
        self._run = run
        self.last_run = run or self.last_run

    # -- start -------------------------------------------------------------------------------------------

    def refuse_if_killed(self) -> None:
        """Start nothing for a task that is being killed."""
        if self.told_to_end:
            raise RunStopped("The task was killed before its run was started; nothing was started.")

    def refuse_if_stopped(self) -> None:
        """Start nothing if a stop was asked for while the start waited for its turn."""
        note = self.ledger.stop_before_start()
        if note is not None and note.reason.is_final:
            self.ledger.nothing_started()
            raise AirflowFailException(f"A stop was asked for before the start ({note.reason.value}): none was made.")

    def run_of(self, started: Started, began: datetime, fingerprint: str | None) -> ExternalRun:
        """Return the run that a start, or a search for it, gave."""
        access = self.access
        return ExternalRun(
            vendor=access.vendor.name,
            conn_id=access.conn_id,
            run_id=started.run_id,
            url=access.vendor.run_url(access.endpoint.base_url, started),
            started_at=began,
            ids=started.ids,
            owner=self.terms.owner,
            fingerprint=fingerprint,
            what=self._what if fingerprint == self.ledger.fingerprint else None,
        )

    def adopt(self, run: ExternalRun, authority: Authority | None = None) -> None:
        """Make ``run`` this attempt's own: from here on a kill reaches it. Record it, or stop it.

        :param authority: what may still say that another run is its own.
        """
        self.run, self._authority = run, authority
        if self.killed:
            self._kill.send(run)
        try:
            self.handle = self.ledger.started(run, self.terms.limits(run))
        except BaseException as error:
            self.stop_after(error, StopReason.ERROR)
            raise
        for secret in _secrets_of(run):
            mask_secret(secret)
        where = f" {run.url}" if run.url else ""
        self.log.info("Following %s run %s%s", self.access.vendor.label, run.run_id, where)

    def obey_what_came_meanwhile(self, run: ExternalRun) -> None:
        """Carry out a stop that was asked for while the start was in flight."""
        note = self.ledger.noted_stop(run)
        if note is not None and note.reason.is_final:
            result = self.stop(note.reason, note.text)
            if result.is_over:
                self.close(result.status)
            raise AirflowFailException(note.about(run))
        if self.killed:
            raise RunStopped(f"The task was killed while run {run.run_id} was starting; the run was told to stop.")

    def release(self) -> dict[str, Any]:
        """Leave the run to its owner, the Dag run or nobody; return what the task returns."""
        self.put_right()
        run = self.own()
        self.ledger.released(self.handle, self.terms.owner.ownership, self._let_go)
        self._let_go()
        word = self.started.vendor_state if self.started else ""
        state = self.access.vendor.state_of(word) if word else RunState.RUNNING
        self.last_state = state
        shown = self.started.shown if self.started else None
        return self.result(run, RunStatus(state, word, result=dict(shown) if shown else None))

    def _let_go(self) -> None:
        self.run = None

    def hand_on(self) -> None:
        """Leave the run to the trigger, or to a further try; take it back should Airflow not let them come."""
        if self.terms.stop_on_kill:
            when_airflow_was_told(self._stop_unless_handed_on)

    def _stop_unless_handed_on(self) -> None:
        name = f"{self.access.vendor.label} run {self.own().run_id}"
        try:
            if asyncio.run(is_handed_on(BlockingChannel(writable=True), self.ledger.where)):
                return
        except Exception:
            self.log.exception("Airflow does not say whether anybody goes on with %s", name)
            return
        self.log.warning("A user acted on the task in the moment when it handed %s on", name)
        self.stop_after(RunStopped("The task was not to go on."), StopReason.USER)

    # -- whose run it is -----------------------------------------------------------------------------------

    def put_right(self) -> None:
        """Go by the start's own answer, if it has come: it outranks what the vendor's list showed.

        The run that was taken for this attempt's is somebody else's then, and is let go unharmed.
        """
        named, stranger = self._named_otherwise(), self.run
        if named is None or stranger is None:
            return
        self.log.warning(
            "The start's own answer names run %s: %s, which the list had shown, is somebody else's, and is let go",
            named.run_id,
            stranger.run_id,
        )
        self.adopt(named)

    def is_its_own(self) -> bool:
        """Return False if the start's answer names another run than the one that is over; it may be about to come."""
        until = time.monotonic() + self.access.vendor.settling_time
        while self._authority is not None and self._authority.is_open and time.monotonic() < until:
            self.sleep(min(NAP, self.access.vendor.settling_time))
        return self._named_otherwise() is None

    def _named_otherwise(self) -> ExternalRun | None:
        """Return the run that the start's own answer names, if it is not the one that was taken for it."""
        if self._authority is None or self._authority.is_open or self.run is None:
            return None
        named = self._authority.named()
        if named is None or named.run_id == self.run.run_id:
            self._authority = None  # it has spoken, and is not read again at each look
            return None
        return self.run_of(named, self.run.started_at, self.run.fingerprint)

    # -- end ---------------------------------------------------------------------------------------------

    def close(self, status: RunStatus | None, note: StopNote | None = None) -> None:
        """Record that the run is over; nothing has to stop it any more.

        A record that cannot be written changes nothing of how the task ends: whoever finds the handle later
        looks before it acts.
        """
        run = self.own()
        self._kill.tell()
        self.run = None
        self.last_state = status.state if status else RunState.UNKNOWN
        is_told = self._was_closed_by_another(note)
        try:
            note = self._stop_of_a_kill(run, status) or note or self.ledger.noted_stop(run)
            self.ledger.over(run, status, note)
        except Exception:
            self.log.warning("Could not record the end of run %s", run.run_id, exc_info=True)
        if not is_told:
            stopped = note is not None and outcome_of(self.access.vendor, status) is StopOutcome.STOPPED
            audit.ended(run, status, BY, stopped=stopped)

    def _was_closed_by_another(self, note: StopNote | None) -> bool:
        """Return True if whoever stopped the run has recorded, and told of, its end: it has one only."""
        if note is None or note.outcome is None:
            return False
        try:
            return self.ledger.is_closed()
        except Exception:
            return False

    def result(self, run: ExternalRun, status: RunStatus) -> dict[str, Any]:
        """Return what a start operator returns."""
        return {
            "run_id": run.run_id,
            "state": status.state.value,
            "vendor_state": status.vendor_state,
            "url": run.url,
            "result": status.result,
            HANDLE_KEY: dict(self.handle),
        }

    def stop(self, reason: StopReason, text: str | None = None) -> StopResult:
        """Stop the run and wait for the confirmation.

        :raises RunctlError: if it could not be stopped.
        """
        self.put_right()
        run = self.own()
        note = StopNote(reason, BY, text)
        try:
            result = self.drive_renewing(
                lambda vendor: stop(vendor, run, note, timeout=self.terms.stop_timeout), STOP_PATIENCE
            )
        except AnotherRun:
            return self.stop(reason, text)
        self.log.info("Run %s: %s in %.1f s (%s)", run.run_id, result.outcome.value, result.seconds, reason.value)
        return result

    def final_stop(self) -> StopNote | None:
        """Return the recorded stop of the run if no retry may start it again: somebody wanted it to end."""
        try:
            note = self.ledger.noted_stop(self.own())
        except Exception:
            self.log.warning("Could not read whether the run was told to stop", exc_info=True)
            return None
        return note if note is not None and note.reason.is_final else None

    def stop_after(self, error: BaseException, reason: StopReason, text: str | None = None) -> None:
        """Stop the run because of ``error``, which stays the one that is shown."""
        run = self.own()
        name = f"{self.access.vendor.label} run {run.run_id}"
        where = f" {run.url}" if run.url else ""
        try:
            result = self.stop(reason, text)
            if result.is_over:
                self.close(result.status, self._stop_to_keep(run))
                return
            what = f"{name} was told to stop, unconfirmed: it may be alive.{where}"
        except Exception as second:
            what = f"{name} could not be stopped and may be alive.{where} {second}"
        self.run = None
        error.add_note(what)
        self.log.error("%s", what)
        try:
            self.ledger.started(run)
        except Exception:
            self.log.warning("Its handle could not be stored for whoever comes next", exc_info=True)

    def _stop_to_keep(self, run: ExternalRun) -> StopNote | None:
        """Return the last stop of the run, unless what was recorded before is to stay."""
        try:
            noted = self.ledger.noted_stop(run)
        except Exception:
            return self._last_stop
        return noted if self._last_stop is None or self._last_stop.yields_to(noted) else self._last_stop

    # -- kill --------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """Stop the run because the task is being killed; called inside a signal handler.

        Nothing here talks to Airflow, and the request goes out on a fresh session before anything is logged.
        While a start is in flight it only leaves a mark; the start then stops its run as soon as it knows it.
        """
        self.told_to_end = True
        if not self.terms.stop_on_kill:
            return
        self.killed = True
        if self.run is not None:
            self._kill.send(self._named_otherwise() or self.run)

    def _stop_of_a_kill(self, run: ExternalRun, status: RunStatus | None) -> StopNote | None:
        """Return the stop that a kill has sent, with what is known of it by now; unless another is to stay."""
        note = self._kill.by_the_end(run, status)
        return None if note is None or note.yields_to(self.ledger.noted_stop(run)) else note

    # -- driving -----------------------------------------------------------------------------------------

    def drive(self, flow: Flow[T], patience: Patience | None = None) -> T:
        """Run a flow; a kill shortens its waits, and what it tells is logged and recorded."""
        try:
            return self.access.drive(flow, patience, sleep=self.sleep, listener=self._heard, owned=self.siblings.owned)
        finally:
            self._recording.wait()
            self._kill.tell()

    def drive_renewing(self, flow_at: Callable[[Vendor], Flow[T]], patience: Patience) -> T:
        """Run a flow; begin it anew if its login is refused and the connection is another by now.

        :param flow_at: makes the flow, given the vendor.
        """
        self._renews = True
        try:
            while True:
                with suppress(Renewed):
                    return self.drive(flow_at(self.access.vendor), patience)
        finally:
            self._renews = False

    def _is_renewed(self) -> bool:
        """Read the connection again; return True if it is another by now."""
        if self._connect is None or self.killed or not self._recording.wait(INTENT_SECONDS):
            return False
        try:
            access = self._connect()
        except Exception as error:
            self.log.debug("The connection cannot be read again: %s", error)
            return False
        if access == self.access:
            return False
        self.access = self._kill.access = access
        self.log.info("Connection %r has changed; it is used as it is now", access.conn_id)
        return True

    def sleep(self, seconds: float) -> None:
        """Sleep in naps, less when the task was killed: what is left of its time is short.

        A kill that comes meanwhile, or came at any time since the last sleep, is recorded first, and ends the sleep.

        :raises AnotherRun: if the start's own answer comes meanwhile, and names another run.
        """
        until = time.monotonic() + (min(seconds, KILLED_LOOK) if self.killed else seconds)
        while True:
            if self.killed and not self._kill_is_recorded:
                self._after_kill()
                return
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(NAP, left))
            self._heed_the_answer()

    def _heed_the_answer(self) -> None:
        if self._named_otherwise() is not None:
            raise AnotherRun

    def _after_kill(self) -> None:
        """Record and log the kill, once out of the signal handler."""
        self._kill_is_recorded = True
        self._recording.wait()
        try:
            self.ledger.killed()
        except Exception:
            self.log.warning("Could not record the kill", exc_info=True)
        if self.run is not None and self._kill.note is not None:
            self._record(self.run, self._kill.note)
        self._kill.tell()
        self.log.info("Killed: %s", self._kill.said)

    def _heard(self, what: object) -> None:
        """Log a change of state; record a stop."""
        if isinstance(what, RunStatus):
            self.last_state = what.state
            self.log.info("%s (%s)", what.vendor_state, what.state.value)
            if self.run is not None:
                audit.changed(self.run, what, BY)
                self._recording.later(self._remember)
        elif isinstance(what, Exception):
            self.log.debug("A bad poll: %s", what)
            if self._renews and isinstance(what, LoginRefused) and self._is_renewed():
                raise Renewed
        elif isinstance(what, Slow):
            self._report(what)
        elif isinstance(what, StopNote):
            if what.outcome is None:
                self._heed_the_answer()
            self._last_stop = what
            # Without a stored handle what was written ahead must stay: it is all that leads to the run.
            if self.run is not None and self.handle and not self.killed:
                self._recording.intend(partial(self._record, self.run, what))
                if what.outcome is not None:
                    self._recording.wait()

    def _report(self, slow: Slow) -> None:
        """Report a slow run; nothing is done to it."""
        run = SlowRun(self.handle, self.ledger.where, self.terms.owner.try_number, slow.seconds)
        self.log.warning("%s", run)
        run.count()
        if self.terms.warn_callback:
            self._recording.wait(CALLBACK_SECONDS)
            call(self.terms.warn_callback, run.context())

    def _record(self, run: ExternalRun, note: StopNote) -> None:
        try:
            if not note.yields_to(self.ledger.noted_stop(run)):
                self.ledger.note(run, None, note)
        except Exception:
            self.log.warning("Could not record the stop", exc_info=True)

    def remember(self) -> None:
        """Keep what was told of the run, now that nothing else is to be recorded; of little use, so raise nothing."""
        self._recording.wait()
        self._remember()

    def _remember(self) -> None:
        events = [self.events.pop(0) for _ in range(len(self.events))]  # others may be added meanwhile
        if not events:
            return
        try:
            self.ledger.remember(events)
        except Exception as error:
            self.log.info("The history of the run lacks %d event(s), which could not be kept: %s", len(events), error)

    def own(self) -> ExternalRun:
        """Return the run that has to be ended."""
        assert self.run is not None, "the attempt has a run to end"
        return self.run


def _secrets_of(run: ExternalRun) -> Sequence[str]:
    """Return those of the run's ids that are credentials."""
    return [value for name, value in run.ids.items() if name in SECRET_IDS]
