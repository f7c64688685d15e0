"""What only Airflow 2.11 has: SLAs, time-outs that core itself enforces on deferred tasks, SIGTERM that raises."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_runctl import compat
from airflow_runctl.compat import IS_AIRFLOW_2, AirflowFailException, AirflowTaskTimeout
from airflow_runctl.control.records import AUDIT_KEY
from airflow_runctl.control.stop import StopNote
from airflow_runctl.notifications import StopRunsNotifier
from airflow_runctl.operators.axiom import AxiomTriggerRunOperator
from airflow_runctl.operators.base import StartRunOperator
from airflow_runctl.runs import HANDLE_KEY, StopReason, TaskKey
from airflow_runctl.sandbox.client import Sandbox, eventually
from airflow_runctl.transport.aio import close_session
from airflow_runctl.triggers.run import ExternalRunTrigger
from tests.fakes.airflow_any import Attempt, Deferral, event_of

if TYPE_CHECKING:
    from tests.fakes.airflow_2 import FakeAirflow

pytestmark = [
    pytest.mark.skipif(not IS_AIRFLOW_2, reason="this is about Airflow 2"),
    pytest.mark.usefixtures("brisk"),
]


def by_hand(fake: FakeAirflow, task_id: str = "start", **more: Any) -> AxiomTriggerRunOperator:
    """Return a start of a run that hangs, in a Dag without a schedule."""
    with fake.dag():
        return starts(task_id, **more)


def starts(task_id: str, **more: Any) -> AxiomTriggerRunOperator:
    return AxiomTriggerRunOperator(
        **{"task_id": task_id, "name": "Hang", "poll_interval": 0.05, "stop_timeout": 5.0, **more}
    )


@pytest.fixture(autouse=True)
def _stops_soon(box: Sandbox) -> None:
    box.behave("axiom", "Hang", stop_seconds=0.02)


def stop_of(fake: FakeAirflow, task_id: str = "start") -> tuple[str, str]:
    """Return reason and outcome of the recorded stop."""
    stop = fake.xcom(task_id, AUDIT_KEY)["stop"]
    return stop["reason"], stop["outcome"]


# -- SLAs ------------------------------------------------------------------------------------------------


class Late:
    """A Dag that is scheduled every ten minutes, and whose tasks ``load`` and ``scrape`` have SLAs.

    The run that ended ten minutes before ``due`` was good; Airflow finds that the one after it is late.
    """

    def __init__(self, fake: FakeAirflow, box: Sandbox) -> None:
        from airflow.models import DAG

        self.fake = fake
        self.box = box
        self.due = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5)
        every = timedelta(minutes=10)
        self.dag = DAG(fake.dag_id, schedule=every, start_date=self.due - 2 * every, catchup=False)
        fake.dag_run("good", self.due - every, state="success")
        for task_id in ("load", "scrape", "other"):
            fake.mark(task_id, "success", "good")

    def start(self, task_id: str = "load", run_id: str = "hung", due: datetime | None = None, **more: Any) -> Attempt:
        """Start a run that hangs, deferred unless told otherwise."""
        self.fake.dag_run(run_id, due or self.due)
        self.fake.run_id = run_id
        if task_id not in self.dag.task_ids:
            sla = None if task_id == "other" else timedelta(seconds=1)
            with self.dag:
                starts(task_id, sla=sla, **{"deferrable": True, **more})
        attempt = self.fake.run(self.dag.get_task(task_id), retries=3)
        assert attempt.state in {"deferred", "success"}, attempt.said
        return attempt

    def miss(self, *, again: bool = False, **more: Any) -> None:
        """Let Airflow look for misses, as its Dag processor does, and call the notifier.

        :param again: as if the call before had not come to its end.
        """
        from airflow.dag_processing.processor import DagFileProcessor
        from airflow.models import SlaMiss
        from airflow.utils.session import create_session

        if again:
            with create_session() as session:
                session.query(SlaMiss).update({"notification_sent": False})
        self.dag.sla_miss_callback = StopRunsNotifier(**{"stop_timeout": 5.0, **more})
        bag = SimpleNamespace(get_dag=lambda dag_id: self.dag)
        raised: list[BaseException] = []

        def process() -> None:
            try:
                DagFileProcessor.manage_slas("folder", self.dag.dag_id)
            except BaseException as error:
                raised.append(error)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DagFileProcessor, "_get_dagbag", lambda folder: bag)
            thread = threading.Thread(target=process, name="DagFileProcessor7-Thread")
            thread.start()
            thread.join()
        for error in raised:
            raise error

    def open(self) -> list[bool]:
        return [run["open"] for run in self.box.runs()]

    def stop_requests(self) -> list[int]:
        return [run["stop_requests"] for run in self.box.runs()]


@pytest.fixture
def late(fake: FakeAirflow, box: Sandbox) -> Iterator[Late]:
    yield Late(fake, box)
    assert box.seed not in fake.everything()


def test_run_of_a_task_that_missed_its_sla_is_stopped_and_the_reason_recorded(late: Late) -> None:
    late.start()
    late.miss(stop_reason="{{ dag.dag_id }} is late")
    assert late.open() == [False]
    stop = late.fake.xcom("load", AUDIT_KEY)["stop"]
    assert (stop["reason"], stop["outcome"], stop["by"]) == ("sla", "stopped", "Dag processor")
    assert stop["text"] == "harvest is late"
    assert late.fake.xcom("load", HANDLE_KEY) is None


def test_airflow_names_the_interval_after_the_one_that_hangs(late: Late) -> None:
    """Else the notifier would have an easier life, and these tests would prove nothing."""
    from airflow.models import SlaMiss
    from airflow.utils.session import create_session

    late.start()
    late.miss(dry_run=True)
    with create_session() as session:
        assert [(row.task_id, row.execution_date) for row in session.query(SlaMiss)] == [("load", late.due)]
    assert late.fake.row("load", run_id="hung").execution_date == late.due - timedelta(minutes=10)


def test_every_unfinished_dag_run_that_is_due_is_cleared_of_the_tasks_late_runs_and_no_other(late: Late) -> None:
    every = timedelta(minutes=10)
    late.start(run_id="older", due=late.due - 10 * every)
    late.start(run_id="hung")
    late.start("other", run_id="hung")
    late.start(run_id="newer", due=late.due + every)
    late.start(run_id="over", due=late.due - 5 * every, deferrable=False, wait_for_completion=False)
    late.fake.dag_run("over", state="failed")
    late.miss()
    assert late.open() == [False, False, True, True, True]
    assert late.stop_requests() == [1, 1, 0, 0, 0]


def test_dag_run_by_hand_of_now_is_not_late(late: Late) -> None:
    late.start(run_id="hung")
    late.fake.dag_run("by_hand")
    late.fake.run_id = "by_hand"
    assert late.fake.run(late.dag.get_task("load")).state == "deferred"
    late.miss()
    assert late.open() == [False, True]


def test_run_that_a_task_has_left_to_its_dag_run_is_stopped_when_the_task_misses_a_later_sla(late: Late) -> None:
    how: dict[str, Any] = {"deferrable": False, "wait_for_completion": False}
    late.start(run_id="older", due=late.due - timedelta(minutes=30), **how)
    late.start("scrape", run_id="hung")
    late.miss()
    assert late.open() == [False, False]


def test_task_that_has_met_its_sla_keeps_its_run(late: Late) -> None:
    """It left the run to the Dag run, in which another task is late."""
    late.start("load")
    late.start("scrape", deferrable=False, wait_for_completion=False)
    late.miss()
    assert late.open() == [False, True]


def test_callback_that_is_called_again_changes_nothing(late: Late) -> None:
    late.start()
    late.miss()
    audit = late.fake.xcom("load", AUDIT_KEY)
    late.miss(again=True)
    assert late.stop_requests() == [1]
    assert late.fake.xcom("load", AUDIT_KEY) == audit


@pytest.mark.parametrize(("task_ids", "left"), [(["scrape"], [True, False]), ("load", [False, True]), (["no"], [1, 1])])
def test_task_ids_narrow_what_is_stopped(late: Late, task_ids: Any, left: list[bool]) -> None:
    late.start("load")
    late.start("scrape")
    late.miss(task_ids=task_ids)
    assert late.open() == left


def test_task_ids_do_not_widen_what_is_stopped(late: Late) -> None:
    late.start("load")
    late.start("other")
    late.miss(task_ids=["load", "other"])
    assert late.open() == [False, True]


def test_dry_run_stops_nothing(late: Late, caplog: pytest.LogCaptureFixture) -> None:
    late.start()
    with caplog.at_level("INFO"):
        late.miss(dry_run=True)
    assert late.stop_requests() == [0]
    assert late.fake.xcom("load", AUDIT_KEY).get("stop") is None
    assert "1 runs would be stopped" in caplog.text


def test_run_that_an_sla_stopped_is_not_started_again_by_a_retry(late: Late) -> None:
    attempt = late.start()
    late.miss(stop_reason="too late")
    task = late.dag.get_task("load")
    attempt = late.fake.run(task, deferral=attempt.deferral, event=event_of(late.fake, attempt), retries=3)
    assert attempt.state == "failed"
    assert isinstance(attempt.error, AirflowFailException)
    assert "was stopped: sla (too late), by Dag processor" in attempt.said
    assert len(late.box.requests(operation="start")) == 1


def test_run_that_cannot_be_stopped_is_told_to_airflow_and_the_others_are_stopped(
    late: Late, caplog: pytest.LogCaptureFixture
) -> None:
    late.start("load", name="Queued")
    late.start("scrape")
    late.miss()
    assert late.open() == [True, False]
    assert "Failed to send notification: Not every run was stopped. axiom.ai run Queued" in caplog.text


# -- core's own time-out of a deferred task ----------------------------------------------------------------


def hours_pass(fake: FakeAirflow, hours: int = 2) -> None:
    """Move what Airflow remembers of the deferred task into the past."""
    from airflow.models import TaskInstance
    from airflow.utils.session import create_session

    with create_session() as session:
        row = session.query(TaskInstance).filter_by(task_id="start").one()
        row.start_date -= timedelta(hours=hours)
        row.trigger_timeout -= timedelta(hours=hours)


def scheduler_looks_for_timeouts() -> None:
    from airflow.jobs.job import Job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner

    SchedulerJobRunner(Job()).check_trigger_timeouts()


def deferred(fake: FakeAirflow, **more: Any) -> Attempt:
    limit = timedelta(hours=1)
    attempt = fake.run(by_hand(fake, deferrable=True, execution_timeout=limit, **more), retries=1)
    assert attempt.state == "deferred", attempt.said
    return attempt


@pytest.mark.parametrize(
    ("limit", "lead"),
    [(timedelta(hours=1), 30.0), (timedelta(minutes=1), 6.0), (timedelta(seconds=20), 2.0)],
)
def test_limit_of_the_trigger_lies_ahead_of_cores_own(
    fake: FakeAirflow, box: Sandbox, limit: timedelta, lead: float
) -> None:
    attempt = fake.run(by_hand(fake, deferrable=True, execution_timeout=limit))
    assert attempt.deferral is not None
    core = attempt.deferral.timeout
    assert core == attempt.ti.start_date + limit
    ours = attempt.deferral.trigger_kwargs["limits"]["execution_timeout"]
    assert core.timestamp() - ours == pytest.approx(lead)


def test_limit_of_a_task_on_a_worker_is_all_of_its_own(fake: FakeAirflow, box: Sandbox) -> None:
    limit = timedelta(seconds=2)
    began = time.monotonic()
    attempt = fake.run(by_hand(fake, execution_timeout=limit))
    assert isinstance(attempt.error, AirflowTaskTimeout)
    assert time.monotonic() - began >= limit.total_seconds(), "a tenth of it is for a task that is deferred"
    assert box.open_runs() == []


def comes_back(fake: FakeAirflow, attempt: Attempt, **more: Any) -> Attempt:
    """Go on where Airflow's row says, in a process that knows nothing yet."""
    row = fake.row()
    gone = Deferral("", {}, None, row.next_method, row.next_kwargs or {})
    operator = by_hand(fake, deferrable=True, execution_timeout=timedelta(hours=1))
    return fake.run(operator, deferral=gone, retries=1, **more)


def test_run_of_a_task_that_airflow_timed_out_is_stopped_and_closed_when_it_comes_back(
    fake: FakeAirflow, box: Sandbox
) -> None:
    """No trigger was there to do it. Core raises before any method of ours, and calls ``on_kill`` of a fresh one."""
    attempt = deferred(fake)
    hours_pass(fake)
    scheduler_looks_for_timeouts()
    row = fake.row()
    assert (row.state, row.next_method) == ("scheduled", "__fail__")
    attempt = comes_back(fake, attempt)
    assert isinstance(attempt.error, AirflowTaskTimeout)
    assert attempt.state == "up_for_retry"
    assert box.open_runs() == []
    assert stop_of(fake) == ("execution_timeout", "stopped")
    assert fake.xcom("start", HANDLE_KEY) is None


def test_task_that_comes_back_too_late_with_an_event_stops_its_run(fake: FakeAirflow, box: Sandbox) -> None:
    attempt = deferred(fake)
    handle = fake.xcom("start", HANDLE_KEY)
    hours_pass(fake)
    lost = {HANDLE_KEY: handle, "status": None, "limit": None, "lost": "x", "stop": None}
    attempt = comes_back(fake, attempt, event=lost)
    assert isinstance(attempt.error, AirflowTaskTimeout)
    assert box.open_runs() == []
    assert fake.xcom("start", HANDLE_KEY) is None


def test_task_that_comes_back_too_late_from_a_run_that_is_over_stops_nothing(fake: FakeAirflow, box: Sandbox) -> None:
    attempt = deferred(fake)
    box.set_run(box.runs()[0]["run_id"], "Success")
    hours_pass(fake)
    attempt = comes_back(fake, attempt)
    assert isinstance(attempt.error, AirflowTaskTimeout)
    assert box.requests(operation="stop") == []
    assert fake.xcom("start", HANDLE_KEY) is None


def test_run_that_was_stopped_for_good_gets_no_retry_though_core_times_the_task_out(
    fake: FakeAirflow, box: Sandbox
) -> None:
    attempt = deferred(fake)
    handle = fake.xcom("start", HANDLE_KEY)
    shown = {name: handle[name] for name in ("vendor", "conn_id", "run_id", "url", "started_at")}
    note = StopNote(StopReason.SLA, "Dag processor", "too late").out()
    fake.put_xcom("start", AUDIT_KEY, {**shown, "stop": note})
    hours_pass(fake)
    attempt = comes_back(fake, attempt)
    assert isinstance(attempt.error, AirflowFailException)
    assert attempt.state == "failed"
    assert box.open_runs() == []


# -- a trigger that is cancelled ---------------------------------------------------------------------------


def cancelled(fake: FakeAirflow, box: Sandbox, attempt: Attempt, before: Callable[[], object]) -> None:
    """Cancel a trigger in the middle of its watch; that is all that a triggerer does."""
    trigger: ExternalRunTrigger = fake.trigger_of(attempt.deferral, attempt)

    async def watch() -> None:
        looks = len(box.requests(operation="status"))
        watching = asyncio.create_task(anext(trigger.run()))  # type: ignore[arg-type]
        await asyncio.to_thread(eventually, lambda: len(box.requests(operation="status")) > looks)
        await asyncio.to_thread(before)
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching
        await close_session()

    asyncio.run(watch())


def test_run_of_a_task_that_a_user_clears_is_stopped(fake: FakeAirflow, box: Sandbox) -> None:
    def clear() -> None:
        from airflow.models import TaskInstance
        from airflow.models.taskinstance import clear_task_instances
        from airflow.utils.session import create_session

        with create_session() as session:
            clear_task_instances(session.query(TaskInstance).all(), session, dag=attempt.task.dag)

    attempt = deferred(fake)
    cancelled(fake, box, attempt, clear)
    row = fake.row()
    assert (row.state, row.next_method) == (None, None)
    assert box.open_runs() == []
    assert stop_of(fake) == ("user", "stopped")


@pytest.mark.parametrize("state", ["failed", "success"])
def test_run_of_a_task_that_a_user_marks_is_stopped(fake: FakeAirflow, box: Sandbox, state: str) -> None:
    def mark() -> None:
        from airflow.models import TaskInstance
        from airflow.utils.session import create_session

        with create_session() as session:
            session.query(TaskInstance).one().set_state(state, session=session)

    attempt = deferred(fake)
    cancelled(fake, box, attempt, mark)
    assert fake.row().next_method == "execute_complete", "Airflow leaves that, and it must not mislead"
    assert box.open_runs() == []
    assert stop_of(fake) == ("user", "stopped")


def test_trigger_that_airflow_takes_away_as_it_times_the_task_out_leaves_the_stop_to_the_task(
    fake: FakeAirflow, box: Sandbox
) -> None:
    """Else the stop would look like a user's, and no retry would come."""

    def time_out() -> None:
        hours_pass(fake)
        scheduler_looks_for_timeouts()

    attempt = deferred(fake)
    cancelled(fake, box, attempt, time_out)
    assert [run["stop_requests"] for run in box.runs()] == [0]
    attempt = comes_back(fake, attempt)
    assert attempt.state == "up_for_retry"
    assert box.open_runs() == []
    assert stop_of(fake) == ("execution_timeout", "stopped")


def test_trigger_of_a_triggerer_that_restarts_stops_nothing(fake: FakeAirflow, box: Sandbox) -> None:
    cancelled(fake, box, deferred(fake), lambda: None)
    assert [run["stop_requests"] for run in box.runs()] == [0]
    assert fake.xcom("start", HANDLE_KEY) is not None


# -- a kill on the worker ----------------------------------------------------------------------------------


def marked_and_killed(fake: FakeAirflow, box: Sandbox, state: str, **more: Any) -> Attempt:
    """Mark a running task as a user does; Airflow then sends SIGTERM."""

    def act() -> None:
        eventually(lambda: box.requests(operation="status"))
        fake.mark("start", state)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=act)
    thread.start()
    try:
        return fake.run(by_hand(fake, **more), retries=3)
    finally:
        thread.join()


@pytest.mark.parametrize("state", ["success", "failed", "skipped"])
def test_what_a_user_has_marked_stays_and_the_run_is_stopped(fake: FakeAirflow, box: Sandbox, state: str) -> None:
    """Airflow looks for a mark only when its own error is raised; with another the task would be up for retry."""
    assert marked_and_killed(fake, box, state).state == state
    assert [(run["open"], run["stop_requests"]) for run in box.runs()] == [(False, 1)]


def test_what_a_user_has_marked_stays_though_the_run_may_not_be_stopped(fake: FakeAirflow, box: Sandbox) -> None:
    assert marked_and_killed(fake, box, "failed", stop_on_kill=False).state == "failed"
    assert [run["stop_requests"] for run in box.runs()] == [0]


def test_worker_that_is_drained_lets_the_task_be_tried_again(fake: FakeAirflow, box: Sandbox) -> None:
    assert marked_and_killed(fake, box, "running").state == "up_for_retry"
    assert box.open_runs() == []


@pytest.mark.parametrize("state", ["success", "failed", "skipped"])
def test_task_that_a_user_has_marked_before_it_defers_does_not_defer_and_its_run_is_stopped(
    fake: FakeAirflow, box: Sandbox, state: str
) -> None:
    """Airflow would write over the mark, and the trigger would follow the run."""
    attempt = fake.run(by_hand(fake, deferrable=True), retries=1, marked=state)
    assert attempt.state == state
    assert attempt.deferral is None
    assert box.open_runs() == []
    assert fake.xcom("start", HANDLE_KEY) is None


def test_handler_of_airflow_is_back_once_the_run_is_over(fake: FakeAirflow, box: Sandbox) -> None:
    """What other operators and Airflow itself do after ours is theirs."""
    before: list[Any] = []
    original = StartRunOperator.execute

    def execute(self: StartRunOperator, context: Any, **more: Any) -> Any:
        before.append(signal.getsignal(signal.SIGTERM))
        try:
            return original(self, context)
        finally:
            before.append(signal.getsignal(signal.SIGTERM))

    box.behave("axiom", "Hang", run_seconds=0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StartRunOperator, "execute", execute)
        assert fake.run(by_hand(fake)).state == "success"
    assert before[0] is before[1]
    assert "signal_handler" in before[0].__qualname__


# -- what compat asks of the database ------------------------------------------------------------------------


def test_xcom_is_deleted_alone_and_a_missing_one_is_no_error(fake: FakeAirflow) -> None:
    for task_id, map_index in (("t", 0), ("t", 1), ("u", -1)):
        fake.put_xcom(task_id, "key", "value", map_index)
    fake.put_xcom("t", "other key", "value", 1)
    where = TaskKey(fake.dag_id, fake.run_id, "t", 1)
    compat.delete_xcom("key", where)
    compat.delete_xcom("key", where)
    left = sorted((task_id, index, *row) for (_, _, task_id, index), row in fake.xcoms.items())
    assert left == [("t", 0, "key"), ("t", 1, "other key"), ("u", -1, "key")]


def test_what_an_xcom_backend_keeps_elsewhere_is_purged_too(fake: FakeAirflow, monkeypatch: pytest.MonkeyPatch) -> None:
    purged: list[str] = []
    monkeypatch.setattr(compat.XCom, "purge", staticmethod(lambda xcom, session: purged.append(xcom.key)))
    fake.put_xcom("t", "key", "value")
    compat.delete_xcom("key", TaskKey(fake.dag_id, fake.run_id, "t"))
    assert purged == ["key"]


def test_task_states_are_those_of_one_dag_run_by_the_names_that_airflow_3_gives_them(fake: FakeAirflow) -> None:
    fake.put_xcom("mapped", "key", 1, 0)
    fake.put_xcom("mapped", "key", 1, 1)
    fake.states["mapped_1"] = "running"
    fake.states["plain"] = "failed"
    fake.mark("plain", "success", "another_run")
    channel = compat.callback_channel()
    asked = asyncio.run(channel.task_states(fake.dag_id, fake.run_id))
    assert asked == {"mapped_0": None, "mapped_1": "running", "plain": "failed"}
    one = TaskKey(fake.dag_id, fake.run_id, "mapped", 1)
    assert asyncio.run(channel.task_states(fake.dag_id, fake.run_id, one)) == {"mapped_1": "running"}


@pytest.mark.parametrize(
    ("state", "next_method", "seen"),
    [
        ("scheduled", "execute_complete", "deferred"),
        ("queued", "__fail__", "deferred"),
        ("scheduled", None, "scheduled"),
        ("running", "execute_complete", "running"),
        ("failed", "execute_complete", "failed"),
        (None, None, None),
    ],
)
def test_task_between_its_trigger_and_its_worker_is_the_deferred_attempt_still(
    fake: FakeAirflow, box: Sandbox, state: str | None, next_method: str | None, seen: str | None
) -> None:
    from airflow.models import TaskInstance
    from airflow.utils.session import create_session

    fake.states["start"] = state
    with create_session() as session:
        session.query(TaskInstance).update({"next_method": next_method})
    assert asyncio.run(compat.TriggererChannel().task_states(fake.dag_id, fake.run_id)) == {"start": seen}


def test_unfinished_dag_runs_are_told_with_the_moment_from_which_they_could_start(fake: FakeAirflow) -> None:
    due = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    fake.dag_run("waits", due, state="queued")
    fake.dag_run("runs", due + timedelta(minutes=10))
    fake.dag_run("over", due - timedelta(hours=1), state="failed")
    before = datetime.now(UTC)
    fake.dag_run("by_hand")
    found = compat.unfinished_dag_runs(fake.dag_id)
    assert found.pop("by_hand") >= before
    assert found == {"waits": due, "runs": due + timedelta(minutes=10)}
    assert compat.unfinished_dag_runs("another") == {}


@pytest.mark.parametrize(("name", "there"), [("DagFileProcessor12-Thread", True), ("MainThread", False)])
def test_dag_processor_is_known_and_can_write(name: str, there: bool) -> None:
    found: list[Any] = []
    thread = threading.Thread(
        target=lambda: found.extend([compat.in_dag_processor(), compat.callback_channel().writable]), name=name
    )
    thread.start()
    thread.join()
    assert found == [there, True]
