"""Airflow around a task, in memory and on virtual time; and the promises that must hold in it.

Real: our operators, trigger, notifier and everything below them down to the transport's ``_send``; Airflow's task
runner. Modelled: the supervisors and the API server (``tests/fakes/airflow_3.py``), and, here, the scheduler, the
processes and how they die, the user. What the model copies was measured on a real Airflow; a row is one of
docs/explanation/kill-matrix.md.

The promises:

1. Never two live runs for one task instance, unless an error has named the first.
2. Never a live run without a handle, a write-ahead record that finds it, or an error that names it.
3. Never a request to stop somebody else's run, nor one of ours without a reason.
4. A run that a deadline stopped is not started again by a retry.
5. When a task is over and the nets have run, none of its runs is alive, unless an error has named it.
6. A task ends well only with a run of its own, started with its own arguments, that ended well.

Below Airflow 3.3 they hold for tasks that are not tried again: nothing that one attempt stores reaches the next.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from types import SimpleNamespace
from typing import Any, Final

from airflow_runctl.compat import CLEARS_FORGET, HAS_TASK_STORE, TRIGGERS_HEAR_OF_KILLS
from airflow_runctl.compat.stores import attempt_of, prefix_of
from airflow_runctl.control.records import AUDIT_KEY, search_in
from airflow_runctl.control.seal import handle_of, open_handle
from airflow_runctl.control.second_home import KIND as RECORD
from airflow_runctl.exceptions import HandleError
from airflow_runctl.hooks.base import Access, hook_class
from airflow_runctl.notifications import StopRunsNotifier
from airflow_runctl.operators.axiom import AxiomStopRunOperator, AxiomTriggerRunOperator
from airflow_runctl.operators.base import StartRunOperator
from airflow_runctl.operators.snaplogic import (
    SnapLogicResumeTaskOperator,
    SnapLogicStopTaskOperator,
    SnapLogicTriggerTaskOperator,
)
from airflow_runctl.runs import HANDLE_KEY, ExternalRun, Owner, TaskKey
from tests.fakes.airflow_3 import FakeAirflow, deferral_of
from tests.fakes.airflow_any import Deferral, Start
from tests.models.vendors import MODELS, Run, Vendor, _iso
from tests.models.virtual_time import BEGIN, Loop, Process, World, acting

DAG_ID: Final = "harvest"
RUN_ID: Final = "manual__1"

RETRY_DELAY: Final = 30.0
HEARTBEAT: Final = 3.0
"""After which a worker learns that a user acted; SIGTERM then."""

TO_SIGKILL: Final = 5.0
"""60 s by default on 3.4. But here the next attempt begins with the last word of the one before, whose process goes
on; in Airflow not before that process has ended: with 60 s they would overlap as they never do."""
ON_KILL_BOUND: Final = 3.5
TRIGGER_TOLD: Final = 2.0
"""After which the triggerer learns that a user acted."""

CANCELLED_AGAIN: Final = 1.0
"""After which a triggerer looks at its list of triggers again, and cancels once more."""

DAG_CALLBACK: Final = 4.0
DAG_FILE_SECONDS: Final = 50.0
MESSAGE_SECONDS: Final = 0.02
TRAIL: Final = 60
"""How many lines of the trail a failure shows."""

ALARMS: Final = ("may be alive", "cannot be stopped")
"""What an error says that knows the task, or the pipeline, but not the run."""

FINAL: Final = frozenset({"success", "failed", "skipped"})
EXECUTION_TIMEOUT: Final = timedelta(seconds=300)
MAX_RUNTIME: Final = timedelta(seconds=120)


@dataclass(frozen=True)
class Config:
    """How the tasks of a story are written.

    :param vendor: name of the vendor.
    :param deferrable: where they wait.
    :param reply: how the vendor answers a start.
    :param owner: ``task``, ``dag_run`` (``wait_for_completion=False``) or ``nobody`` (``leave_running``).
    :param limit: ``""``, ``execution_timeout`` or ``max_runtime``.
    :param own_callback: whether the task has the notifier as its own ``on_failure_callback``.
    """

    vendor: str
    deferrable: bool
    reply: str
    retries: int = 1
    on_retry: str = "reattach"
    owner: str = "task"
    stop_on_kill: bool = True
    limit: str = ""
    own_callback: bool = False


@cache
def operator_of(config: Config, task_id: str, inputs: str) -> StartRunOperator:
    """Return the operator of a task; each attempt runs a copy."""
    arguments: dict[str, Any] = {
        "task_id": task_id,
        "retries": config.retries,
        "deferrable": config.deferrable,
        "on_retry": config.on_retry,
        "stop_on_kill": config.stop_on_kill,
        "wait_for_completion": config.owner == "task",
        "leave_running": config.owner == "nobody",
        "execution_timeout": EXECUTION_TIMEOUT if config.limit == "execution_timeout" else None,
        "max_runtime": MAX_RUNTIME if config.limit == "max_runtime" else None,
        "on_failure_callback": StopRunsNotifier() if config.own_callback else None,
    }
    with FakeAirflow(DAG_ID, RUN_ID).dag():
        if config.vendor == "axiom":
            return AxiomTriggerRunOperator(name=f"load-{task_id}", data=[["n"], [inputs]], **arguments)
        return SnapLogicTriggerTaskOperator(
            task_path=f"/Acme/projects/sales/load-{task_id}",
            pipeline_name=f"load-{task_id}",
            parameters={"n": inputs},
            **arguments,
        )


@dataclass(eq=False)
class Attempt:
    """One try of a task instance.

    :param by_retry: it came by itself; ``False`` for the first and after a clear.
    :param clears: how often the task had been cleared.
    :param causes: why its run may be stopped.
    :param lost: its process died without a word.
    """

    task: Task
    number: int
    inputs: str
    began: float
    by_retry: bool
    clears: int = 0
    causes: set[str] = field(default_factory=set)
    lost: bool = False

    def __str__(self) -> str:
        return f"{self.task.name} try {self.number}"


@dataclass(eq=False)
class Task:
    """A task instance, as the API server has it.

    :param holder: the process whose reports count.
    :param failed_by: the process that reported a failure of its own.
    :param epoch: changes when a plan that was made for it is void.
    :param clears_at_deadline: what ``clears`` was when the last deadline passed.
    """

    task_id: str
    map_index: int = -1
    state: str | None = None
    try_number: int = 0
    max_tries: int = 0
    inputs: str = "0"
    attempt: Attempt | None = None
    worker: Process | None = None
    holder: Process | None = None
    failed_by: Process | None = None
    ti: Any = None
    deferral: Deferral | None = None
    epoch: int = 0
    clears: int = 0
    clears_at_deadline: int = 0
    forged: bool = False

    @property
    def name(self) -> str:
        return self.task_id if self.map_index < 0 else f"{self.task_id}_{self.map_index}"

    @property
    def key(self) -> TaskKey:
        return TaskKey(DAG_ID, RUN_ID, self.task_id, self.map_index)

    @property
    def instance(self) -> tuple[str, str, str, int]:
        return (DAG_ID, RUN_ID, self.task_id, self.map_index)

    @property
    def works(self) -> bool:
        return self.worker is not None and self.worker.alive


class Supervisor(FakeAirflow):
    """The channel of every process, each of which understands other messages, and waits for its answers."""

    DAG_PROCESSOR: Final = frozenset(
        {"GetConnection", "GetXCom", "GetXComCount", "GetXComSequenceSlice", "GetTaskStates", "MaskSecret"}
        | {"GetVariable", "GetVariableKeys", "PutVariable", "DeleteVariable"}
    )

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        super().__init__(DAG_ID, RUN_ID)
        self.troubles: dict[str, int] = {}

    @property
    def body_decoder(self) -> Any:
        """What ``compat.in_dag_processor`` looks at."""
        role = self.deployment.world.process.role if self.deployment.world.current else ""
        return SimpleNamespace(_type="DagFileParseRequest" if role == "dag processor" else "ToTask")

    @body_decoder.setter
    def body_decoder(self, value: Any) -> None: ...

    def send(self, msg: Any) -> Any:
        self._arrive(msg)
        self.deployment.world.wait(MESSAGE_SECONDS)
        return self._answer(msg)

    async def asend(self, msg: Any) -> Any:
        self._arrive(msg)
        await asyncio.sleep(MESSAGE_SECONDS)
        return self._answer(msg)

    def _arrive(self, msg: Any) -> None:
        world, name = self.deployment.world, type(msg).__name__
        hangs = (world.process.role == "dag processor" and name not in self.DAG_PROCESSOR) or (
            world.process.role == "triggerer" and "TaskStateStore" in name
        )
        if hangs:
            world.wrongs.append(f"{world.process.name} hangs: its supervisor does not know {name}")
        if world.in_handler:
            world.wrongs.append(f"{world.process.name} talks to Airflow in its signal handler: {name}")
        world.pass_point(point_of(msg))

    def _answer(self, msg: Any) -> Any:
        point, process = point_of(msg), self.deployment.world.process
        process.has_begun |= point == "GetConnection"
        process.has_recorded |= "SetXCom" in point
        # Airflow's own wiping of XComs is none of our business, nor is a callback that cannot read.
        if self.troubles.get(point, 0) > 0 and process.role != "dag processor" and process.has_begun:
            self.troubles[point] -= 1
            self.deployment.troubled()
            raise ConnectionError("the API server is away (model)")
        return super().send(msg)

    def _on_DeferTask(self, msg: Any) -> None:
        self.deployment.deferred(msg)

    def _on_SucceedTask(self, msg: Any) -> None:
        self.deployment.reported("success")

    def _on_RetryTask(self, msg: Any) -> None:
        self.deployment.reported("up_for_retry")

    def _on_TaskState(self, msg: Any) -> None:
        self.deployment.reported(str(getattr(msg.state, "value", msg.state)))

    def _on_SetTaskStateStore(self, msg: Any) -> None:
        super()._on_SetTaskStateStore(msg)
        if handle := msg.value["handle"]:
            self.deployment.recorded(handle, released=msg.value["phase"] == "released")


def point_of(msg: Any) -> str:
    """Return the name of a message's point: its class, and the key of an XCom."""
    key = getattr(msg, "key", "") if "XCom" in type(msg).__name__ else ""
    return f"{type(msg).__name__}:{key}" if key else type(msg).__name__


class Quiet:
    """A logger that says nothing; it keeps the last error."""

    seen: BaseException | None = None

    def exception(self, *args: Any, **kwargs: Any) -> None:
        self.seen = sys.exc_info()[1]

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: None


class Deployment:
    """One Dag run with two task instances that start runs, and everything around them."""

    def __init__(self, world: World, config: Config) -> None:
        self.world = world
        self.config = config
        self.airflow = Supervisor(self)
        self.vendor: Vendor = MODELS[config.vendor]()
        self.airflow.connections = {f"{config.vendor}_default": dict(self.vendor.connection)}
        self.vendor.reply = config.reply
        self.vendor.sender = lambda: self.world.process.about
        self.vendor.made = self._made
        self.vendor.told_to_stop = self._told_to_stop
        self.vendor.troubled = self.troubled
        self.tasks = [Task("a"), Task("b", 0)]
        self.triggerer: Triggerer | None = None
        self.said: list[tuple[float, str, Task | None]] = []
        self.stoppers: list[frozenset[str]] = []
        self.deadlines: list[frozenset[str] | None] = []
        self.kept_handles: list[dict[str, Any]] = []
        self._ended = False
        world.exchange, world.say = self.vendor.exchange, self.say
        self.start_triggerer()

    def task(self, name: str) -> Task:
        return next(task for task in self.tasks if task.name == name)

    # -- time --------------------------------------------------------------------------------------------

    def go_on(self, *, seconds: float = float("inf"), points: float = float("inf")) -> None:
        """Let so much time pass, or let so many points be passed, whichever is less; check after each step."""
        until, enough = self.world.now + seconds, self.world.points + points
        while self.world.next_at() <= until and self.world.points < enough and self.world.step():
            self.check()
        if seconds < float("inf") and self.world.points < enough:
            self.world.now = max(self.world.now, until)
        self.check()

    def check(self) -> None:
        """Promises 1 to 4 and 6 where they were broken, and promise 2 now."""
        for run in self.vendor.live():
            if run.by is not None and not self._is_nobodys(run) and not self.is_kept(run) and not self.is_named(run):
                self.world.wrongs.append(f"promise 2: nothing leads to {run}")
        if self.world.wrongs:
            raise AssertionError("\n".join([*self.world.wrongs, self.story()]))

    def story(self) -> str:
        """Return what is to be known of the moment."""
        lines = [f"at {self.world.now - BEGIN:.2f} s, {self.config}"]
        lines += [f"  {task.name}: {task.state}, try {task.try_number} of {task.max_tries + 1}" for task in self.tasks]
        lines += [f"  {run}, made at {run.made_at - BEGIN:.2f}, causes {run.causes}" for run in self.vendor.runs]
        return "\n".join([*lines, *self.world.trail[-TRAIL:]])

    # -- scheduler and workers ---------------------------------------------------------------------------

    def start(self, task: Task) -> None:
        """Let the first attempt of a task begin."""
        task.max_tries = self.config.retries
        self._begin_soon(task, 0.5, by_retry=False)

    def _begin_soon(self, task: Task, delay: float, *, by_retry: bool) -> None:
        self._set(task, "scheduled" if not by_retry else "up_for_retry")
        task.epoch += 1
        epoch = task.epoch

        def begin() -> None:
            if task.epoch != epoch:
                return
            if task.works:
                self.world.at(1.0, begin)
                return
            task.try_number += 1
            task.attempt = Attempt(task, task.try_number, task.inputs, self.world.now, by_retry, task.clears)
            task.deferral = None
            self._work(task, None, None)

        self.world.at(delay, begin)

    def _work(self, task: Task, goes_on: Deferral | None, event: Any) -> None:
        """Start a worker's process for an attempt, or for its second half."""
        attempt = task.attempt
        assert attempt is not None
        process = Process(f"worker of {attempt}", "worker")
        process.about = attempt
        task.worker = task.holder = process
        task.ti = None
        self._ended = False
        self._set(task, "running")

        def run() -> None:
            acting.set("worker")
            self._run_task(task, attempt, goes_on, event)
            self._exited(task, process, killed=False)

        self.world.spawn(process, run)

    def _run_task(self, task: Task, attempt: Attempt, goes_on: Deferral | None, event: Any) -> None:
        from airflow.sdk.execution_time import task_runner

        operator = copy(operator_of(self.config, task.task_id, attempt.inputs))
        began = datetime.fromtimestamp(attempt.began, UTC)
        left = task.max_tries - task.try_number + 1
        start = Start(operator, task.try_number, left, began, task.map_index, goes_on, event)
        ti = self.airflow.instance_of(start)
        task.ti = ti
        context = ti.get_template_context()
        log = Quiet()
        state: Any = None
        try:
            state, _, error = task_runner.run(ti, context, log)
        except ConnectionError:  # on 3.1 a process whose last word is refused ends at once
            error = log.seen
        if error is not None:
            self.say("\n".join([str(error), *getattr(error, "__notes__", [])]), task)
        if state is None:
            return
        with self._stopping(None if state == "failed" and self.config.own_callback else frozenset()):
            task_runner.finalize(ti, state, context, Quiet(), error)

    def _exited(self, task: Task, process: Process, *, killed: bool) -> None:
        """What the supervisor and the scheduler make of the end of a worker's process."""
        process.alive = False
        if task.worker is not process:
            return
        if task.state == "restarting":
            if not killed:
                task.max_tries = task.try_number + self.config.retries
            self._begin_soon(task, 1.0, by_retry=False)
        elif task.holder is process:
            task.holder = None
            if task.try_number <= task.max_tries and task.max_tries:
                self._begin_soon(task, RETRY_DELAY, by_retry=True)
            else:
                self._finish(task, "failed")
        if not killed and task.failed_by is process and not task.forged:
            self._nothing_left(task, "its task failed by itself")

    def reported(self, state: str) -> None:
        """Take a worker's last word, unless a user has spoken meanwhile."""
        task = self._held()
        task.holder = None
        if state == "up_for_retry":
            self._begin_soon(task, RETRY_DELAY, by_retry=True)
            return
        if state == "success":
            self._ended_well(task)
        elif state == "failed":
            task.failed_by = self.world.process
        self._finish(task, state)

    def _held(self) -> Task:
        process = self.world.process
        task: Task = process.about.task
        if task.holder is not process:
            raise ConnectionError("409: the task instance is in another state (model)")
        return task

    def _finish(self, task: Task, state: str) -> None:
        self._set(task, state)
        task.epoch += 1
        if all(other.state is None or other.state in FINAL for other in self.tasks):
            self.world.at(DAG_CALLBACK, self._end_dag_run)

    def _set(self, task: Task, state: str | None) -> None:
        self.world.tell(f"{task.name} is {state}")
        task.state = self.airflow.states[task.name] = state

    def sigterm(self, task: Task) -> None:
        """Row 7: the worker drains."""
        process = task.worker
        if process is None or not process.alive:
            return
        if task.ti is None:
            self.sigkill(task)  # its handler is not there yet
            return
        if self.config.stop_on_kill:
            self._cause(task, "SIGTERM")
        ti = task.ti

        def on_term() -> None:
            began = self.world.now
            ti.task.on_kill()
            if self.world.now - began > ON_KILL_BOUND:
                self.world.wrongs.append(f"on_kill of {process.name} took {self.world.now - began:.1f} s")

        self.world.interrupt(process, on_term)

    def sigkill(self, task: Task) -> None:
        """Row 8a."""
        process = task.worker
        if process is not None and process.alive:
            for run in self.runs_of(task):
                run.unseen |= not process.has_recorded and run.by is not task.attempt
            if task.attempt is not None:
                task.attempt.lost = True
            self.world.kill(process)
            self._exited(task, process, killed=True)

    # -- the user ----------------------------------------------------------------------------------------

    def mark(self, task: Task, state: str) -> None:
        """Rows 4, 5, 6."""
        before, task.holder = task.state, None
        self._kill_by_user(task, before)
        self._finish(task, state)

    def clear(self, task: Task, delay: float) -> None:
        """Rows 4, 5, 12."""
        before, task.holder = task.state, None
        task.clears += 1
        if CLEARS_FORGET:
            self.airflow.store.pop((DAG_ID, RUN_ID, task.task_id, task.map_index), None)
        self._kill_by_user(task, before)
        if before == "running":
            task.epoch += 1
            self._set(task, "restarting")
            return
        task.max_tries = task.try_number + self.config.retries
        self._begin_soon(task, delay, by_retry=False)

    def _kill_by_user(self, task: Task, before: str | None) -> None:
        if before == "running":
            process = task.worker
            self.world.at(HEARTBEAT, lambda: self.sigterm(task) if task.worker is process else None)
            self.world.at(HEARTBEAT + TO_SIGKILL, lambda: self.sigkill(task) if task.worker is process else None)
        elif before == "deferred" and self.triggerer is not None:
            triggerer, deferral = self.triggerer, task.deferral
            self.world.at(TRIGGER_TOLD, lambda: triggerer.kill(deferral))
        if before in ("running", "deferred") and self.config.stop_on_kill:
            self._cause(task, "user")

    def stop_by_task(self, handle: Any) -> None:
        """A task of the Dag run stops what a handle names; one of another Dag run it must refuse."""
        if (run := self.run_of(handle)) is not None and handle not in self.kept_handles:
            run.causes.add("by hand")
        self._task_of_their_own("stop", {"snaplogic": SnapLogicStopTaskOperator, "axiom": AxiomStopRunOperator}, handle)

    def resume_by_task(self, handle: Any) -> None:
        """A task of the Dag run resumes what a handle names."""
        self._task_of_their_own("resume", {"snaplogic": SnapLogicResumeTaskOperator}, handle)

    def _task_of_their_own(self, task_id: str, operators: dict[str, Any], handle: Any) -> None:
        process = Process(f"worker of {task_id}", "worker")

        def run() -> None:
            acting.set(task_id)
            operator = operators[self.config.vendor](task_id=task_id, external_run=handle, stop_timeout=30.0)
            ti = SimpleNamespace(dag_id=DAG_ID, run_id=RUN_ID, task_id=task_id, map_index=-1)
            try:
                type(operator).execute.__wrapped__(operator, {"ti": ti})
            except Exception as error:
                self.say(str(error))

        self.world.spawn(process, run)

    # -- triggerer ---------------------------------------------------------------------------------------

    def start_triggerer(self) -> None:
        """Start a triggerer; it takes over what is deferred, and deadlines that were in work (row 10)."""
        self.triggerer = Triggerer(self)
        for task in self.tasks:
            if task.state == "deferred":
                self.triggerer.follow(task)
        for names in self.deadlines:
            self.triggerer.deadline(names)

    def stop_triggerer(self) -> None:
        """Kill the triggerer."""
        if self.triggerer is not None:
            self.world.kill(self.triggerer.process)
            self.triggerer = None

    def deferred(self, msg: Any) -> None:
        """Take a worker's deferral."""
        task = self._held()
        task.holder = None
        task.deferral = deferral_of(msg)
        task.epoch += 1
        self._set(task, "deferred")
        self.world.at(1.0, self._while(task, lambda: self.triggerer and self.triggerer.follow(task)))

    def event(self, task: Task, payload: Any, goes_on: Deferral | None = None) -> None:
        """Take what a trigger says, and let the task go on."""
        task.epoch += 1
        self._set(task, "scheduled")
        self.world.at(1.0, self._while(task, lambda: self._work(task, goes_on or task.deferral, payload)))

    def trigger_fails(self, task: Task, *, timed_out: bool) -> None:
        """Rows 3 and 14: the trigger is lost for a reason that is not ours."""
        assert task.deferral is not None
        if self.triggerer is not None:
            self.triggerer.drop(task.deferral)
        self._cause(task, "the trigger failed")
        error = "Trigger timeout" if timed_out else "Trigger failure"
        self.event(task, None, Deferral("", {}, None, "__fail__", {"error": error}))

    def _while(self, task: Task, then: Callable[[], Any]) -> Callable[[], None]:
        epoch = task.epoch
        return lambda: then() if task.epoch == epoch else None

    # -- callbacks ---------------------------------------------------------------------------------------

    def deadline(self, names: frozenset[str] | None) -> None:
        """Row 13: a deadline passes; its callback begins anew if its triggerer dies."""
        self.deadlines.append(names)
        for task in self.tasks:
            task.clears_at_deadline = task.clears
        if self.triggerer is not None:
            self.triggerer.deadline(names)

    def _end_dag_run(self) -> None:
        """The Dag-level callback, in the Dag processor."""
        if self._ended or not all(task.state is None or task.state in FINAL for task in self.tasks):
            return
        self._ended = True
        failed = any(task.state == "failed" for task in self.tasks)
        process = Process("Dag-level callback", "dag processor")
        context: Any = {
            "dag_run": SimpleNamespace(dag_id=DAG_ID, run_id=RUN_ID),
            "run_id": RUN_ID,
            "reason": "task_failure" if failed else "success",
        }

        def run() -> None:
            acting.set("callback")
            with self._stopping(None):
                try:
                    StopRunsNotifier().notify(context)
                except Exception as error:
                    self.say(str(error))

        self.world.spawn(process, run)
        self.world.at(DAG_FILE_SECONDS, lambda: self.world.kill(process))

    @contextmanager
    def _stopping(self, names: frozenset[str] | None) -> Iterator[None]:
        """Something stops runs of these tasks meanwhile, and may."""
        for task in self._named_tasks(names):
            self._cause(task, "a callback")
        scope = frozenset(task.name for task in self._named_tasks(names))
        self.stoppers.append(scope)
        try:
            yield
        finally:
            self.stoppers.remove(scope)

    def _named_tasks(self, task_ids: frozenset[str] | None) -> list[Task]:
        return [task for task in self.tasks if task_ids is None or task.task_id in task_ids]

    def say(self, text: str, task: Task | None = None) -> None:
        """An error that a person sees: of a task, of a callback, or in a log."""
        self.said.append((self.world.now, text, task))
        self.world.tell(f"said: {text[:250]}")

    # -- the truth ---------------------------------------------------------------------------------------

    def _made(self, run: Run) -> None:
        attempt: Attempt = run.by
        task, run.owner = attempt.task, attempt
        for other in self.vendor.live():
            if other is run or other.by is None or other.by.task is not task:
                continue
            if not self._is_nobodys(other) and not self.is_named(other):
                self.world.wrongs.append(f"promise 1: {run} was made beside {other}")
        for other in self.vendor.runs if attempt.by_retry else ():
            if other.stopped_by != "deadline" or other.by.task is not task:
                continue
            since_a_clear = {other.owner.clears, task.clears_at_deadline} == {attempt.clears}
            # docs/explanation/kill-matrix.md: at a vendor without a word for stopped, what a lost process
            # did not note nobody knows.
            unknown = self.config.vendor == "axiom" and other.owner.lost
            # An attempt after a clear waited for that stop, and then rightly began anew: so may its retry.
            began_anew = any(later.by is other.owner and not later.by.by_retry for later in self.vendor.runs)
            if since_a_clear and not unknown and not (began_anew and other.by is not other.owner):
                self.world.wrongs.append(f"promise 4: {run} was made by a retry after a deadline stopped {other}")

    def _told_to_stop(self, run: Run, works: bool) -> None:
        who = acting.get()
        if run.by is None:
            self.world.wrongs.append(f"promise 3: {who} asked to stop {run}")
        elif not self._may_stop(run):
            self.world.wrongs.append(f"promise 3: {who} asked to stop {run} for no reason")
        if works:
            run.stopped_by = who

    def _may_stop(self, run: Run) -> bool:
        task: Task = run.by.task
        if self._is_nobodys(run):
            return "by hand" in run.causes
        assert task.attempt is not None
        return bool(
            run.causes
            or task.attempt.causes
            or any(task.name in scope for scope in self.stoppers)
            or self._limit_passed(task.attempt, run)
            or self._is_leftover(task.attempt, run)
            or (run.word == "Suspended" and self.config.on_retry != "resume")
            or (run.word == "Suspended" and task.try_number > task.max_tries)
        )

    def _limit_passed(self, attempt: Attempt, run: Run) -> bool:
        if self.config.limit == "execution_timeout":
            return self.world.now >= attempt.began + EXECUTION_TIMEOUT.total_seconds()
        return self.config.limit == "max_runtime" and self.world.now >= run.made_at + MAX_RUNTIME.total_seconds() - 5

    def _is_leftover(self, attempt: Attempt, run: Run) -> bool:
        """Whether a later attempt may end the run instead of going on with it."""
        if run.by is attempt:
            return False
        different = run.inputs != self._inputs_at_vendor(attempt)
        ended = run.released and attempt.clears > run.by.clears
        return different or ended or self.config.on_retry == "restart" or run.word == "Stopping"

    def _inputs_at_vendor(self, attempt: Attempt) -> str:
        return attempt.inputs if self.config.vendor == "snaplogic" else json.dumps([["n"], [attempt.inputs]])

    def _cause(self, task: Task, why: str) -> None:
        """Note that the runs of a task may be stopped from now on, and that of a start in flight."""
        if task.attempt is not None and (task.works or task.state in {"deferred", "scheduled"}):
            task.attempt.causes.add(why)
        for run in self.runs_of(task):
            run.causes.add(why)

    def troubled(self) -> None:
        """Note that what runs now met trouble: its own error may end its run."""
        about = self.world.process.about
        attempts = [about] if isinstance(about, Attempt) else [task.attempt for task in self.tasks]
        for attempt in attempts:
            if attempt is not None:
                attempt.causes.add("trouble")

    def recorded(self, handle: Any, *, released: bool) -> None:
        """Note whose a run is from now on: what was asked of an earlier owner counts no more."""
        run, attempt = self.run_of(handle), self.world.process.about
        if run is None or run.by is None:
            return
        run.released = released
        if run.owner is not attempt:
            run.owner = attempt
            run.causes.clear()

    def _ended_well(self, task: Task) -> None:
        attempt = task.attempt
        assert attempt is not None
        result = self.airflow.xcom(task.task_id, "return_value", task.map_index)
        run = self.run_of(result[HANDLE_KEY])
        if self.config.owner == "task" and run is not None and run.word not in {"Completed", "Success"}:
            self.world.wrongs.append(f"promise 6: {attempt} ended well with {run}")
        if run is not None and self.config.owner != "task":
            run.released = True
        if run is not None and (run.by is None or run.inputs != self._inputs_at_vendor(attempt)):
            self.world.wrongs.append(f"promise 6: {attempt} ended well with {run}, started with {run.inputs}")

    def _nothing_left(self, task: Task, why: str) -> None:
        for run in self.runs_of(task):
            if not self._is_nobodys(run) and not run.released and not self.is_named(run):
                self.world.wrongs.append(f"promise 5: {run} is alive: {why}")

    def runs_of(self, task: Task) -> list[Run]:
        """The live runs of a task."""
        return [run for run in self.vendor.live() if run.by is not None and run.by.task is task]

    def _is_nobodys(self, run: Run) -> bool:
        return self.config.owner == "nobody" and run.released

    def is_named(self, run: Run) -> bool:
        """Whether an error told a person of this run, or of a run of this task that may be alive."""
        task: Task = run.by.task
        if task.forged and not HAS_TASK_STORE:
            return True  # the handle that was overwritten was all that led to its run
        own = {run.run_id, _iso(run.made_at)}
        unknown = {f"'{run.of}'", f"pipeline {run.of} ", str(task.key)}
        for at, text, by in self.said:
            if at < run.made_at:
                continue
            if any(name in text for name in own) or (task.forged and by is task):
                return True
            if (task.forged or any(word in text for word in ALARMS)) and any(name in text for name in unknown):
                return True
        return False

    def is_kept(self, run: Run) -> bool:
        """Whether a handle or a write-ahead record leads to this run, or a record names it as one that may be ours."""
        task: Task = run.by.task
        record = self.written(task)
        handles = [self.airflow.xcom(task.task_id, HANDLE_KEY, task.map_index), record.get("handle")]
        if any(handle and self.run_of(handle) is run for handle in handles):
            return True
        if any(name in named for named in record.get("candidates", ()) for name in (run.run_id, _iso(run.made_at))):
            return True
        search = record.get("search", {})
        if record.get("phase") != "starting":
            return False
        if self.config.vendor == "axiom":
            return bool(search["name"] == run.of and search["after"] < _iso(run.made_at))
        return search["pipeline"] == run.of and run.run_id not in search["known"]

    def written(self, task: Task) -> dict[str, Any]:
        """Return what a task has stored for a further try, or, where none can read it, for callbacks."""
        if HAS_TASK_STORE:
            return self.airflow.stored(task.task_id, task.map_index) or self._beyond_a_clear(task)
        audit = self.airflow.xcom(task.task_id, AUDIT_KEY, task.map_index) or {}
        start = _opened(self.config.vendor, str(audit["start"].get("token"))) if "start" in audit else None
        return {"phase": audit["state"], "search": search_in(start)} if start else audit

    def _beyond_a_clear(self, task: Task) -> dict[str, Any]:
        names = [name for name in self.airflow.variables if name.startswith(prefix_of(task.key))]
        kept = self.airflow.variables[max(names, key=lambda name: attempt_of(name))] if names else None
        opened = _opened(self.config.vendor, json.loads(kept)["token"]) if kept else None
        record: dict[str, Any] = json.loads(opened.ids[RECORD]) if opened else {}
        return record

    def run_of(self, handle: Any) -> Run | None:
        """Return the run that a handle leads to, for whoever can open it."""
        opened = _opened(self.config.vendor, str(handle.get("token")))
        if opened is None:
            return None
        return next((run for run in self.vendor.runs if _leads_to(opened, run)), None)

    # -- what others do ----------------------------------------------------------------------------------

    def foreign_handle(self, run: Run) -> dict[str, Any]:
        """Return the handle of a run of another Dag run, as a hostile task may have copied it."""
        ids = {"ruuid": run.run_id} if self.config.vendor == "snaplogic" else {"name": run.of, "pid": "07"}
        owner = Owner(TaskKey(DAG_ID, "manual__0", "a"), 1)
        made_at = datetime.fromtimestamp(run.made_at, UTC)
        access = access_of(self.config.vendor)
        secret = {"pw": run.secret, "after": ""} if run.secret else {}
        handle = handle_of(
            ExternalRun(self.config.vendor, access.conn_id, run.run_id, None, made_at, {**ids, **secret}, owner), access
        )
        self.kept_handles.append(handle)
        return handle

    def forge(self, task: Task, handle: dict[str, Any]) -> None:
        """Put a handle at a task instance that has not stored it."""
        task.forged = True
        for run in self.runs_of(task):
            run.causes.add("forged")
        self.airflow.put_xcom(task.task_id, HANDLE_KEY, handle, task.map_index)

    def end(self) -> None:
        """Set the Dag run to failed, let the nets run, and see what is left."""
        self.world.ambushes.clear()
        self.vendor.troubles.clear()
        self.airflow.troubles.clear()
        if self.triggerer is None:
            self.start_triggerer()
        self.go_on(seconds=RETRY_DELAY / 2)
        for task in self.tasks:
            if task.state is not None and task.state not in FINAL:
                self.mark(task, "failed")
        self.go_on(seconds=3600.0)
        for task in self.tasks:
            if task.works:
                self.world.wrongs.append(f"{task.worker} never ends")
            for run in self.runs_of(task):
                if self.config.owner != "nobody" and not run.unseen and not self.is_named(run):
                    self.world.wrongs.append(f"promise 5: {run} is alive after the Dag run has ended")
        self.check()


class Triggerer:
    """A triggerer's process and its one event loop."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.process = Process("triggerer", "triggerer")
        self.loop: Loop | None = None
        self.following: dict[int, asyncio.Task[Any]] = {}
        self._waiting: list[Any] = []
        deployment.world.spawn(self.process, self._run)

    def _run(self) -> None:
        asyncio.run(self._forever())

    async def _forever(self) -> None:
        self.loop = asyncio.get_running_loop()  # type: ignore[assignment]
        for doing in self._waiting:
            self.loop.create_task(doing)  # type: ignore[union-attr]
        await asyncio.Event().wait()

    def _begin(self, doing: Any) -> asyncio.Task[Any] | None:
        if not self.process.alive:
            doing.close()
            return None
        if self.loop is None:
            self._waiting.append(doing)
            return None
        return self.loop.begin(doing)

    def follow(self, task: Task) -> None:
        """Run the trigger of a deferred task."""
        deployment, epoch = self.deployment, task.epoch
        assert task.deferral is not None
        deferral = task.deferral
        trigger = deployment.airflow.trigger_of(deferral, SimpleNamespace(ti=task.ti))

        async def run() -> None:
            acting.set("trigger")
            self.following[id(deferral)] = asyncio.current_task()  # type: ignore[assignment]
            try:
                async for event in trigger.run():
                    if task.epoch == epoch:
                        deployment.event(task, event.payload)
                    return
            except asyncio.CancelledError as error:
                if TRIGGERS_HEAR_OF_KILLS and error.args[:1] == ("user-action",):
                    # Allowed are 30 s, but Airflow 3.3.2 cancels again whenever it looks at its list of triggers.
                    with suppress(TimeoutError):
                        await asyncio.wait_for(trigger.on_kill(), 1)

        self._begin(run())

    def kill(self, deferral: Deferral | None) -> None:
        """A user acted on the deferred task."""
        self._cancel(deferral, "user-action")

    def drop(self, deferral: Deferral | None) -> None:
        """The trigger ends, and nobody acted."""
        self._cancel(deferral, None)

    def _cancel(self, deferral: Deferral | None, why: str | None) -> None:
        following = self.following.pop(id(deferral), None)
        if following is not None and self.process.alive and self.loop is not None:
            self._cancel_now(following, why)
            if not TRIGGERS_HEAR_OF_KILLS:
                self.deployment.world.at(CANCELLED_AGAIN, lambda: self._cancel_now(following, why))

    def _cancel_now(self, following: asyncio.Task[Any], why: str | None) -> None:
        if self.process.alive and self.loop is not None:
            following.cancel(why)
            self.loop.wake()

    def moved(self, task: Task) -> None:
        """Row 11: this triggerer takes a trigger that moved to it for one that was killed.

        Below 3.3 a trigger that moves is cancelled where it was, as one that was killed is.
        """
        assert task.deferral is not None
        if not TRIGGERS_HEAR_OF_KILLS:
            if task.state == "deferred":
                self.drop(task.deferral)
                self.follow(task)
            return
        trigger = self.deployment.airflow.trigger_of(task.deferral, SimpleNamespace(ti=task.ti))

        async def run() -> None:
            acting.set("spurious on_kill")
            await trigger.on_kill()

        self._begin(run())

    def deadline(self, names: frozenset[str] | None) -> None:
        """Run the callback of a deadline."""
        deployment = self.deployment
        context: Any = {
            "dag_run": {"dag_id": DAG_ID, "dag_run_id": RUN_ID, "state": "running"},
            "deadline": {"id": "1", "deadline_time": "now"},
        }

        async def run() -> None:
            acting.set("deadline")
            with deployment._stopping(names):
                notifier = StopRunsNotifier(task_ids=sorted(names) if names else None, context=context)
                try:
                    await notifier.async_notify(context)
                except Exception as error:
                    deployment.say(str(error))
            deployment.deadlines.remove(names)

        self._begin(run())


@cache
def access_of(vendor: str) -> Access:
    """Return what the one connection gives access to."""
    from airflow.sdk import Connection

    row = {**MODELS[vendor].connection}
    extra = row.pop("extra", {})
    conn = Connection(conn_id=f"{vendor}_default", **row)
    return hook_class(vendor).access_of(conn, extra)


@lru_cache(maxsize=4096)
def _opened(vendor: str, token: str) -> ExternalRun | None:
    try:
        return open_handle({"token": token}, access_of(vendor))
    except HandleError:
        return None


def _leads_to(opened: ExternalRun, run: Run) -> bool:
    ids = opened.ids
    if "pw" in ids:
        return ids["pw"] == run.secret
    if "created_at" in ids:
        return ids["name"] == run.of and ids["created_at"] == _iso(run.made_at)
    if "unstoppable" in ids:
        return ids["name"] == run.of and opened.started_at.timestamp() <= run.made_at
    return run.run_id == opened.run_id
