"""Watches a run of any vendor in the triggerer, and stops it when its task is killed or at a limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final

from airflow_runctl.arguments.reading import odd_among_given
from airflow_runctl.compat import (
    TRIGGERS_HEAR_OF_KILLS,
    BaseTrigger,
    TriggererChannel,
    TriggerEvent,
    in_nobodys_name,
    is_refused_as_over,
)
from airflow_runctl.control import audit
from airflow_runctl.control.history import EVENTS, Event, heard
from airflow_runctl.control.ownership import is_followed
from airflow_runctl.control.readiness import ask_airflow_something, loaded, make_ready
from airflow_runctl.control.recording import Recording
from airflow_runctl.control.records import AUDIT_KEY, audit_of, note_intent, noted_stop
from airflow_runctl.control.remember import backlog, remembered
from airflow_runctl.control.rounds import follow_together
from airflow_runctl.control.seal import describe, name_of
from airflow_runctl.control.slow_runs import Callback, SlowRun, acall
from airflow_runctl.control.stop import STOP_TIMEOUT, StopNote
from airflow_runctl.control.stop_many import Connections, Target, stop_target
from airflow_runctl.control.watch import POLL_INTERVAL, RIDE_OUT, Renewed, Slow, Watched, follow, tell_of_watching
from airflow_runctl.control.watched_here import watched
from airflow_runctl.exceptions import ConnectionUnreadable, LoginRefused, RunctlError
from airflow_runctl.runs import HANDLE_KEY, RunStatus, StopReason, TaskKey
from airflow_runctl.vendors.base import Flow

KILL_SECONDS: Final = 25.0
"""How long ``on_kill`` waits for its stop; Airflow gives it 30. The stop itself goes on behind it."""

CONNECTION_INTERVAL: Final = 5.0
"""Longest wait, in seconds, before Airflow is asked again for a connection that it did not give."""

ASK_OWNER_TRIES: Final = 5

BY: Final = "triggerer"
"""Who acts here, for records and events."""


_going_on: set[asyncio.Task[Any]] = set()
"""What outlives the trigger that began it: stops, callbacks."""


class ExternalRunTrigger(BaseTrigger):
    """Follows a run until it is over, suspended, lost, or past a limit.

    A bad poll is ridden out, never raised: a trigger that raises leaves its run alive.

    An argument that is not what it has to be is refused when the trigger is stored, that is when a task defers. In
    the triggerer, where a row is made into a trigger again, its default is taken instead: the run is looked after.

    :param external_run: the run's handle; its secrets are sealed.
    :param poll_interval: seconds between two looks.
    :param limits: wall-clock limits, reason to Unix time: ``execution_timeout``, ``max_runtime``.
    :param stop_timeout: seconds in which a stop has to be confirmed.
    :param stop_on_kill: stop the run when the task is killed.
    :param ride_out: seconds for which bad polls in a row are put up with.
    :param warn_at: when to report the run as slow (Unix time); ``None`` for never. Again after a restart.
    :param warn_callback: what to call then: ``path`` and ``kwargs``.
    """

    def __init__(
        self,
        external_run: dict[str, Any],
        poll_interval: float = POLL_INTERVAL,
        limits: dict[str, float] | None = None,
        stop_timeout: float = STOP_TIMEOUT,
        stop_on_kill: bool = True,
        ride_out: float = RIDE_OUT,
        warn_at: float | None = None,
        warn_callback: Callback | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.external_run = external_run
        self.poll_interval = poll_interval
        self.limits: Any = limits
        self.stop_timeout = stop_timeout
        self.stop_on_kill = stop_on_kill
        self.ride_out = ride_out
        self.warn_at = warn_at
        self.warn_callback = warn_callback
        # A trigger that raised as it is made from its row would leave its run unwatched: that is for serialize().
        self._odd = odd_among_given(self, ExternalRunTrigger)
        self.limits = self.limits or {}
        self._channel = TriggererChannel()
        self._target: Target | None = None
        self._recording = Recording()
        self._events: list[Event] = []

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, all of them plain JSON.

        :raises WrongArgument: if one of those that it was given is not what it has to be.
        """
        for error in self._odd.values():
            raise error
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "external_run": self.external_run,
                "poll_interval": self.poll_interval,
                "limits": self.limits,
                "stop_timeout": self.stop_timeout,
                "stop_on_kill": self.stop_on_kill,
                "ride_out": self.ride_out,
                "warn_at": self.warn_at,
                "warn_callback": self.warn_callback,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event: the handle, and what :class:`~airflow_runctl.control.watch.Watched` says."""
        try:
            with heard(self._events):
                came = await self._watch()
        except RunctlError as error:
            came = Watched(lost=str(error))
        except Exception as error:
            # Airflow fails the task of a trigger that raises, and nobody would look after its run.
            self.log.exception("%s is not watched any more, by an error that was not foreseen", self._name())
            came = Watched(lost=f"{type(error).__name__}: {error}")
        except asyncio.CancelledError:
            if not TRIGGERS_HEAR_OF_KILLS:
                # All that Airflow below 3.3 lets a trigger know; it may also mean that the triggerer ends.
                await self.on_kill()
            raise
        handle = self._target.handle if self._target else self.external_run
        yield TriggerEvent({HANDLE_KEY: handle, **came.out(), **self._not_kept()})  # type: ignore[no-untyped-call]

    def _not_kept(self) -> dict[str, Any]:
        """Return what nobody has kept yet of the run's history: the task does, which has to write anyway."""
        where = self._where()
        events = [*(backlog().take_back(where) if where else ()), *self._events]
        return {EVENTS: events} if events else {}

    async def _watch(self) -> Watched:
        await loaded()
        began = time.time()
        while True:
            target = await self._open_patiently()
            await self._make_ready(target)
            try:
                with watched(self._where(), target):
                    came = await follow_together(target.access, target.run, self._follow(target), self._heard)
            except Renewed:
                continue
            finally:
                await self._recording.settle()
            tell_of_watching(target.run, came, time.time() - began)
            return came

    async def _make_ready(self, target: Target) -> None:
        """Load now what a stop will need. What cannot be loaded is a bad poll's error: a trigger never raises."""
        if (where := self._where()) is not None:
            ask_airflow_something(self._channel, where)
        with suppress(Exception):
            await make_ready(target.access)

    def _follow(self, target: Target) -> Flow[Watched]:
        return follow(
            target.access.vendor,
            target.run,
            by=BY,
            poll_interval=self.poll_interval,
            limits=self.limits,
            stop_timeout=self.stop_timeout,
            ride_out=self.ride_out,
            warn_at=self.warn_at,
        )

    async def _open_patiently(self) -> Target:
        """Open the handle; put up with an Airflow that cannot give the connection for a while."""
        until = time.time() + self.ride_out
        while True:
            try:
                return await self._open()
            except ConnectionUnreadable:
                if time.time() >= until:
                    raise
            await asyncio.sleep(min(self.poll_interval, CONNECTION_INTERVAL))

    async def _open(self) -> Target:
        if self._target is None:
            self._target = await Connections(self._channel).open(self.external_run, self._where())
        return self._target

    async def _is_renewed(self) -> bool:
        """Read the connection again, since its login was refused; return True if it is another by now.

        The run is known already: its handle need not open with what the connection has now.
        """
        target = await self._open()
        try:
            access = await Connections(self._channel).access(target.run.vendor, target.run.conn_id)
        except Exception as error:
            self.log.debug("The connection cannot be read again: %s", error)
            return False
        if access == target.access:
            return False
        self._target = replace(target, access=access)
        self.log.info("%s: the connection has changed; it is used as it is now", self._name())
        return True

    def _name(self) -> str:
        """Return the words for the run: what is sealed in its handle, once that was opened."""
        return name_of(self._target.run) if self._target else describe(self.external_run)

    def _where(self) -> TaskKey | None:
        """Return the task instance that is deferred on this trigger, which must be the run's owner."""
        ti = self.task_instance
        return ti and TaskKey(ti.dag_id, ti.run_id, ti.task_id, ti.map_index)

    async def _heard(self, what: object) -> None:
        """Log each change of state, and record a stop where the worker will read it."""
        name = self._name()
        if isinstance(what, RunStatus):
            self.log.info("%s: %s (%s)", name, what.vendor_state, what.state.value)
            self._changed(what)
        elif isinstance(what, RunctlError):
            self.log.debug("%s: a bad poll: %s", name, what)
            if isinstance(what, LoginRefused) and await self._is_renewed():
                raise Renewed
        elif isinstance(what, Slow):
            self._report(what)
        elif isinstance(what, StopNote):
            await self._record(what)

    def _changed(self, status: RunStatus) -> None:
        """Tell of a change, where this watches for the run's owner."""
        if self._target is not None and (where := self._where()) is not None:
            audit.changed(self._target.run, status, BY)
            backlog().add(self._channel, where, self._events)

    def _report(self, slow: Slow) -> None:
        """Report a slow run. The callback goes on by itself: the run is looked after meanwhile."""
        where, ti = self._where(), self.task_instance
        if where is None or ti is None or self._target is None:
            return
        run = SlowRun(self._target.handle, where, ti.try_number, slow.seconds)
        self.log.warning("%s", run)
        run.count()
        if self.warn_callback:
            _keep(asyncio.create_task(acall(self.warn_callback, run.context()), context=in_nobodys_name()))

    async def _record(self, note: StopNote) -> None:
        outcome = note.outcome.value if note.outcome else "asking"
        self.log.info("Stop of %s (%s): %s", self._name(), note.reason.value, outcome)
        target, where = self._target, self._where()
        if target is None or where is None:
            return
        if note.outcome is None:
            await self._recording.intend(self._write(note, target, where))
        else:
            await self._recording.settle()
            await self._write(note, target, where)

    async def _write(self, note: StopNote, target: Target, where: TaskKey) -> None:
        try:
            if note.yields_to(noted_stop(await self._channel.get(AUDIT_KEY, where), target.run)):
                return
            if note.outcome is None:
                await note_intent(self._channel, where, note, target.handle)
            else:
                await self._channel.set(AUDIT_KEY, audit_of(target.run, None, note, target.handle), where)
        except Exception:
            self.log.warning("Could not record the stop", exc_info=True)

    async def on_kill(self) -> None:
        """Stop the run because a user acted on the deferred task.

        Airflow 3.3 and newer call this; below, the trigger does so itself when it is cancelled.

        All of it is a task of its own. Airflow gives a trigger 30 s, but cancels this coroutine again with each
        look at its list of triggers, about a second apart; and a vendor's rate limit may make a stop longer.
        """
        if not self.stop_on_kill:
            return
        stopper = asyncio.create_task(self._stop_unless_followed(), context=in_nobodys_name())
        _keep(stopper)
        done, _ = await asyncio.wait({stopper}, timeout=KILL_SECONDS)
        came = [task.result() for task in done] or [f"goes on; not confirmed in {KILL_SECONDS:.0f} s"]
        self.log.info("Kill of %s: %s", self._name(), came[0])

    async def _stop_unless_followed(self) -> str:
        """Return what came of it; nobody need be there to hear it."""
        name = self._name()
        try:
            if await self._is_followed():
                return "nothing is stopped"
            target = await self._open()
            note = StopNote(StopReason.USER, BY)
            records = await self._records_are_ours()
            timeout = max(self.stop_timeout, KILL_SECONDS)
            # A stop that is not taken at once may outlast the time that the attempt after a clear gives it.
            stop = partial(
                stop_target,
                self._channel,
                note=note,
                timeout=timeout,
                records=records,
                still_wanted=self._is_not_followed,
            )
            report = await stop(target=target)
            if report.error and await self._is_renewed():
                report = await stop(target=await self._open())
        except Exception as error:
            self.log.exception("%s was not stopped and may be alive", name)
            return f"not stopped, may be alive: {error}"
        result = report.result
        return f"{result.outcome.value} in {result.seconds:.1f} s" if result else f"{report.error}"

    async def _records_are_ours(self) -> bool:
        """Return True unless a new attempt has wiped the task instance's records, and may have begun its own."""
        where = self._where()
        if where is None:
            return False
        try:
            stored = await self._channel.get(HANDLE_KEY, where)
        except Exception:
            return False
        return bool(stored) and stored.get("token") == self.external_run.get("token")

    async def _is_not_followed(self) -> bool:
        return not await self._is_followed()

    async def _is_followed(self) -> bool:
        """Ask Airflow whether the task still follows this run; if it cannot be asked, assume so.

        No user can have acted on an Airflow that does not answer, and a wrong stop cannot be undone; the
        handle stays recorded for whoever comes next.
        """
        where = self._where()
        return where is not None and await remembered(self._channel, where, self._ask_for_its_task(where))

    async def _ask_for_its_task(self, where: TaskKey) -> bool:
        name = self._name()
        for attempt in range(ASK_OWNER_TRIES):
            try:
                followed = await is_followed(self._channel, where, self.external_run)
            except Exception as error:
                if is_refused_as_over(error):
                    return False
                await asyncio.sleep(0.2 * 2**attempt)
            else:
                if followed:
                    self.log.warning("Told to kill %s, but its task still follows it: nothing is stopped", name)
                    self._refused("its task still follows it")
                return followed
        self.log.error("Told to kill %s, but Airflow does not say who follows it: nothing is stopped", name)
        self._refused("Airflow does not say who follows it")
        return True

    def _refused(self, why: str) -> None:
        if self._target is not None:
            audit.refused("stop", self._target.run, BY, why)
        elif (where := self._where()) is not None:
            audit.refused_unread("stop", where, BY, why)


def _keep(task: asyncio.Task[Any]) -> None:
    """Keep a task from being forgotten before it is done."""
    _going_on.add(task)
    task.add_done_callback(_going_on.discard)
