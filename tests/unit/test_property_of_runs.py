"""No orphan and no wrong stop, whatever happens: random stories of starts, watches, stops, faults, kills and retries.

``tests/models/deployment.py`` says what is real, what is modelled and what is promised; time is virtual, the
vendors are in memory (``vendors.py``). The same stories are told each time. To look for others:
``RUNCTL_STORIES=5000 pytest tests/unit/test_property_of_runs.py -p no:randomly``; hypothesis then prints a seed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import asgiref.sync
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from airflow_runctl import control, hooks, operators, transport, triggers, vendors
from airflow_runctl.compat import CLEARS_FORGET, HAS_TASK_STORE, TRIGGERS_HEAR_OF_KILLS, when_airflow_was_told
from airflow_runctl.control import attempt, recording, rounds
from airflow_runctl.runs import HANDLE_KEY
from airflow_runctl.transport import aio, sync
from airflow_runctl.transport.retry import Patience
from airflow_runctl.vendors import base
from airflow_runctl.vendors.snaplogic import org
from airflow_runctl.vendors.snaplogic import vendor as snaplogic
from tests.fakes.airflow_3 import in_place
from tests.models.deployment import FINAL, Config, Deployment, Task
from tests.models.vendors import MODELS, NEVER, Run, Trouble, Vendor
from tests.models.virtual_time import Thread, VirtualDatetime, new_world, sleep, virtual_time, world

structlog = pytest.importorskip("structlog", reason="what is modelled are the processes of Airflow 3")

STORIES = int(os.environ.get("RUNCTL_STORIES", "0"))

SETTINGS = settings(
    max_examples=STORIES or (50 if HAS_TASK_STORE else 25),
    stateful_step_count=30,
    derandomize=not STORIES,
    database=None,
    deadline=None,
    print_blob=True,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)

POINTS = (
    "start:sent",
    "start:done",
    "stop:sent",
    "stop:done",
    "resume:done",
    "look:sent",
    "list:sent",
    "SetXCom:external_run",
    "SetXCom:external_run_audit",
    "DeleteXCom:external_run",
    "GetXCom:external_run_audit",
    "SetTaskStateStore",
    "GetTaskStateStore",
    "GetTaskStates",
    "DeferTask",
    "RetryTask",
    "SucceedTask",
    "TaskState",
    *(("PutVariable", "GetVariable", "GetVariableKeys", "DeleteVariable") if CLEARS_FORGET else ()),
)
"""Where a process can be met; see ``World.pass_point``."""

MESSAGES = (
    "SetXCom:external_run",
    "SetXCom:external_run_audit",
    "DeleteXCom:external_run",
    "GetXCom:external_run",
    "GetXCom:external_run_audit",
    "SetTaskStateStore",
    "GetTaskStates",
    "DeferTask",
    *(("PutVariable",) if CLEARS_FORGET else ()),
)
"""Messages to Airflow that can fail."""

WORDS = {"snaplogic": ("Completed", "Failed", "Suspended"), "axiom": ("Success", "Failure")}

TASKS = st.sampled_from(["a", "a", "a", "b_0"])
A_WHILE = st.sampled_from([0, 0, 1, 2, 3, 5, 8, 13, 21, 34])
"""How many points are passed before something happens."""

BLOWS = ("sigkill", "sigkill", "sigterm", "mark failed", "mark success")
RETRIES = [0]
ON_RETRY = ["reattach"]
TO_TRIGGERS = ["dies or starts", "moves", "fails", "times out"]
if not TRIGGERS_HEAR_OF_KILLS:
    TO_TRIGGERS += ["moves"] * 4  # there it looks like a kill to each of them
if HAS_TASK_STORE:
    BLOWS += ("clear", "clear later")
    RETRIES += [1, 2]
    ON_RETRY += ["reattach", "resume", "restart"]


class Story(RuleBasedStateMachine):
    """One story; its choices are hypothesis'."""

    vendor: str
    deferrable: bool

    def __init__(self) -> None:
        super().__init__()
        self._stack = contextlib.ExitStack()
        self.world = self._stack.enter_context(new_world())
        self.deployment: Deployment = None  # type: ignore[assignment]

    @initialize(
        reply=st.sampled_from([0, 0, 1, 2]),
        retries=st.sampled_from(RETRIES),
        on_retry=st.sampled_from(ON_RETRY),
        owner=st.sampled_from(["task", "task", "task", "dag_run", "nobody"]),
        stop_on_kill=st.sampled_from([True, True, True, False]),
        limit=st.sampled_from(["", "", "execution_timeout", "max_runtime"]),
        own_callback=st.booleans(),
        second=st.booleans(),
    )
    def begin(self, reply: int, owner: str, limit: str, second: bool, **more: Any) -> None:
        if owner != "task":
            limit = ""
        how = MODELS[self.vendor].REPLIES[reply]
        config = Config(self.vendor, self.deferrable, how, owner=owner, limit=limit, **more)
        self.deployment = Deployment(self.world, config)
        self._stack.enter_context(in_place(self.deployment.airflow))
        self.deployment.start(self.task("a"))
        if second:
            self.deployment.start(self.task("b_0"))

    def teardown(self) -> None:
        try:
            if self.deployment is not None and not self.world.wrongs:
                self.deployment.end()
        finally:
            self._stack.close()

    # -- what the rules need -----------------------------------------------------------------------------

    @property
    def model(self) -> Vendor:
        return self.deployment.vendor

    def task(self, name: str) -> Task:
        return self.deployment.task(name)

    def live(self) -> list[Run]:
        return self.model.live()

    def handle(self, name: str) -> Any:
        task = self.task(name)
        return self.deployment.airflow.xcom(task.task_id, HANDLE_KEY, task.map_index)

    def foreign_may_start(self) -> bool:
        """Whether our start cannot be mistaken for somebody else's.

        Neither vendor marks the runs of a start whose answer is lost: they are found as what is new in a list. A
        foreign run that begins between our first look and our own run's coming to that list looks the same.
        """
        for task in self.deployment.tasks:
            record = self.deployment.written(task)
            mine = [run for run in self.model.runs if run.by is not None and run.by.task is task]
            if record.get("phase") == "starting":
                if not mine or mine[-1].by is not task.attempt or mine[-1].shown_at > self.world.now:
                    return False
            elif task.works and not self.handle(task.name):
                return False
        return True

    # -- time --------------------------------------------------------------------------------------------

    @rule(points=A_WHILE)
    def go_on(self, points: int) -> None:
        self.deployment.go_on(points=points, seconds=900.0)

    @rule(seconds=st.sampled_from([1.0, 8.0, 40.0, 150.0, 700.0]))
    def pass_time(self, seconds: float) -> None:
        self.deployment.go_on(seconds=seconds)

    # -- Airflow -----------------------------------------------------------------------------------------

    @rule(after=A_WHILE, name=TASKS, blow=st.sampled_from(BLOWS))
    def strike(self, after: int, name: str, blow: str) -> None:
        """Something ends an attempt from outside."""
        self.go_on(after)
        self._strike(name, blow)

    def _strike(self, name: str, blow: str) -> None:
        deployment, task = self.deployment, self.task(name)
        if blow == "sigkill":
            deployment.sigkill(task)
        elif blow == "sigterm":
            deployment.sigterm(task)
        elif blow.startswith("mark") and task.state not in {None, *FINAL}:
            deployment.mark(task, blow.removeprefix("mark "))
        elif blow.startswith("clear") and task.state not in {None, "restarting"}:
            deployment.clear(task, 5.0 if "later" in blow else 0.5)

    @rule(after=A_WHILE, task_id=st.sampled_from([None, None, "a", "b"]))
    def deadline(self, after: int, task_id: str | None) -> None:
        self.go_on(after)
        self.deployment.deadline(frozenset({task_id}) if task_id else None)

    @rule(after=A_WHILE, name=TASKS, what=st.sampled_from(TO_TRIGGERS))
    def triggerer(self, after: int, name: str, what: str) -> None:
        """Rows 10, 11, 14 and 3."""
        self.go_on(after)
        deployment, task = self.deployment, self.task(name)
        if what == "dies or starts":
            self._triggerer_dies_or_starts()
        elif what == "moves":
            if task.deferral is not None and task.state in {"deferred", "running"} and deployment.triggerer is not None:
                deployment.triggerer.moved(task)
        elif task.state == "deferred":
            deployment.trigger_fails(task, timed_out=what == "times out")

    def _triggerer_dies_or_starts(self) -> None:
        if self.deployment.triggerer is None:
            self.deployment.start_triggerer()
        else:
            self.deployment.stop_triggerer()

    @rule(
        point=st.sampled_from(POINTS), name=TASKS, what=st.sampled_from([*BLOWS, "deadline", "triggerer", "run ends"])
    )
    def ambush(self, point: str, name: str, what: str) -> None:
        """Something happens when the next process comes to a point."""
        others: dict[str, Callable[[], Any]] = {
            "deadline": lambda: self.deployment.deadline(None),
            "triggerer": self._triggerer_dies_or_starts,
            "run ends": lambda: self.live() and self.run_changes(0, 0),
        }
        self.world.ambushes[point] = others.get(what, lambda: self._strike(name, what))

    @rule(message=st.sampled_from(MESSAGES), times=st.sampled_from([1, 1, 2]))
    def airflow_trouble(self, message: str, times: int) -> None:
        self.deployment.airflow.troubles[message] = times

    @rule(name=TASKS)
    def inputs_change(self, name: str) -> None:
        """A mapped task's list changes, or the Dag's code."""
        task = self.task(name)
        task.inputs = str(1 - int(task.inputs))

    # -- the vendor --------------------------------------------------------------------------------------

    @rule(
        op=st.sampled_from(["start", "start", "stop", "resume", "look", "list"]),
        kind=st.sampled_from(Vendor.TROUBLES),
        times=st.sampled_from([1, 1, 2, 5]),
    )
    def vendor_trouble(self, op: str, kind: str, times: int) -> None:
        self.model.troubles.append(Trouble(op, kind, times))

    @rule(lag=st.sampled_from([0.0, 0.0, 3.0, 15.0]), stop_seconds=st.sampled_from([2.0, 30.0, 90.0, NEVER]))
    def vendor_mood(self, lag: float, stop_seconds: float) -> None:
        self.model.lag, self.model.stop_seconds = lag, stop_seconds

    @precondition(lambda self: self.live())
    @rule(which=st.integers(0, 3), word=st.integers(0, 2))
    def run_changes(self, which: int, word: int) -> None:
        live, words = self.live(), WORDS[self.vendor]
        self.model.set(live[which % len(live)], words[word % len(words)])

    @precondition(lambda self: self.foreign_may_start())
    @rule(of=st.sampled_from(["load-a", "load-a", "load-b"]))
    def somebody_else_starts(self, of: str) -> None:
        lag, self.model.lag = self.model.lag, 0.0
        self.model.new_run(of)
        self.model.lag = lag

    # -- handles -----------------------------------------------------------------------------------------

    @rule(name=TASKS, kind=st.sampled_from(["foreign", "other", "garbage", "renamed"]))
    def handle_is_forged(self, name: str, kind: str) -> None:
        """A hostile task writes into its own XComs."""
        handle = self.handle(name)
        foreign = [run for run in self.live() if run.by is None]
        forged: Any = None
        if kind == "foreign" and foreign:
            forged = self.deployment.foreign_handle(foreign[0])
        elif kind == "other":
            forged = self.handle("a" if name == "b_0" else "b_0")
        elif kind == "garbage" and handle:
            forged = {**handle, "token": handle["token"][:-6] + "AAAAAA"}
        elif kind == "renamed" and handle:
            forged = {**handle, "run_id": "another", "started_at": "2020-01-01T00:00:00+00:00"}
        if forged:
            self.deployment.forge(self.task(name), forged)

    @rule(name=TASKS, what=st.sampled_from(["stop", "stop", "resume", "stop somebody else's"]))
    def other_task(self, name: str, what: str) -> None:
        """Another task of the Dag run stops or resumes what a handle names."""
        handle, foreign = self.handle(name), [run for run in self.live() if run.by is None]
        if what == "stop somebody else's":
            handle = self.deployment.foreign_handle(foreign[0]) if foreign else None
        if handle and what != "resume":
            self.deployment.stop_by_task(handle)
        elif handle and self.vendor == "snaplogic":
            self.deployment.resume_by_task(handle)


# -- the seam --------------------------------------------------------------------------------------------


def send(session: Any, endpoint: Any, request: Any, patience: Patience) -> Any:
    """``transport.sync._send``, to the model."""
    flow = world().exchange(request, patience.timeout(endpoint.timeout_of(request)))  # type: ignore[misc]
    while True:
        try:
            seconds = next(flow)
        except StopIteration as stop:
            return stop.value
        world().wait(seconds)


async def asend(endpoint: Any, request: Any, patience: Patience, proxy: str | None = None) -> Any:
    """``transport.aio._send``, to the model."""
    flow = world().exchange(request, patience.timeout(endpoint.timeout_of(request)))  # type: ignore[misc]
    while True:
        try:
            seconds = next(flow)
        except StopIteration as stop:
            return stop.value
        await asyncio.sleep(seconds)


def sync_to_async(call: Callable[..., Any]) -> Callable[..., Any]:
    """``asgiref``'s, by which a connection is read in a thread up to Airflow 3.3.1; here it holds the loop up."""

    async def called(*args: Any, **kwargs: Any) -> Any:
        return call(*args, **kwargs)

    return called


def when_its_own_process_told(call: Callable[[], None]) -> None:
    """``compat.when_airflow_was_told``, where all processes share one list of listeners."""
    process = world().process

    def told() -> None:
        if world().process is process:
            call()
        elif process.alive:
            when_airflow_was_told(told)

    when_airflow_was_told(told)


class Heard(logging.Handler):
    """Errors in logs count as said."""

    def emit(self, record: logging.LogRecord) -> None:
        world().say(record.getMessage())


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Virtual time, the model in place of the network, and quiet logs."""
    from airflow.sdk.execution_time import supervisor, task_runner
    from airflow.sdk.execution_time.secrets.execution_api import ExecutionAPISecretsBackend

    from airflow_runctl.notifications import StopRunsNotifier
    from airflow_runctl.operators.base import StartRunOperator
    from airflow_runctl.triggers.run import ExternalRunTrigger

    monkeypatch.setattr(asgiref.sync, "sync_to_async", sync_to_async)
    monkeypatch.setattr(sync, "_send", send)
    monkeypatch.setattr(aio, "_send", asend)
    monkeypatch.setattr(sync, "_session", lambda endpoint: SimpleNamespace(close=lambda: None))
    # A story has few runs: let a list be asked for all the same.
    for module in (rounds, snaplogic):
        monkeypatch.setattr(module, "WORTH_A_LIST", 1)
    monkeypatch.setattr(attempt, "when_airflow_was_told", when_its_own_process_told)
    for module in (sync, recording):
        monkeypatch.setattr(module, "threading", SimpleNamespace(Thread=Thread))
    monkeypatch.setitem(sync.SyncTransport.__init__.__kwdefaults__, "sleep", sleep)
    # Neither costs of rendering nor a stack of contexts that belongs to one process.
    monkeypatch.setattr(task_runner, "_serialize_rendered_fields", lambda task: {})
    monkeypatch.setattr(task_runner, "set_current_context", contextlib.nullcontext)
    # The one for environment variables would be asked in a real thread.
    monkeypatch.setattr(supervisor, "ensure_secrets_backend_loaded", lambda: [ExecutionAPISecretsBackend()])
    ours = logging.getLogger("airflow_runctl")
    for logged in (StartRunOperator, ExternalRunTrigger, StopRunsNotifier):
        monkeypatch.setattr(logged, "log", ours, raising=False)
    handler, before = Heard(logging.ERROR), (ours.level, ours.propagate)
    ours.addHandler(handler)
    ours.setLevel(logging.ERROR)
    ours.propagate = False
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # tasks of a triggerer that was killed
    configured = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with virtual_time(control, hooks, operators, transport, triggers, vendors):
        yield
    structlog.configure(**configured)
    logging.getLogger("asyncio").setLevel(logging.NOTSET)
    ours.removeHandler(handler)
    ours.setLevel(before[0])
    ours.propagate = before[1]


def test_time_is_virtual_in_every_room_and_in_the_rooms_inside_it() -> None:
    real = base.datetime
    with virtual_time(vendors):
        assert base.datetime is org.datetime is VirtualDatetime
    assert base.datetime is org.datetime is real


@pytest.mark.usefixtures("stage")
@pytest.mark.parametrize("deferrable", [False, True], ids=["worker", "deferred"])
@pytest.mark.parametrize("vendor", sorted(MODELS))
def test_no_orphan_and_no_wrong_stop_whatever_happens(vendor: str, deferrable: bool) -> None:
    told = type(f"Story_{vendor}", (Story,), {"vendor": vendor, "deferrable": deferrable})
    run_state_machine_as_test(told, settings=SETTINGS)


@pytest.mark.usefixtures("stage")
def test_an_airflow_that_is_away_for_a_moment_does_not_end_the_search_for_a_run_whose_start_was_cut() -> None:
    """Found by the test above; the run was left alive."""
    story = type("Story_snaplogic", (Story,), {"vendor": "snaplogic", "deferrable": False})()
    story.begin(
        reply=0,
        retries=0,
        on_retry="reattach",
        owner="task",
        stop_on_kill=True,
        limit="",
        own_callback=False,
        second=True,
    )
    story.strike(after=0, blow="mark failed", name="a")
    story.pass_time(seconds=1.0)
    story.airflow_trouble(message="GetTaskStates", times=1)
    story.vendor_trouble(kind="cut", op="start", times=1)
    story.pass_time(seconds=8.0)
    story.teardown()
