"""Which way an act takes in this deployment: here, by the maintenance Dag, or by hand on a worker.

A run whose task is alive is stopped through its task wherever that is: the task is marked as failed, and its kill stops
the run where network and credential are. All else speaks to a vendor. The API server does that itself only if
``[runctl] act_in_api_server`` says so, since egress and secrets are often closed there; else a task of the maintenance
Dag does, which is started as the user who asks.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeVar

from airflow_runctl.compat import conf, tables
from airflow_runctl.control.by_hand import Hand
from airflow_runctl.control.end_owner import MARKED, Ended, end_owner, note_of
from airflow_runctl.control.errands import DAG_ID, OUTCOME_KEY, TASK_ID, Act, Errand, do, named
from airflow_runctl.control.inventory import COMES, FOLLOWS, KnownRun
from airflow_runctl.control.remember import remember_person
from airflow_runctl.control.seal import describe
from airflow_runctl.control.stop_many import Connections
from airflow_runctl.exceptions import AirflowRefused, AirflowUnreachable, ConnectionUnreadable, RunctlError
from airflow_runctl.plugin.channel import TablesChannel
from airflow_runctl.plugin.itself import Itself
from airflow_runctl.plugin.login import Caller
from airflow_runctl.plugin.source import Tables, asked
from airflow_runctl.runs import StopOutcome, TaskKey, printable
from airflow_runctl.transport.aio import in_own_loop

log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_EVERY: Final = 1.0
"""Seconds between two looks for what a task of the maintenance Dag has done."""

ENDED: Final = frozenset({"success", "failed"})


YES: Final = frozenset({"true", "t", "1"})
NO: Final = frozenset({"false", "f", "0"})
"""What Airflow takes for a boolean in its configuration; its own error about another word is of no public type."""


def acts_here() -> bool:
    """Return True if the API server may speak to vendors.

    :raises RunctlError: if the configuration does not say.
    """
    said = str(conf.get("runctl", "act_in_api_server", fallback="false")).strip().lower()
    if said not in YES | NO:
        raise RunctlError("[runctl] act_in_api_server is neither true nor false. Nothing was done.")
    return said in YES


_threads: Final = ThreadPoolExecutor(8, thread_name_prefix="runctl-api")
"""For what waits for vendors; what only reads has the server's own threads, and waits for none of these."""


async def apart(doing: Coroutine[Any, Any, T]) -> T:
    """Run in an event loop of its own: whatever blocks there holds up nobody else's answer."""
    return await asyncio.get_running_loop().run_in_executor(_threads, in_own_loop, doing)


async def walled(act: Callable[[KnownRun], Awaitable[Ended]], run: KnownRun) -> Ended:
    """Act on one run; what nobody foresaw of it is its own report, and keeps no other from its end."""
    try:
        return await act(run)
    except RunctlError as error:
        said = str(error)
    except Exception as error:
        log.exception("%s was not ended, by an error that was not foreseen", run.where)
        said = f"An error that was not foreseen ({type(error).__name__}); the server's log has it."
    return Ended(run.where, describe(run.handle), "nothing", error=f"{said} The run may be alive.")


@dataclass(frozen=True, slots=True)
class Answer:
    """What an act came to.

    :param outcome: plain JSON, as ``control/errands.py`` gives it; ``None`` while it is not known.
    :param dag_run_id: the run of the maintenance Dag that does it, if one does.
    """

    outcome: dict[str, Any] | None
    dag_run_id: str | None = None


@dataclass(slots=True)
class Marking:
    """Marks a task, and remembers that it did.

    :param itself: Airflow, as the user.
    :param is_done: True once the task is marked.
    """

    itself: Itself
    is_done: bool = False

    async def fail(self, where: TaskKey, note: str | None) -> None:
        """Mark a task instance as failed."""
        await self.itself.fail(where, note)
        self.is_done = True


Acted = tuple[list[Ended], list[str]]
"""What became of each run, and the runs of the maintenance Dag that have a part in it."""


@dataclass(frozen=True, slots=True)
class Ways:
    """The ways, for one user.

    :param source: tells of the runs that are meant.
    :param itself: Airflow, as the user.
    :param caller: the user.
    """

    source: Tables
    itself: Itself
    caller: Caller

    def hand(self, reason: str | None, timeout: float) -> Hand:
        """Return the user's hand."""
        channel = TablesChannel()
        return Hand(self.source, self.itself, channel, Connections(channel), self._by, self._said(reason), timeout)

    @property
    def _by(self) -> str:
        return f"{self.caller.name} over the API"

    def _said(self, reason: str | None) -> str:
        return f"{reason} ({self._by})" if reason else f"by {self._by}"

    # -- single runs -----------------------------------------------------------------------------------------

    async def stop(self, runs: Sequence[KnownRun], reason: str | None, timeout: float) -> Acted:
        """Stop runs."""
        if acts_here():
            return await self._here(self.hand(reason, timeout).stop, runs), []
        why = await self.why_not() if runs else None
        alive = [run for run in runs if _state(run) in FOLLOWS]
        others = [run for run in runs if _state(run) not in FOLLOWS]
        (through, later), (left, at_once) = await asyncio.gather(
            self._through_tasks(alive, reason, timeout, why), self._errand(Act.STOP, others, reason, timeout, why)
        )
        return [*through, *left], [*at_once, *later]

    async def resume(self, runs: Sequence[KnownRun], reason: str | None, timeout: float) -> Acted:
        """Resume suspended runs."""
        if acts_here():
            return await self._here(self.hand(reason, timeout).resume, runs), []
        return await self._errand(Act.RESUME, runs, reason, timeout, await self.why_not() if runs else None)

    async def _here(self, act: Callable[[KnownRun], Awaitable[Ended]], runs: Sequence[KnownRun]) -> list[Ended]:
        async def all_of_them() -> list[Ended]:
            return list(await asyncio.gather(*(walled(act, run) for run in runs)))

        return await apart(all_of_them())

    async def _through_tasks(
        self, runs: Sequence[KnownRun], reason: str | None, timeout: float, why: str | None
    ) -> Acted:
        """Stop runs through their tasks; what no kill stopped in half of the time is the maintenance Dag's.

        A kill can be lost: below Airflow 3.3 no trigger hears of one, and on no version one that has not begun.
        """
        for_kill = timeout if why else timeout / 2

        async def one(run: KnownRun) -> Ended:
            return await self._through_task(run, reason, for_kill)

        ended = await asyncio.gather(*(walled(one, run) for run in runs))
        lost = [run for run, end in zip(runs, ended, strict=True) if end.how == MARKED and end.may_be_alive]
        if not lost or timeout <= 0:
            return ended, []
        if why:
            return [_advised(end, run) if run in lost else end for run, end in zip(runs, ended, strict=True)], []
        seen = [end for run, end in zip(runs, ended, strict=True) if run not in lost]
        left, dag_run_ids = await self._errand(Act.STOP, lost, reason, timeout - for_kill, None)
        return [*seen, *left], dag_run_ids

    async def _through_task(self, run: KnownRun, reason: str | None, timeout: float) -> Ended:
        name = describe(run.handle)
        if foreign := await apart(_foreign(run)):
            return Ended(run.where, name, "nothing", error=f"{foreign} Nothing was stopped; the run may be alive.")
        marking = Marking(self.itself)
        try:
            marked = partial(remember_person, TablesChannel(), run, self._by, reason)
            said = self._said(reason)
            return await end_owner(self.source, marking, run, name, said, timeout=timeout, marked=marked)
        except RunctlError as error:
            if not marking.is_done:
                raise
            return Ended(run.where, name, MARKED, StopOutcome.REQUESTED, error=f"{error} The run may be alive")

    async def _errand(
        self, act: Act, runs: Sequence[KnownRun], reason: str | None, timeout: float, why: str | None
    ) -> Acted:
        """Let the maintenance Dag do it; without it, say what to do on a worker.

        :param why: why it does nothing, if that is so.
        """
        if why:
            return [_undone(run, f"{why} {by_hand(act, run)}") for run in runs], []
        marked = [await self._let_go(run, reason) for run in runs] if act is Act.STOP else [None] * len(runs)
        refused = [end for end in marked if end is not None]
        left = [run for run, end in zip(runs, marked, strict=True) if end is None]
        if not left:
            return refused, []
        try:
            answer = await self.send(Errand(act, named(left), self._said(reason), timeout), timeout)
        except RunctlError as error:
            return [*refused, *(_undone(run, f"{error} {by_hand(act, run)}") for run in left)], []
        outcome, doubt = answer.outcome or {}, _doubt(answer)
        said = {one["task"]: one for one in outcome.get("runs", ())}
        handed = [_read(run, said.get(str(run.where)), doubt) for run in left]
        return [*refused, *handed], [answer.dag_run_id] if answer.dag_run_id else []

    async def _let_go(self, run: KnownRun, reason: str | None) -> Ended | None:
        """Mark a task that is to be tried again as failed, so that no further attempt goes on with its run."""
        if _state(run) not in COMES:
            return None
        try:
            await self.itself.fail(run.where, note_of(run, self._said(reason)))
        except RunctlError as error:
            return Ended(run.where, describe(run.handle), "nothing", error=f"{error} The run may be alive.")
        return None

    # -- the maintenance Dag --------------------------------------------------------------------------------------

    async def why_not(self) -> str | None:
        """Return why the maintenance Dag does nothing; ``None`` if it will."""
        try:
            found = await self.itself.ask("GET", "dags", DAG_ID, to=f"show the Dag {DAG_ID}")
        except AirflowRefused as error:
            return f"{error} {OFF}"
        if found is None or found.get("is_stale"):
            return f"There is no Dag {DAG_ID} (from airflow_runctl.maintenance import dag). {OFF}"
        if found.get("is_paused"):
            return f"The Dag {DAG_ID} is paused. {OFF}"
        if not await asyncio.to_thread(self.caller.rights.start, DAG_ID):
            return f"The login lacks the right to start the Dag {DAG_ID}. {OFF}"
        return None

    async def send(self, errand: Errand, timeout: float) -> Answer:
        """Start the maintenance Dag with an errand, as the user, and wait for what it came to.

        :param timeout: seconds to wait; after that the Dag run goes on.
        :raises AirflowRefused: if the user may not start it.
        """
        body = {"logical_date": None, "conf": errand.out()}
        started = await self.itself.ask("POST", "dags", DAG_ID, "dagRuns", to=f"start the Dag {DAG_ID}", body=body)
        if started is None:
            raise RunctlError(f"The Dag {DAG_ID} is gone. Nothing was done.")
        where = TaskKey(DAG_ID, str(started["dag_run_id"]), TASK_ID)
        return Answer(await self._outcome(where, time.monotonic() + timeout), where.run_id)

    async def _outcome(self, where: TaskKey, until: float) -> dict[str, Any] | None:
        """Return what a task of the Dag came to; ``None`` if it is not seen in time. The task goes on all the same."""
        while True:
            try:
                over = await asked(tables.dag_run_state)(where.dag_id, where.run_id) in ENDED
                row = await asked(tables.stored)(OUTCOME_KEY, where)
            except AirflowUnreachable as error:
                log.warning("What %s came to is not known yet: %s", where, error)
                over, row = False, None
            if row is not None and isinstance(row[0], dict):
                return row[0]
            if over:
                return {"failed": "the task ended without a word"}
            if time.monotonic() + LOOK_EVERY > until:
                return None
            await asyncio.sleep(LOOK_EVERY)

    # -- both -------------------------------------------------------------------------------------------------------

    async def errand(self, errand: Errand, timeout: float) -> Answer:
        """Do an errand of no single run, by the way that there is.

        :raises RunctlError: if there is none, with what to do on a worker; or if it failed.
        """
        if acts_here():
            return Answer(await apart(do(errand, self.hand(errand.reason, errand.timeout))))
        if why := await self.why_not():
            raise RunctlError(f"{why} {COMMANDS[errand.act]}")
        answer = await self.send(errand, timeout)
        if answer.outcome is not None and "failed" in answer.outcome:
            raise RunctlError(f"{DAG_ID} {answer.dag_run_id}: {answer.outcome['failed']}")
        return answer


OFF: Final = "[runctl] act_in_api_server is off."

COMMANDS: Final = {
    Act.SWEEP: "Nothing was done. On a worker: runctl sweep",
    Act.TEST: "Nothing was done. On a worker: runctl test",
}


def by_hand(act: Act, run: KnownRun, *, done: bool = False) -> str:
    """Return what to do on a worker, where a connection can be read.

    :param done: True if something was done, in vain.
    """
    before = "" if done else "Nothing was done, and the run may be alive. "
    return f"{before}On a worker: {command(act, run)}"


def command(act: Act, run: KnownRun) -> str:
    """Return the command that does it on a worker."""
    return f"runctl {act.value} {shlex.quote(printable(run.handle.get('run_id'), 1000))} --yes"


def _state(run: KnownRun) -> str | None:
    return run.attempt.state if run.attempt else "unknown"


async def _foreign(run: KnownRun) -> str | None:
    """Return why a handle is none of its task's, as far as its connection can be read here: then the task goes on."""
    if run.unread:
        return run.unread
    try:
        await Connections(TablesChannel()).open(run.handle, run.where)
    except ConnectionUnreadable:
        return None
    except RunctlError as error:
        return str(error)
    return None


def _doubt(answer: Answer) -> str:
    if answer.outcome is not None and "failed" in answer.outcome:
        return f"{DAG_ID} {answer.dag_run_id}: {answer.outcome['failed']}; the run may be alive"
    return f"not seen to be over yet: {DAG_ID} {answer.dag_run_id} goes on with it; the run may be alive"


HANDED_ON: Final = "handed to the maintenance Dag"


def _undone(run: KnownRun, why: str) -> Ended:
    return Ended(run.where, describe(run.handle), "nothing", error=why)


def _advised(end: Ended, run: KnownRun) -> Ended:
    """Return the same with what is to be done by hand about a kill that stopped nothing."""
    return replace(end, error=f"{end.error}. {by_hand(Act.STOP, run, done=True)}")


def _handed_on(run: KnownRun, doubt: str) -> Ended:
    return Ended(run.where, describe(run.handle), HANDED_ON, StopOutcome.REQUESTED, error=doubt)


def _read(run: KnownRun, said: dict[str, Any] | None, doubt: str) -> Ended:
    if said is None:
        return _handed_on(run, doubt)
    return Ended(run.where, said["run"], said["done"], said["outcome"], said["seconds"], said["error"])
