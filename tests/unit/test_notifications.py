"""``StopRunsNotifier`` in its three forms (triggerer, worker, Dag processor), and where it cannot work."""

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_runctl.compat import CLEARS_FORGET, IS_AIRFLOW_2, AirflowFailException
from airflow_runctl.control import stop_dag_run, stop_many
from airflow_runctl.control.attempt import Attempt as RunAttempt
from airflow_runctl.control.records import AUDIT_KEY
from airflow_runctl.exceptions import RunctlError
from airflow_runctl.notifications import StopRunsNotifier
from airflow_runctl.operators.axiom import AxiomTriggerRunOperator
from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator
from airflow_runctl.runs import HANDLE_KEY
from airflow_runctl.sandbox.client import Sandbox, eventually
from airflow_runctl.transport.aio import close_session
from airflow_runctl.transport.retry import Patience
from airflow_runctl.vendors.axiom.vendor import Axiom
from airflow_runctl.vendors.snaplogic.vendor import SnapLogic
from tests.fakes.airflow_3 import FakeAirflow, Unanswered
from tests.fakes.airflow_any import Attempt, Start
from tests.servers.odd_server import Answer, OddServer, say
from tests.unit.versions import needs_deadlines

pytestmark = pytest.mark.usefixtures("brisk")

DEADLINE = {
    "dag_run": {"dag_id": "harvest", "dag_run_id": "manual__1", "state": "running"},
    "deadline": {"id": "d-1", "deadline_time": "2026-01-01T00:00:00Z"},
}
SYNC = {"dag_run": SimpleNamespace(dag_id="harvest", run_id="manual__1")}
FORMS = ["triggerer", "worker", "Dag processor"]

DAG_PROCESSOR_WRITES = IS_AIRFLOW_2
"""There it has the database, as every process."""

KEPT = ("GetVariableKeys", "DeleteVariable") if CLEARS_FORGET else ()
"""What it asks about what is kept beyond clears, and may delete."""


class Stops:
    """A Dag run with runs in it, and the notifier that stops them."""

    def __init__(self, fake: FakeAirflow, box: Sandbox) -> None:
        self.fake = fake
        self.box = box

    def operator(self, vendor: str, task_id: str, **more: Any) -> Any:
        arguments = {"task_id": task_id, "poll_interval": 0.05, "stop_timeout": 5.0, **more}
        with self.fake.dag():
            if vendor == "snaplogic":
                return SnapLogicTriggerTaskOperator(task_path="projects/sales/early-hang", **arguments)
            return AxiomTriggerRunOperator(**{"name": "Hang", **arguments})

    def start(self, vendor: str = "snaplogic", task_id: str = "start", map_index: int = -1, **more: Any) -> Attempt:
        """Start a run that hangs, deferred unless told otherwise."""
        attempt = self.fake.run(self.operator(vendor, task_id, **{"deferrable": True, **more}), map_index=map_index)
        assert attempt.state in {"deferred", "success"}, attempt.said
        return attempt

    def deadline(self, **more: Any) -> list[dict[str, Any]]:
        """Call the notifier as the triggerer calls an ``AsyncCallback``."""
        said: list[dict[str, Any]] = json.loads(asyncio.run(self.adeadline(**more)))
        return said

    async def adeadline(self, **more: Any) -> str:
        context = json.loads(json.dumps(DEADLINE))
        notifier = StopRunsNotifier(**{"stop_timeout": 5.0, **more}, context=context)
        try:
            # Airflow 2 has no deadlines; what they share with the other forms is tested there all the same.
            said: str = await (notifier.async_notify(context) if IS_AIRFLOW_2 else notifier)
            return said
        finally:
            await close_session()

    def stop(self, form: str, **more: Any) -> None:
        """Stop the runs in one of the three forms."""
        if form == "triggerer":
            self.deadline(**more)
            return
        notifier = StopRunsNotifier(**{"stop_timeout": 5.0, **more})
        if form == "Dag processor":
            self.in_dag_processor(lambda: notifier.notify(dict(SYNC)))  # type: ignore[arg-type]
        else:
            notifier.notify(dict(SYNC))  # type: ignore[arg-type]

    def in_dag_processor(self, call: Callable[[], None]) -> None:
        """Call something where a Dag's callbacks run, and raise what it raises."""
        if not IS_AIRFLOW_2:
            self.into_dag_processor()
            call()
            return
        raised: list[Exception] = []

        def run() -> None:
            try:
                call()
            except Exception as error:
                raised.append(error)

        thread = threading.Thread(target=run, name="DagFileProcessor7-Thread")  # it is known by that name
        thread.start()
        thread.join()
        for error in raised:
            raise error

    def into_dag_processor(self) -> None:
        """There, in Airflow 3, a write is never answered."""
        from airflow.dag_processing.processor import ToDagProcessor
        from pydantic import TypeAdapter

        self.fake.body_decoder = TypeAdapter(ToDagProcessor)
        for message in ("SetXCom", "DeleteXCom", "SetTaskStateStore", "GetTaskStateStore"):
            self.fake.refuse(message).error = Unanswered(message)

    def states(self) -> list[bool]:
        return [run["open"] for run in self.box.runs()]


@pytest.fixture
def stops(fake: FakeAirflow, box: Sandbox, caplog: pytest.LogCaptureFixture) -> Iterator[Stops]:
    box.behave("snaplogic", "early-hang", stop_seconds=0.02)
    box.behave("axiom", "Hang", stop_seconds=0.02)
    with caplog.at_level("INFO"):
        yield Stops(fake, box)
    assert box.seed not in fake.everything()
    assert box.seed not in caplog.text


# -- what is stopped -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_every_live_run_of_the_dag_run_is_stopped(stops: Stops, box: Sandbox, form: str) -> None:
    stops.start("snaplogic", "one")
    stops.start("axiom", "two")
    stops.start("snaplogic", "three", deferrable=False, wait_for_completion=False)
    stops.fake.states["other"] = "success"
    stops.stop(form)
    assert stops.states() == [False, False, False]
    assert [run["stop_requests"] for run in box.runs()] == [1, 1, 1]


def test_deadline_says_what_it_did_as_text(stops: Stops, box: Sandbox) -> None:
    stops.start("snaplogic", "one")
    (said,) = stops.deadline()
    assert said == {
        "run": f"SnapLogic run {box.runs()[0]['run_id']}",
        "task": "harvest/manual__1/one",
        "outcome": "stopped",
        "seconds": said["seconds"],
        "error": None,
    }


@pytest.mark.parametrize(("form", "reason"), [("triggerer", "deadline"), ("worker", "failure")])
def test_intent_and_outcome_are_recorded_and_the_handle_goes(
    stops: Stops, box: Sandbox, form: str, reason: str
) -> None:
    stops.start("axiom")
    recorded: list[tuple[Any, int]] = []

    def hear(message: Any) -> None:
        if type(message).__name__ == "SetXCom" and message.key == AUDIT_KEY:
            recorded.append((message.value["stop"]["outcome"], len(box.requests(operation="stop"))))

    stops.fake.on_message = hear
    stops.stop(form, stop_reason="too late")
    assert recorded == [(None, 0), ("stopped", 1)]
    stop = stops.fake.xcom("start", AUDIT_KEY)["stop"]
    assert (stop["reason"], stop["text"], stop["outcome"]) == (reason, "too late", "stopped")
    assert stops.fake.xcom("start", HANDLE_KEY) is None


def test_dag_processor_writes_nothing_where_it_cannot_and_logs_the_outcome(
    stops: Stops, box: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    stops.start()
    sent = len(stops.fake.messages)
    stops.stop("Dag processor")
    kinds = {type(message).__name__ for message in stops.fake.messages[sent:]}
    written = {"SetXCom", "DeleteXCom"} if DAG_PROCESSOR_WRITES else set()
    assert kinds - {"GetTaskStates", "GetXCom", "GetConnection", "MaskSecret", *KEPT} == written
    assert f"SnapLogic run {box.runs()[0]['run_id']}: stopped in" in caplog.text
    assert "by Dag processor" in caplog.text


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_asked_of_a_vendor_if_no_run_is_recorded(stops: Stops, box: Sandbox, form: str) -> None:
    stops.fake.states["start"] = "success"
    stops.stop(form)
    assert box.requests() == []


@pytest.mark.parametrize("vendor", ["snaplogic", "axiom"])
def test_deadline_after_the_run_is_over_changes_nothing(stops: Stops, box: Sandbox, vendor: str) -> None:
    """The end was not seen by Airflow yet: the handle is still there."""
    stops.start(vendor)
    box.set_run(box.runs()[0]["run_id"], {"snaplogic": "Completed", "axiom": "Success"}[vendor])
    (said,) = stops.deadline()
    assert said["outcome"] == "already_finished"
    assert box.requests(operation="stop") == []


def test_callback_that_runs_again_changes_nothing(stops: Stops, box: Sandbox) -> None:
    stops.start()
    assert len(stops.deadline()) == 1
    assert stops.deadline() == []
    assert box.runs()[0]["stop_requests"] == 1


def test_runs_that_were_left_on_purpose_are_left(stops: Stops, box: Sandbox) -> None:
    stops.start("snaplogic", "left", deferrable=False, wait_for_completion=False, leave_running=True)
    stops.start("snaplogic", "kept", deferrable=False, wait_for_completion=False)
    assert len(stops.deadline()) == 1
    assert stops.states() == [True, False]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("task_ids", "left"),
    [
        ("one", [False, True, True]),
        (["one", "two"], [False, False, True]),
        ("['one', \"two\"]", [False, False, True]),
        ('["one"]', [False, True, True]),
    ],
)
def test_only_the_runs_of_named_tasks_are_stopped(
    stops: Stops, box: Sandbox, form: str, task_ids: Any, left: list[bool]
) -> None:
    for name in ("one", "two", "three"):
        stops.start("snaplogic", name)
    stops.stop(form, task_ids=task_ids)
    assert stops.states() == left


@pytest.mark.parametrize("form", FORMS)
def test_name_that_is_no_task_is_an_error_once_the_others_are_stopped(stops: Stops, box: Sandbox, form: str) -> None:
    for name in ("one", "two"):
        stops.start("snaplogic", name)
    with pytest.raises(RunctlError, match="task_ids names 'no', which is no task of this Dag run; there are one, two"):
        stops.stop(form, task_ids=["one", "no"])
    assert stops.states() == [False, True]


def test_tasks_of_a_named_group_and_instances_of_a_mapped_task_are_meant(stops: Stops, box: Sandbox) -> None:
    stops.start("snaplogic", "group.one")
    stops.start("snaplogic", "mapped", map_index=2)
    stops.start("snaplogic", "other")
    stops.deadline(task_ids=["group", "mapped"])
    assert stops.states() == [False, False, True]


@pytest.mark.parametrize("task_ids", [[], "", "[]", 7, ["one", ""], {"one": 1}])
def test_task_ids_that_name_nothing_are_refused_when_the_dag_is_parsed(task_ids: Any) -> None:
    with pytest.raises(ValueError, match=r"StopRunsNotifier: task_ids is .*; give ids of tasks, one at least"):
        StopRunsNotifier(task_ids=task_ids)


@pytest.mark.parametrize("odd", [{"task_ids": []}, {"dry_run": "false"}])
def test_deadline_that_cannot_know_what_is_meant_stops_nothing_and_says_so(
    stops: Stops, box: Sandbox, odd: dict[str, Any]
) -> None:
    """Its arguments travelled as plain data: nobody has looked at them before."""
    stops.start()
    with pytest.raises(RunctlError, match=f"{next(iter(odd))} is .*Nothing was stopped"):
        stops.deadline(**odd)
    assert stops.states() == [True]


def test_deadline_with_an_odd_timeout_stops_all_the_same_and_says_so(stops: Stops, box: Sandbox) -> None:
    stops.start()
    with pytest.raises(RunctlError, match=r"stop_timeout is '60'.*default was taken instead"):
        stops.deadline(stop_timeout="60")
    assert stops.states() == [False]


def test_dry_run_only_says_what_it_would_stop(stops: Stops, box: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    stops.start()
    (said,) = stops.deadline(dry_run=True)
    assert (said["task"], said["outcome"], said["error"]) == ("harvest/manual__1/start", None, None)
    assert stops.states() == [True]
    assert box.requests(operation="stop") == []
    assert stops.fake.xcom("start", AUDIT_KEY).get("stop") is None
    assert "would be stopped" in caplog.text


@pytest.mark.parametrize("form", FORMS)
def test_stop_that_was_accepted_and_did_nothing_is_asked_for_again(
    stops: Stops, box: Sandbox, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SnapLogic, "stop_again_after", (0.1,))
    stops.start(task_id="deaf")
    stops.start(task_id="other")
    box.fault("snaplogic", "stop", "body", body={}, count=1)
    stops.stop(form)
    assert stops.states() == [False, False]
    assert len(box.requests(operation="stop")) == 3


def test_stop_that_nobody_waits_for_was_only_requested(stops: Stops, box: Sandbox) -> None:
    box.behave("snaplogic", "early-hang", stop_seconds=60)
    stops.start()
    (said,) = stops.deadline(wait_for_stop=False)
    assert said["outcome"] == "requested"
    assert box.runs()[0]["stop_requests"] == 1
    assert stops.fake.xcom("start", HANDLE_KEY) is not None, "whoever comes next must find it"


def test_stop_that_nobody_waits_for_outlives_a_moment_of_rate_limit(stops: Stops, box: Sandbox) -> None:
    stops.start()
    box.fault("snaplogic", "stop", "status", status=429, count=2)
    stops.deadline(wait_for_stop=False)
    assert box.wait_for_state(box.runs()[0]["run_id"], "Stopped")


# -- mapped tasks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_runs_of_mapped_tasks_are_stopped(stops: Stops, box: Sandbox, form: str) -> None:
    for index in (0, 1, 10):
        stops.start("snaplogic", "t", map_index=index)
    assert set(stops.fake.states) == {"t_0", "t_1", "t_10"}
    stops.stop(form)
    assert stops.states() == [False, False, False]
    if form != "Dag processor" or DAG_PROCESSOR_WRITES:
        assert stops.fake.xcom("t", AUDIT_KEY, 10)["stop"]["outcome"] == "stopped"


def test_task_that_is_named_like_a_mapped_one_is_stopped_too(stops: Stops, box: Sandbox) -> None:
    stops.start("snaplogic", "t_0")
    stops.start("snaplogic", "t", map_index=1)
    stops.deadline()
    assert stops.states() == [False, False]


def test_mapped_task_is_named_by_its_id(stops: Stops, box: Sandbox) -> None:
    stops.start("snaplogic", "t", map_index=0)
    stops.start("snaplogic", "t_0")
    stops.deadline(task_ids=["t"])
    assert stops.states() == [False, True]


# -- starts in flight ------------------------------------------------------------------------------------


class InFlight(threading.Thread):
    """A worker whose call to the vendor is under way."""

    def __init__(self, stops: Stops, seconds: float, **more: Any) -> None:
        super().__init__(daemon=True)
        self.stops, self.more = stops, more
        self.attempt: Attempt | None = None
        stops.box.fault("snaplogic", "start", "latency", seconds=seconds, count=1)

    def run(self) -> None:
        # Not through the task runner: signal handlers belong to the main thread.
        operator = self.stops.operator("snaplogic", "start", **self.more)
        ti = self.stops.fake.instance_of(Start(operator, retries=3))
        context = ti.get_template_context()
        self.stops.fake.states["start"] = "running"
        self.error: BaseException | None = None
        try:
            operator.execute(context)
        except BaseException as error:
            self.error = error
        self.stops.fake.states["start"] = "failed"

    def __enter__(self) -> "InFlight":
        before = len(self.stops.box.requests(operation="start"))
        self.start()
        eventually(lambda: len(self.stops.box.requests(operation="start")) > before)
        return self

    def __exit__(self, *error: object) -> None:
        self.join(20)
        assert not self.is_alive()


def test_deadline_that_meets_a_start_in_flight_stops_its_run(stops: Stops, box: Sandbox) -> None:
    with InFlight(stops, 0.5) as worker:
        assert box.runs() == []
        said = stops.deadline()
    assert isinstance(worker.error, AirflowFailException), "a retry must not start it again"
    assert "deadline" in str(worker.error)
    eventually(lambda: not box.open_runs())
    assert len(box.runs()) == 1
    assert all(report["error"] is None for report in said)


@pytest.mark.parametrize("form", FORMS)
def test_run_of_a_start_whose_process_was_lost_is_looked_for_and_stopped(
    stops: Stops, box: Sandbox, form: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was written ahead is all that leads to it."""
    lose_start(stops, box, monkeypatch)
    assert stops.states() == [True]
    caplog.clear()
    caplog.set_level(logging.INFO)
    stops.stop(form)
    assert stops.states() == [False]
    told = [json.loads(record.getMessage()) for record in caplog.records if record.name == "airflow_runctl.audit"]
    assert [event["event"] for event in told] == ["found", "stop", "ended"], "its start was not told of before"


def test_run_that_came_up_long_after_a_lost_start_is_named_and_left_alone(
    stops: Stops, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_runctl.control import identity

    lose_start(stops, box, monkeypatch)
    monkeypatch.setattr(identity, "LATER", timedelta(seconds=-30))
    with pytest.raises(RunctlError, match=f"Nothing tells which it is of: {box.runs()[0]['run_id']}"):
        stops.deadline()
    assert stops.states() == [True]


def test_candidates_of_an_ambiguous_start_are_named_and_left_alone(stops: Stops, box: Sandbox) -> None:
    stops.start("axiom", "other")
    stops.fake.states["start"] = "failed"
    stops.fake.put_xcom("start", AUDIT_KEY, {"state": "ambiguous", "candidates": ["run-a", "run-b"]})
    with pytest.raises(RunctlError, match=r"one of run-a, run-b, and nothing tells which.*none was stopped"):
        stops.deadline()
    assert stops.states() == [False], "that of the other task"


@pytest.mark.parametrize("opens", [True, False])
def test_words_that_somebody_wrote_into_a_handle_are_not_said(stops: Stops, box: Sandbox, opens: bool) -> None:
    """What is sealed names the run; of a handle that does not open some printable words are shown, and marked."""
    stops.start("axiom", "start")
    handle = stops.fake.xcom("start", HANDLE_KEY)
    forged = {**handle, "run_id": "x\nERROR root: all is lost", "url": "https://evil.example"}
    stops.fake.put_xcom("start", HANDLE_KEY, forged if opens else {**forged, "token": "2gAAAA"})
    if opens:
        (report,) = stops.deadline()
        assert handle["run_id"] in report["run"]
        assert "all is lost" not in str(report)
        assert stops.fake.xcom("start", AUDIT_KEY)["run_id"] == handle["run_id"]
        return
    with pytest.raises(RunctlError, match=r"axiom run x\?ERROR root: all is lost \(unverified\)"):
        stops.deadline()


def test_siblings_run_is_not_stopped_for_that_of_a_lost_start(
    stops: Stops, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start made none: the one run that came up since is another task's, whom this stop is not for."""
    box.fault("snaplogic", "start", "cut", count=1)
    from airflow_runctl.control import identity
    from airflow_runctl.vendors.snaplogic import trigger

    monkeypatch.setattr(trigger, "LOST_CALL_LOOKS", 1)
    monkeypatch.setattr(identity, "LISTED_AFTER", 1.0)
    stops.fake.run(stops.operator("snaplogic", "start"))
    stops.start("snaplogic", "other")
    stops.deadline(task_ids=["start"])
    assert stops.states() == [True]


def lose_start(stops: Stops, box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start a run, and lose the process before it can record it."""
    stops.fake.refuse("SetXCom", key=HANDLE_KEY)
    with monkeypatch.context() as patch:
        patch.setattr(RunAttempt, "stop_after", lambda *_: None)
        stops.fake.run(stops.operator("snaplogic", "start"))
    stops.fake.refusals.clear()
    assert stops.fake.xcom("start", AUDIT_KEY)["state"] == "starting"
    eventually(lambda: any(run["state"] == "Started" for run in box.runs()))


def test_start_stops_its_run_itself_if_the_callback_has_ended(
    stops: Stops, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_runctl import notifications

    monkeypatch.setattr(notifications, "START_PATIENCE", 0.2)
    with InFlight(stops, 1.0) as worker:
        stops.deadline(stop_reason="too late")
        assert box.runs() == []
    assert "was stopped: deadline (too late), by deadline callback" in str(worker.error)
    assert [run["open"] for run in box.runs()] == [False]


def test_running_task_without_a_start_is_waited_for_only_a_little(
    stops: Stops, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop_dag_run, "GRACE_SECONDS", 0.3)
    stops.fake.states["bash"] = "running"
    stops.start()
    looks = len(stops.fake.sent("GetTaskStates"))
    stops.deadline()
    assert stops.states() == [False]
    assert 1 < len(stops.fake.sent("GetTaskStates")) - looks < 20


def test_live_runs_are_stopped_while_a_start_is_waited_for(stops: Stops, box: Sandbox) -> None:
    stops.start("snaplogic", "other")
    with InFlight(stops, 1.5):
        stopping = threading.Thread(target=stops.deadline, daemon=True)
        stopping.start()
        eventually(lambda: not box.runs()[0]["open"])
        assert len(box.runs()) == 1, "the start in flight was waited for first"
        stopping.join(20)
    assert stops.states() == [False, False]


def test_run_stopped_by_a_deadline_is_not_started_again_by_a_retry(stops: Stops, box: Sandbox) -> None:
    operator = stops.operator("axiom", "start", deferrable=True)
    attempt = stops.fake.run(operator, retries=3)
    assert attempt.deferral is not None
    trigger = stops.fake.trigger_of(attempt.deferral, attempt)
    stops.deadline(stop_reason="SLA of the harvest")

    async def event() -> Any:
        try:
            return (await anext(trigger.run())).payload
        finally:
            await close_session()

    attempt = stops.fake.run(operator, deferral=attempt.deferral, event=asyncio.run(event()), retries=3)
    assert attempt.state == "failed"
    assert isinstance(attempt.error, AirflowFailException)
    assert "was stopped: deadline (SLA of the harvest), by deadline callback" in attempt.said


# -- when it does not work -------------------------------------------------------------------------------


def fails(stops: Stops, form: str, **more: Any) -> str:
    with pytest.raises(RunctlError) as seen:
        stops.stop(form, **more)
    return str(seen.value)


@pytest.mark.parametrize("form", FORMS)
def test_run_that_cannot_be_stopped_is_named_and_the_others_are_stopped(stops: Stops, box: Sandbox, form: str) -> None:
    stops.start("axiom", "queued", name="Queued")
    stops.start("snaplogic", "one")
    said = fails(stops, form)
    assert "Not every run was stopped. axiom.ai run Queued: The axiom.ai run 'Queued' was queued" in said
    assert "Cancel it in the axiom.ai dashboard" in said
    assert stops.states() == [True, False]


@pytest.mark.parametrize("form", FORMS)
def test_connection_that_does_not_work_here_is_named_and_the_others_runs_are_stopped(
    stops: Stops, box: Sandbox, form: str
) -> None:
    stops.start("axiom", "one")
    stops.start("snaplogic", "two")
    row = stops.fake.connections["axiom_default"]
    broken = {**row, "host": row["host"].replace("http:", "https:"), "extra": {"verify": "/no/such/ca.pem"}}
    stops.fake.connections["axiom_default"] = broken
    said = fails(stops, form, stop_timeout=1.0)
    assert "cannot be read here: /no/such/ca.pem" in said
    assert stops.states() == [True, False]


@pytest.mark.parametrize("form", FORMS)
def test_stop_that_is_not_confirmed_is_named(stops: Stops, box: Sandbox, form: str) -> None:
    box.behave("snaplogic", "early-hang", stop_seconds=None)
    stops.start()
    said = fails(stops, form, stop_timeout=0.2)
    assert f"SnapLogic run {box.runs()[0]['run_id']}: asked to stop, not confirmed in 0 s; it may be alive." in said


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"vendor": "snaplogic", "conn_id": "snaplogic_default", "run_id": "r-1", "token": "forged"}, "does not open"),
        ({"vendor": "snaplogic", "conn_id": "nowhere", "run_id": "r-1", "token": "x"}, "'nowhere' cannot be read"),
        ({"vendor": "acme", "conn_id": "x", "run_id": "r-1", "token": "x"}, "knows the vendor 'acme'"),
        ({}, "knows the vendor 'None'"),
    ],
)
def test_forged_handle_is_named_and_stops_nothing_and_nobody_is_kept_from_stopping(
    stops: Stops, box: Sandbox, form: str, value: Any, said: str
) -> None:
    stops.start()
    stops.fake.states["forger"] = "success"
    stops.fake.put_xcom("forger", HANDLE_KEY, value)
    assert said in fails(stops, form)
    assert stops.states() == [False]


def retry_after(value: str) -> Answer:
    return say(b"{}", f"429 Too Many Requests\r\nRetry-After: {value}")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "answer",
    [
        say(b"[" * 100_000),
        say(b'{"status": NaN, "message": "\\ud800", "pid": 1e999}'),
        retry_after("Wed, 21 Oct 99999999999 07:28:00 GMT"),
        retry_after("Wed, 21 Oct 2026 07:28:00 +99999999999"),
        retry_after("inf"),
    ],
    ids=["deep", "no JSON", "year", "offset", "for ever"],
)
def test_what_one_vendor_answers_keeps_no_other_run_alive(
    stops: Stops, box: Sandbox, form: str, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop_many, "STOP_PATIENCE", Patience(total=0.2, answer=10.0))
    stops.start("axiom", "odd")
    stops.start()
    with OddServer(answer) as odd:
        stops.fake.connections["axiom_default"] = {**stops.fake.connections["axiom_default"], "host": odd.url}
        assert "may be alive" in fails(stops, form, stop_timeout=0.3)
    assert {run["vendor"]: run["open"] for run in box.runs()} == {"axiom": True, "snaplogic": False}


@pytest.mark.parametrize("form", FORMS)
def test_a_vendor_whose_package_is_broken_keeps_no_other_run_alive(
    stops: Stops, box: Sandbox, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = stop_many.hook_class

    def hook_class(vendor: str) -> Any:
        if vendor == "acme":
            raise ImportError("no module named acme_client")
        return known(vendor)

    stops.start()
    stops.fake.states["acme"] = "success"
    stops.fake.put_xcom("acme", HANDLE_KEY, {"vendor": "acme", "conn_id": "x", "run_id": "r-1", "token": "x"})
    monkeypatch.setattr(stop_many, "hook_class", hook_class)
    assert "ImportError: no module named acme_client. It may be alive." in fails(stops, form)
    assert stops.states() == [False]


@pytest.mark.parametrize("form", FORMS)
def test_what_nobody_foresaw_of_one_run_keeps_no_other_alive(
    stops: Stops, box: Sandbox, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(self: Axiom, run: Any) -> Any:
        raise TypeError("nobody foresaw this")
        yield

    stops.start("axiom", "odd")
    stops.start()
    monkeypatch.setattr(Axiom, "status", odd)
    monkeypatch.setattr(Axiom, "ask_stop", odd)
    assert "TypeError: nobody foresaw this. It may be alive." in fails(stops, form)
    assert {run["vendor"]: run["open"] for run in box.runs()} == {"axiom": True, "snaplogic": False}


def test_handle_that_was_copied_to_another_task_stops_nothing_there(stops: Stops, box: Sandbox) -> None:
    """The run lives in another task, which was not named."""
    stops.start()
    stops.fake.states["thief"] = "success"
    stops.fake.put_xcom("thief", HANDLE_KEY, stops.fake.xcom("start", HANDLE_KEY))
    said = fails(stops, "triggerer", task_ids=["thief"])
    assert "was found at task instance harvest/manual__1/thief, but belongs to harvest/manual__1/start" in said
    assert stops.states() == [True]


def test_handle_of_another_dag_run_stops_nothing(stops: Stops, box: Sandbox) -> None:
    stops.start()
    handle = stops.fake.xcom("start", HANDLE_KEY)
    stops.fake.run_id = "manual__2"
    stops.fake.put_xcom("start", HANDLE_KEY, handle)
    with pytest.raises(RunctlError, match="found at task instance harvest/manual__2/start, but belongs to"):
        StopRunsNotifier().notify({"dag_run": SimpleNamespace(dag_id="harvest", run_id="manual__2")})  # type: ignore[arg-type]
    assert stops.states() == [True]


@pytest.mark.parametrize("value", ["text", 7, ["x"], None])
def test_xcom_of_the_same_key_that_is_no_handle_is_passed_over(stops: Stops, box: Sandbox, value: Any) -> None:
    stops.start()
    stops.fake.states["other"] = "success"
    stops.fake.put_xcom("other", HANDLE_KEY, value)
    assert len(stops.deadline()) == 1
    assert stops.states() == [False]


@pytest.mark.parametrize("form", FORMS)
def test_xcom_that_cannot_be_read_keeps_nobody_from_stopping(stops: Stops, box: Sandbox, form: str) -> None:
    """A task may store what only its own code can deserialize, or what nobody may."""
    stops.start()
    stops.fake.states["forger"] = "success"
    stops.fake.put_xcom("forger", HANDLE_KEY, {"__classname__": "os.nothing", "__version__": 1, "__data__": {}})
    assert "forger" in fails(stops, form)
    assert stops.states() == [False]


def test_records_that_cannot_be_written_keep_nobody_from_stopping(stops: Stops, box: Sandbox) -> None:
    stops.start()
    stops.fake.refuse("SetXCom")
    stops.fake.refuse("DeleteXCom")
    stops.stop("triggerer")
    assert stops.states() == [False]


def test_connection_is_read_once_for_many_runs(stops: Stops, box: Sandbox) -> None:
    for number in range(10):
        stops.start("snaplogic", f"t{number}")
    before = len(stops.fake.sent("GetConnection"))
    stops.deadline()
    assert stops.states() == [False] * 10
    assert len(stops.fake.sent("GetConnection")) - before == 1


# -- how Airflow calls it --------------------------------------------------------------------------------


@needs_deadlines
def test_sync_callback_of_a_deadline_is_refused_at_once_without_asking_anything(stops: Stops, box: Sandbox) -> None:
    stops.start()
    sent = len(stops.fake.messages)
    with pytest.raises(RunctlError, match=r"cannot work in a SyncCallback.*Use DeadlineAlert\(callback=AsyncCallback"):
        StopRunsNotifier().notify(dict(DEADLINE))  # type: ignore[arg-type]
    with pytest.raises(RunctlError, match="Nothing was stopped"):
        StopRunsNotifier()(dict(DEADLINE))
    assert len(stops.fake.messages) == sent
    assert stops.states() == [True]


def test_failed_task_stops_the_runs_of_its_dag_run(stops: Stops, box: Sandbox) -> None:
    """As ``on_failure_callback`` of a task, called by Airflow's own task runner."""
    stops.start("snaplogic", "other")
    box.behave("axiom", "Fail", run_seconds=0.1)
    operator = stops.operator(
        "axiom", "fails", name="Fail", on_failure_callback=StopRunsNotifier(stop_reason="fails failed")
    )
    attempt = stops.fake.run(operator)
    assert attempt.state == "failed"
    assert box.open_runs() == []
    stop = stops.fake.xcom("other", AUDIT_KEY)["stop"]
    assert (stop["reason"], stop["by"], stop["text"]) == ("failure", "worker callback", "fails failed")


@pytest.mark.parametrize(
    ("context", "reason"),
    [
        ({"dag_run": SimpleNamespace(dag_id="harvest", run_id="manual__1"), "reason": "success"}, "dag_run_ended"),
        ({"dag_run": SimpleNamespace(dag_id="harvest", run_id="manual__1"), "reason": "task_failure"}, "failure"),
        ({"dag": SimpleNamespace(dag_id="harvest"), "run_id": "manual__1"}, "failure"),
        ({"dag_run": {"dag_id": "harvest", "run_id": "manual__1"}}, "failure"),
    ],
)
def test_every_form_of_context_names_the_dag_run(stops: Stops, box: Sandbox, context: Any, reason: str) -> None:
    stops.start()
    StopRunsNotifier(stop_timeout=5.0).notify(context)
    assert stops.states() == [False]
    assert stops.fake.xcom("start", AUDIT_KEY)["stop"]["reason"] == reason


@needs_deadlines
def test_reason_and_tasks_are_templated_from_a_deadlines_context(stops: Stops, box: Sandbox) -> None:
    stops.start("snaplogic", "one")
    stops.start("snaplogic", "two")
    stops.deadline(task_ids=["{{ 'one' }}"], stop_reason="late: {{ dag_run.dag_run_id }}, {{ deadline.id }}")
    assert stops.states() == [False, True]
    assert stops.fake.xcom("one", AUDIT_KEY)["stop"]["text"] == "late: manual__1, d-1"


def test_it_can_be_built_as_airflow_builds_it_from_stored_arguments() -> None:
    deadlines = pytest.importorskip("airflow.sdk.definitions.deadline", reason="deadlines came with Airflow 3")
    callback = deadlines.AsyncCallback(
        StopRunsNotifier, kwargs={"task_ids": ["a"], "stop_reason": "x", "stop_timeout": 9.0}
    )
    path, kwargs = callback.path, json.loads(json.dumps(callback.kwargs))
    assert path == "airflow_runctl.notifications.StopRunsNotifier"
    made = StopRunsNotifier(**kwargs, context={})  # type: ignore[typeddict-item]
    assert (made.task_ids, made.stop_reason, made.stop_timeout) == (["a"], "x", 9.0)
