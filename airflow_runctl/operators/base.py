"""What every operator that starts a run shares. It holds the kill paths, so that no vendor can forget one.

``execute`` follows the life of a run: before, start, record, watch, end. Whatever goes wrong in between,
the run is stopped, left to a further try that is coming, or named in the error as possibly alive.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn

from airflow_runctl.arguments.reading import read_given, read_rendered
from airflow_runctl.compat import (
    HAS_TASK_STORE,
    AirflowFailException,
    AirflowTaskTimeout,
    BaseOperator,
    TaskDeferralError,
    TaskDeferralTimeout,
    TaskDeferred,
    alarm_held_back,
    conf,
    context_of_lost_resumption,
    is_in_task_loop,
    is_marked,
    kill_held_back,
    lead_over_core,
    start_date,
    task_key,
)
from airflow_runctl.exceptions import HandleError, RunStopped, WrongArgument
from airflow_runctl.links import COLOR, ExternalRunLink
from airflow_runctl.operators.lineage import TellsLineage
from airflow_runctl.operators.start_arguments import StartArguments, check
from airflow_runctl.runs import HANDLE_KEY, ExternalRun, Owner, Ownership, StopReason

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_runctl.control.arguments import Digests
    from airflow_runctl.control.attempt import Attempt
    from airflow_runctl.control.seal import Handle
    from airflow_runctl.control.slow_runs import Callback
    from airflow_runctl.control.watch import Watched
    from airflow_runctl.hooks.base import Access
    from airflow_runctl.vendors.base import StartPlan

RESUMED_KILL_SECONDS: Final = 30.0
"""For the stop of a run whose task is ended as it comes back from its deferral (Airflow 2.11, which gives 60 s)."""


class StartRunOperator(TellsLineage, BaseOperator):
    """Starts a run at a vendor and, by default, waits for its end.

    :param conn_id: id of the Airflow connection.
    :param wait_for_completion: wait for the end of the run. If False the task ends once the run is recorded,
        and the run belongs to the Dag run: ``StopRunsNotifier`` stops it with the others.
    :param leave_running: with ``wait_for_completion=False``: the run belongs to nobody and is never stopped.
    :param deferrable: wait in the triggerer instead of on the worker; Airflow's ``default_deferrable``.
    :param poll_interval: seconds between two looks at the run, 10 by default; as all seconds, a number or a timedelta.
    :param max_runtime: longest time that the run may take, from its own start; no limit by default.
        Retries apply when it passes, as they do for ``execution_timeout``, which holds deferred too.
    :param warn_after: report a run that takes longer than this from its own start, and leave it alone: a warning in
        the task's log, one more in the metric ``runctl.slow_runs``, and ``warn_callback``. No report by default.
    :param warn_callback: what to call then with ``context`` (a dict: ``dag_id``, ``run_id``, ``task_id``,
        ``map_index``, ``try_number``, ``seconds``, ``dag_run`` and ``external_run``): a function or a notifier class
        of a module, or ``functools.partial`` of one. It runs in the triggerer if the task is deferred, and again if
        that restarts.
    :param stop_on_kill: stop the run when the task is killed, cleared or marked; True by default.
    :param on_retry: what a further try does with a run that an earlier one left: ``reattach`` to it while it is
        alive; ``resume`` it besides, if it is suspended (SnapLogic), may be paused (VectorShift: live under a word
        that no page has) or is a browser that was stopped (bctrl); or ``restart``: stop it and start anew. With
        arguments that are others in each try, as ``{{ ti.try_number }}`` or the present time, it is always the last.
        Below Airflow 3.3 a try knows nothing of the one before: ``resume`` is refused, and ``retries`` warned about.
    :param stop_timeout: seconds in which a stop has to be confirmed, 60 by default.
    """

    vendor: ClassVar[str]
    """Name of the vendor, as its hook's entry point has it."""

    operator_extra_links = (ExternalRunLink(),)
    ui_color = COLOR

    def __init__(
        self,
        *,
        conn_id: str,
        wait_for_completion: bool = True,
        leave_running: bool = False,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float | timedelta = 10.0,
        max_runtime: timedelta | None = None,
        warn_after: timedelta | None = None,
        warn_callback: Any = None,
        stop_on_kill: bool = True,
        on_retry: str = "reattach",
        stop_timeout: float | timedelta = 60.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id
        self.wait_for_completion = wait_for_completion
        self.leave_running = leave_running
        self.deferrable = deferrable
        self.poll_interval: Any = poll_interval
        self.max_runtime = max_runtime
        self.warn_after = warn_after
        self.warn_callback = warn_callback
        self.stop_on_kill = stop_on_kill
        self.on_retry = on_retry
        self.stop_timeout: Any = stop_timeout
        read_given(self, StartRunOperator)
        self._check_arguments()
        self._attempt: Attempt | None = None
        self._killed = False

    def _check_arguments(self) -> None:
        check(
            StartArguments(
                name=f"{type(self).__name__} {self.task_id!r}",
                wait_for_completion=self.wait_for_completion,
                leave_running=self.leave_running,
                max_runtime=self.max_runtime,
                warn_after=self.warn_after,
                warn_callback=self.warn_callback,
                on_retry=self.on_retry,
                retries=self.retries,
            )
        )
        self.warning()

    @abstractmethod
    def plan(self, vendor: Any) -> StartPlan:
        """Return the start, from the operator's rendered arguments.

        :param vendor: the vendor that the connection stands for.
        """

    # -- the life of a run -----------------------------------------------------------------------------

    def execute(self, context: Context) -> dict[str, Any]:
        """Start the run, record it, and follow it to its end.

        :returns: ``run_id``, ``state``, ``vendor_state``, ``url``, ``result`` and ``external_run`` (the handle).
        """
        from airflow_runctl.control.arguments import digests_of
        from airflow_runctl.control.start import fingerprint_of, start, what_of
        from airflow_runctl.control.takeover import take_over
        from airflow_runctl.control.verdict import conclude

        self._read_rendered(context)
        self._refuse_in_a_loop(context)
        access = self._connect()
        plan = self.plan(access.vendor)
        attempt = self._begin(context, access, fingerprint_of(plan), digests_of(plan.arguments), what_of(plan))
        with self._nothing_left_behind(context, attempt):
            not_after = self._not_after(context)
            if take_over(attempt, plan.alike, not_after) is None:
                start(attempt, plan, not_after)
            if not self.wait_for_completion:
                return attempt.release()
            if self.deferrable:
                self._defer_until_over(context, attempt)
            return conclude(attempt, *self._watch_here(context, attempt))

    def execute_complete(
        self, context: Context, event: Mapping[str, Any], try_number: int | None = None
    ) -> dict[str, Any]:
        """Go on after the deferral, with what the trigger saw.

        :param event: see :class:`~airflow_runctl.triggers.run.ExternalRunTrigger`.
        :param try_number: of the attempt that deferred; unknown if a version before this argument has.
        :returns: as :meth:`execute`.
        """
        from airflow_runctl.control.history import EVENTS, merged
        from airflow_runctl.control.verdict import conclude
        from airflow_runctl.control.watch import Watched

        if try_number is not None and try_number != context["ti"].try_number:
            # A task that is cleared while it goes on after its deferral keeps its next_method (clear_task_instances of
            # 3.3.2 resets it only where the task does not run), so the new attempt is given the event of the old one.
            self.log.info("What try %s waited for is nothing to this one: it begins anew", try_number)
            return self.execute(context)
        try:
            attempt, run = self._resume(context, event[HANDLE_KEY])
        except HandleError as error:
            # Airflow on SQLite gives the numbers of triggers out again, and may hand on what an earlier one saw.
            self._after_lost_trigger(context, error)
            error.add_note("The event was another task's; what this task ran itself was looked for, and stopped.")
            raise
        attempt.events.extend(merged(event.get(EVENTS)))
        with self._nothing_left_behind(context, attempt):
            return conclude(attempt, run, Watched.read(event))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after the deferral; a trigger that failed or timed out must not leave its run alive."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralError, TaskDeferralTimeout) as error:
            if not self._was_deferred_by_an_earlier_try(context):
                self._after_lost_trigger(context, error)
                raise
            # As in execute_complete: the task was cleared while it failed for its trigger, and kept its next_method.
            self.log.info("The trigger that was lost was that of an earlier try: this one begins anew")
            if not HAS_TASK_STORE:
                self._after_lost_trigger(context, error)  # nothing else tells this try of what the other has left
        return self.execute(context)

    def on_kill(self) -> None:
        """Stop the run because the task is being killed; Airflow calls this inside its signal handler.

        All is over in 3 seconds. See :meth:`airflow_runctl.control.attempt.Attempt.kill`.
        """
        self._killed = True
        if self._attempt is not None:
            self._attempt.kill()
        elif (context := context_of_lost_resumption()) is not None:
            self._stop_what_was_deferred(context)

    # -- the steps -----------------------------------------------------------------------------------------

    def _read_rendered(self, context: Context) -> None:
        """Read what came out of the templates; what an earlier attempt left for this one must not live on for it."""
        try:
            read_rendered(self)
        except WrongArgument as error:
            if context["ti"].try_number > 1:
                self._after_lost_trigger(context, error)
            raise error

    def _refuse_in_a_loop(self, context: Context) -> None:
        if is_in_task_loop(context):
            raise AirflowFailException(
                f"{type(self).__name__} {self.task_id!r} is inside a task loop. There Airflow has one name for the "
                "task instances of all passes, so the run of one pass could be taken, and stopped, for another's. "
                "Nothing was started. Expand the operator over a list instead, or let the loop trigger a Dag of its "
                "own."
            )

    def _connect(self) -> Access:
        """Read the connection while nothing has been started."""
        from airflow_runctl.hooks.base import hook_class

        return hook_class(self.vendor)(self.conn_id).access

    def _begin(
        self,
        context: Context,
        access: Access,
        fingerprint: str,
        arguments: Digests | None = None,
        what: str | None = None,
    ) -> Attempt:
        from airflow_runctl.control.attempt import Attempt, Terms
        from airflow_runctl.control.ledger import Ledger

        owner, limits = self._owner(context), partial(self._limits, context)
        terms = Terms(owner, self.on_retry, self.stop_on_kill, self.stop_timeout, self.warning(), limits)
        ledger = Ledger(context, access, fingerprint, arguments)
        self._attempt = Attempt(access, ledger, terms, self.log, self._siblings(context), self._connect, what)
        if self._killed:
            self._attempt.kill()
        return self._attempt

    def _resume(self, context: Context, handle: Handle) -> tuple[Attempt, ExternalRun]:
        """Return attempt and run after a deferral, in a process that knows nothing of them yet."""
        from airflow_runctl.control.seal import describe, open_handle, verified

        try:
            access = self._connect()
            run = open_handle(handle, access, found_at=task_key(context["ti"]))
        except Exception as error:
            error.add_note(f"{describe(handle)} may be alive: it cannot be reached from here.")
            raise
        attempt = self._begin(context, access, run.fingerprint or "", what=run.what)
        attempt.handle, attempt.run = verified(handle, run), run
        return attempt, run

    def _siblings(self, context: Context) -> frozenset[str]:
        """Return the ids of the Dag's tasks that start runs at this vendor; this one's only if it is mapped."""
        tasks = {task.task_id: getattr(task, "operator_class", type(task)) for task in context["dag"].tasks}
        alike = {name for name, kind in tasks.items() if getattr(kind, "vendor", None) == self.vendor}
        starts = {name for name in alike if issubclass(tasks[name], StartRunOperator)}
        return frozenset(starts if task_key(context["ti"]).map_index >= 0 else starts - {self.task_id})

    def _owner(self, context: Context) -> Owner:
        ti: Any = context["ti"]
        ownership = Ownership.TASK
        if not self.wait_for_completion:
            ownership = Ownership.NOBODY if self.leave_running else Ownership.DAG_RUN
        return Owner(task_key(ti), ti.try_number, ownership)

    def _not_after(self, context: Context) -> datetime | None:
        return start_date(context) + self.execution_timeout if self.execution_timeout is not None else None

    def _limits(self, context: Context, run: ExternalRun) -> dict[str, float]:
        """Return the wall-clock limits, anchored where deferral, resume and restart do not move them."""
        limits: dict[str, float] = {}
        if not self.wait_for_completion:
            return limits
        if self.execution_timeout is not None:
            limit = self.execution_timeout
            limit -= lead_over_core(limit) if self.deferrable else timedelta(0)
            limits[StopReason.EXECUTION_TIMEOUT.value] = (start_date(context) + limit).timestamp()
        if self.max_runtime is not None:
            limits[StopReason.MAX_RUNTIME.value] = (run.started_at + self.max_runtime).timestamp()
        return limits

    def _warn_at(self, run: ExternalRun) -> float | None:
        return None if self.warn_after is None else (run.started_at + self.warn_after).timestamp()

    def warning(self) -> Callback | None:
        """Return what ``warn_callback`` names; the first time is when the Dag is parsed.

        :raises ValueError: if the triggerer cannot import it.
        """
        if self.warn_callback is None:
            return None
        from airflow_runctl.control.slow_runs import callback_of

        try:
            return callback_of(self.warn_callback)
        except ValueError as error:
            raise ValueError(f"{type(self).__name__} {self.task_id!r}: warn_callback: {error}.") from None

    def _watch_here(self, context: Context, attempt: Attempt) -> tuple[ExternalRun, Watched]:
        """Watch the run to its end; another one, should the start's own answer say that this is somebody else's."""
        from airflow_runctl.control.attempt import BY, AnotherRun
        from airflow_runctl.control.watch import POLL_PATIENCE, configured_ride_out, follow, tell_of_watching

        while True:
            run = attempt.own()
            flow_at = partial(
                follow,
                run=run,
                by=BY,
                poll_interval=self.poll_interval,
                limits=self._limits(context, run),
                stop_timeout=self.stop_timeout,
                ride_out=configured_ride_out(),
                warn_at=self._warn_at(run),
            )
            began = time.time()
            with suppress(AnotherRun):
                watched = attempt.drive_renewing(flow_at, POLL_PATIENCE)
                if attempt.is_its_own():
                    tell_of_watching(run, watched, time.time() - began)
                    return run, watched
            attempt.put_right()

    def _defer_until_over(self, context: Context, attempt: Attempt) -> NoReturn:
        """Wait in the triggerer. No ``timeout``: when it passed, Airflow would call no method of ours."""
        from airflow_runctl.control.watch import configured_ride_out
        from airflow_runctl.triggers.run import ExternalRunTrigger

        attempt.remember()
        attempt.put_right()
        run = attempt.own()
        trigger = ExternalRunTrigger(
            external_run=dict(attempt.handle),
            poll_interval=self.poll_interval,
            limits=self._limits(context, run),
            stop_timeout=self.stop_timeout,
            stop_on_kill=self.stop_on_kill,
            ride_out=configured_ride_out(),
            warn_at=self._warn_at(run),
            warn_callback=attempt.terms.warn_callback,
        )
        if is_marked(context["ti"]):
            signal.raise_signal(signal.SIGTERM)
        if attempt.killed:
            raise RunStopped("The task was killed before it could wait in the triggerer.")
        attempt.hand_on()
        self.defer(trigger=trigger, method_name="execute_complete", kwargs={"try_number": context["ti"].try_number})
        raise AssertionError("defer does not return")

    # -- when something goes wrong -------------------------------------------------------------------------

    @contextmanager
    def _nothing_left_behind(self, context: Context, attempt: Attempt) -> Iterator[None]:
        """Stop the run on any error, unless a further try is coming that goes on with it.

        Airflow's own alarm for ``execution_timeout`` is held back meanwhile: it could strike between the
        start and its record. The same limit is kept here, by the clock, and carried out with a stop.
        """
        from airflow_runctl.control.after_error import end_or_leave
        from airflow_runctl.control.history import heard
        from airflow_runctl.metrics import LAST_SECONDS, hand_on

        held_back = kill_held_back(self.on_kill) if self.stop_on_kill else nullcontext()
        with held_back, heard(attempt.events), alarm_held_back():
            try:
                yield
            except TaskDeferred:
                raise
            except BaseException as error:
                if attempt.run is not None:
                    end_or_leave(attempt, context, error)
                raise
            finally:
                attempt.remember()
                hand_on(LAST_SECONDS)

    def _was_deferred_by_an_earlier_try(self, context: Context) -> bool:
        """Return True if it was an earlier attempt that waited in the triggerer, as far as the records tell."""
        from airflow_runctl.control.ledger import Ledger

        try:
            waited = Ledger(context, self._connect(), "").last_writer()
        except Exception:
            return False  # what cannot be read is said by whoever looks for the run
        return waited not in (None, context["ti"].try_number)

    def _after_lost_trigger(self, context: Context, error: BaseException) -> None:
        """Stop the run of a trigger that failed or timed out; the event with its handle never came."""
        from airflow_runctl.control.after_error import end_or_leave
        from airflow_runctl.control.history import heard
        from airflow_runctl.control.ledger import Ledger
        from airflow_runctl.metrics import LAST_SECONDS, hand_on

        try:
            handle = Ledger(context, self._connect(), "").handle()
        except Exception as second:
            error.add_note(f"What it ran may be alive: its handle cannot be read. {type(second).__name__}: {second}")
            return
        if handle is None:
            return
        attempt, _ = self._resume(context, handle)
        try:
            with heard(attempt.events):
                end_or_leave(attempt, context, error)
        finally:
            attempt.remember()
            hand_on(LAST_SECONDS)

    def _stop_what_was_deferred(self, context: Context) -> None:
        """Stop the run of a task that is ended as it comes back from its deferral, before any method of ours.

        This may be inside a signal handler: in a thread of its own nothing waits for a lock that the interrupted
        code holds, and the handler goes on when the time of a kill is over.
        """
        error: BaseException = RunStopped("The task was ended as it came back from its deferral.")
        if isinstance(sys.exception(), AirflowTaskTimeout):
            self._killed = False
            error = AirflowTaskTimeout("execution_timeout passed while the task was deferred.")
        raised: list[Exception] = []

        def stop() -> None:
            try:
                self._after_lost_trigger(context, error)
            except Exception as second:
                raised.append(second)

        thread = threading.Thread(target=stop, daemon=True)
        thread.start()
        thread.join(RESUMED_KILL_SECONDS)
        for said in (error, *getattr(error, "__notes__", ()), *raised):
            self.log.error("%s", said)
        for second in raised:
            if isinstance(second, AirflowFailException):  # somebody wanted the run to end: no retry
                raise second
