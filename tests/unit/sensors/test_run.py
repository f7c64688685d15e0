"""``ExternalRunSensor`` against the sandbox: what it waits for, how it ends, and what it leaves alone."""

import asyncio
import itertools
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_runctl.compat import IS_AIRFLOW_2, AirflowSensorTimeout, AirflowTaskTimeout, lead_over_core
from airflow_runctl.exceptions import CannotStop, HandleError, RunctlError, RunFailed
from airflow_runctl.operators.axiom import AxiomTriggerRunOperator
from airflow_runctl.operators.base import StartRunOperator
from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator
from airflow_runctl.runs import LINK_KEY, RunState, StopReason
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.sensors.run import ExternalRunSensor
from airflow_runctl.transport.aio import close_session
from airflow_runctl.transport.retry import Patience
from airflow_runctl.triggers.sensor import ExternalRunSensorTrigger
from tests.fakes.airflow_3 import FakeAirflow
from tests.fakes.airflow_any import Attempt, event_of
from tests.unit.versions import needs_task_store

MODES = ["worker", "reschedule", "deferred"]
WAITING = ["worker", "deferred"]
"""Modes in which one process waits to the end."""
REMEMBERING = ["worker", pytest.param("reschedule", marks=needs_task_store), "deferred"]
"""Modes in which one look knows of the one before."""

_numbers = itertools.count(1)

pytestmark = pytest.mark.usefixtures("brisk")


class Runs:
    """Starts runs as a task ``start`` that does not wait, and watches them with a task ``wait``."""

    def __init__(self, fake: FakeAirflow, box: Sandbox) -> None:
        self.fake = fake
        self.box = box

    def start(self, vendor: str = "snaplogic", **behaviour: Any) -> dict[str, Any]:
        """Start a run that hangs unless told otherwise; return what the start operator returns."""
        name = f"sensed-{next(_numbers)}"
        early = {"answers": "early"} if vendor == "snaplogic" else {}
        self.box.behave(vendor, name, **{"run_seconds": None, **early, **behaviour})
        operator: StartRunOperator
        with self.fake.dag():
            if vendor == "snaplogic":
                path = f"/Acme/projects/sales/{name}"
                operator = SnapLogicTriggerTaskOperator(task_id="start", task_path=path, wait_for_completion=False)
            else:
                operator = AxiomTriggerRunOperator(task_id="start", name=name, wait_for_completion=False)
        attempt = self.fake.run(operator)
        assert attempt.state == "success", attempt.error
        result: dict[str, Any] = attempt.result
        return result

    def sensor(self, mode: str = "worker", **arguments: Any) -> ExternalRunSensor:
        """Return a sensor that looks often."""
        modes = {"reschedule": {"mode": "reschedule"}, "deferred": {"deferrable": True}}
        with self.fake.dag():
            kwargs = {"poke_interval": 0.1, "timeout": 20, **modes.get(mode, {}), **arguments}
            return ExternalRunSensor(task_id="wait", **kwargs)

    def wait(self, mode: str = "worker", **arguments: Any) -> Attempt:
        """Run a sensor to its end, whatever way it waits."""
        self.fake._on_RescheduleTask = self._until_then  # type: ignore[attr-defined]
        retries = {name: arguments.pop(name) for name in ("retries", "try_number", "start_date") if name in arguments}
        sensor = self.sensor(mode, **arguments)
        while True:
            attempt = self.fake.run(sensor, **retries)
            if attempt.state != "up_for_reschedule":
                break
            sensor = self.sensor(mode, **arguments)
        if attempt.deferral is None:
            return attempt
        event = self.event(attempt)
        return self.fake.run(self.sensor(mode, **arguments), deferral=attempt.deferral, event=event, **retries)

    @staticmethod
    def _until_then(msg: Any) -> None:
        """Let the time pass that a rescheduled task is away, as the scheduler does."""
        time.sleep(max(0.0, (msg.reschedule_date - datetime.now(UTC)).total_seconds()))

    def event(self, attempt: Attempt) -> Any:
        """Run the trigger of a deferral to its event."""
        return event_of(self.fake, attempt)

    def looks(self) -> int:
        return len(self.box.requests(vendor="snaplogic", operation="status"))

    def stop_requests(self) -> int:
        return sum(run["stop_requests"] for run in self.box.runs())


@pytest.fixture
def runs(fake: FakeAirflow, box: Sandbox) -> Runs:
    return Runs(fake, box)


# -- what it waits for -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("named_by", ["return value", "handle", "text of a template", "ids"])
def test_it_succeeds_when_the_run_has_succeeded_however_it_is_named(runs: Runs, mode: str, named_by: str) -> None:
    started = runs.start(run_seconds=0.5)
    named: dict[str, Any] = {
        "return value": {"external_run": started},
        "handle": {"external_run": started["external_run"]},
        "text of a template": {"external_run": "{{ ti.xcom_pull(task_ids='start', key='external_run') }}"},
        "ids": {"vendor": "snaplogic", "ids": {"ruuid": "{{ ti.xcom_pull(task_ids='start')['run_id'] }}"}},
    }[named_by]

    attempt = runs.wait(mode, **named)

    assert attempt.state == "success", attempt.error
    assert attempt.result == {
        "run_id": started["run_id"],
        "state": "succeeded",
        "vendor_state": "Completed",
        "url": started["url"],
        "result": None,
    }
    assert runs.stop_requests() == 0


def test_it_returns_what_the_run_returned(runs: Runs) -> None:
    started = runs.start("axiom", run_seconds=0.3, result={"rows": [["tea", "3"]]})
    assert runs.wait(external_run=started).result["result"] == {"rows": [["tea", "3"]]}


def test_a_run_that_is_over_already_needs_no_deferral(runs: Runs) -> None:
    started = runs.start(run_seconds=0.1)
    runs.box.wait_for_state(started["run_id"], "Completed")

    attempt = runs.fake.run(runs.sensor("deferred", external_run=started))

    assert (attempt.state, attempt.deferral) == ("success", None)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("end", "reason"), [("Failed", ": Pipeline failed; no such table."), ("Stopped", ". Waited")])
def test_it_fails_with_the_vendors_reason_when_the_run_failed_or_was_stopped(
    runs: Runs, mode: str, end: str, reason: str
) -> None:
    started = runs.start(run_seconds=0.3, end=end, message="no such table")

    attempt = runs.wait(mode, external_run=started)

    assert attempt.state == "failed"
    assert isinstance(attempt.error, RunFailed)
    assert f"snaplogic run {started['run_id']} is {end}{reason}" in attempt.said


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("told", ["soft_fail", "never_fail"])
def test_a_failed_run_is_a_skip_where_that_is_wanted(runs: Runs, mode: str, told: str) -> None:
    attempt = runs.wait(mode, external_run=runs.start(run_seconds=0.3, end="Failed"), **{told: True})
    assert attempt.state == "skipped"


def test_silent_fail_does_not_wait_for_a_run_that_has_failed(runs: Runs) -> None:
    attempt = runs.wait(external_run=runs.start(run_seconds=0.3, end="Failed"), silent_fail=True)
    assert isinstance(attempt.error, RunFailed)


@pytest.mark.parametrize("mode", MODES)
def test_it_can_wait_for_a_run_to_suspend_itself(runs: Runs, mode: str) -> None:
    started = runs.start(run_seconds=5, suspend_after_seconds=0.5)
    attempt = runs.wait(mode, external_run=started, target_states=["suspended"])
    assert (attempt.state, attempt.result["vendor_state"]) == ("success", "Suspended")


@pytest.mark.parametrize("mode", MODES)
def test_it_can_wait_for_the_end_whichever_it_is(runs: Runs, mode: str) -> None:
    started = runs.start(run_seconds=0.3, end="Failed")
    attempt = runs.wait(mode, external_run=started, target_states=["succeeded", "failed", "stopped"])
    assert (attempt.state, attempt.result["state"]) == ("success", "failed")


@pytest.mark.parametrize("mode", MODES)
def test_a_run_that_ends_otherwise_than_waited_for_ends_the_wait(runs: Runs, mode: str) -> None:
    attempt = runs.wait(mode, external_run=runs.start(run_seconds=0.3), target_states=["suspended"])
    assert "is Completed. Waited for: suspended." in attempt.said


def test_a_suspended_run_is_waited_for_until_somebody_resumes_it(runs: Runs) -> None:
    started = runs.start()
    runs.box.set_run(started["run_id"], "Suspended")
    attempt = runs.fake.run(runs.sensor("deferred", external_run=started))
    assert attempt.deferral is not None, "the wait ended at a suspended run"

    async def resume_after_three_looks() -> Any:
        waiting = asyncio.ensure_future(anext(runs.fake.trigger_of(attempt.deferral, attempt).run()))
        enough = runs.looks() + 3
        while runs.looks() < enough:
            assert not waiting.done(), "the wait ended at a suspended run"
            await asyncio.sleep(0.05)
        runs.box.set_run(started["run_id"], "Completed")
        try:
            return (await waiting).payload
        finally:
            await close_session()

    assert asyncio.run(resume_after_three_looks())["status"]["state"] == "succeeded"


def test_a_suspended_run_is_waited_for_on_the_worker_too(runs: Runs) -> None:
    started = runs.start()
    runs.box.set_run(started["run_id"], "Suspended")
    attempt = runs.wait(external_run=started, timeout=0.5)
    assert isinstance(attempt.error, AirflowSensorTimeout)


# -- what is checked when the Dag is parsed ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "neither was given"),
        ({"external_run": {}, "vendor": "axiom", "ids": {"name": "x"}}, "external_run and vendor and ids was given"),
        ({"external_run": {}, "conn_id": "other"}, "external_run and conn_id was given"),
        ({"vendor": "axiom"}, "vendor was given"),
        ({"ids": {"name": "x"}}, "ids was given"),
        ({"conn_id": "other"}, "conn_id was given"),
        ({"external_run": {}, "target_states": ["done"]}, r"target_states is \['done'\]; give a list of queued"),
        ({"external_run": {}, "target_states": ["unknown"]}, "give a list of queued"),
        ({"external_run": {}, "target_states": "succeeded"}, "give a list of queued"),
        ({"external_run": {}, "target_states": []}, "give a list of queued"),
        ({"external_run": {}, "poke_interval": 0}, "seconds above 0"),
        ({"external_run": {}, "stop_timeout": 0}, "seconds above 0"),
        ({"external_run": {}, "soft_fail": True, "never_fail": True}, "mutually exclusive"),
    ],
)
def test_wrong_arguments_are_an_error_when_the_dag_is_parsed(
    fake: FakeAirflow, arguments: dict[str, Any], said: str
) -> None:
    with fake.dag(), pytest.raises(ValueError, match=said):
        ExternalRunSensor(task_id="wait", **arguments)


def test_the_interval_is_airflows_own(fake: FakeAirflow) -> None:
    with fake.dag():
        assert ExternalRunSensor(task_id="a", external_run={}).poke_interval == 60
        assert ExternalRunSensor(task_id="b", external_run={}, poke_interval=timedelta(minutes=5)).poke_interval == 300


# -- which run -----------------------------------------------------------------------------------------------


def test_the_handle_of_another_dag_run_is_refused_and_ids_are_not(runs: Runs, fake: FakeAirflow) -> None:
    fake.run_id, here = "another", fake.run_id
    foreign = runs.start(run_seconds=0.1)
    fake.run_id = here

    by_handle = runs.wait(external_run=foreign)
    by_ids = runs.wait(vendor="snaplogic", ids={"ruuid": foreign["run_id"]})

    assert isinstance(by_handle.error, HandleError)
    assert "not to a task of this Dag run" in by_handle.said
    assert by_ids.state == "success"


@pytest.mark.parametrize("mode", MODES)
def test_without_a_handle_there_is_nothing_to_wait_for(runs: Runs, mode: str) -> None:
    dag = runs.fake.dag()
    start = AxiomTriggerRunOperator(task_id="start", name="x", dag=dag)
    attempt = runs.wait(mode, external_run=start.output, timeout=0, dag=dag)
    assert attempt.state == "skipped"
    assert runs.box.requests() == []


def test_a_handle_that_came_to_nothing_in_a_template_is_named(runs: Runs) -> None:
    attempt = runs.wait(external_run="{{ ti.xcom_pull(task_ids='start') }}")
    assert attempt.state == "failed"
    assert "ExternalRunSensor 'wait': external_run came out of its template as 'None'. Nothing was sent" in attempt.said
    assert runs.box.requests() == []


def test_the_run_of_a_start_that_was_killed_is_found_where_it_was_recorded(runs: Runs) -> None:
    started = runs.start(run_seconds=0.1)
    runs.fake.xcoms[runs.fake.dag_id, runs.fake.run_id, "start", -1].pop("return_value")
    with runs.fake.dag():
        start = AxiomTriggerRunOperator(task_id="start", name="x")
        sensor = ExternalRunSensor(task_id="wait", external_run=start.output, poke_interval=0.1)

    attempt = runs.fake.run(sensor)

    assert attempt.state == "success", attempt.error
    assert attempt.result["run_id"] == started["run_id"]


def test_several_runs_are_for_several_sensors(runs: Runs) -> None:
    attempt = runs.wait(external_run=[runs.start(), runs.start()])
    assert "holds 2 runs; a sensor waits for one. Use ExternalRunSensor.partial(...).expand" in attempt.said


@pytest.mark.parametrize("mode", MODES)
def test_ids_that_do_not_name_a_run_say_what_is_missing(runs: Runs, mode: str) -> None:
    attempt = runs.wait(mode, vendor="snaplogic", ids={"run": "7"})
    assert "A run at SnapLogic is not named by run alone: ids lacks 'ruuid'." in attempt.said


def test_ids_by_which_nothing_can_be_seen_are_refused(runs: Runs) -> None:
    attempt = runs.wait(vendor="axiom", ids={"pid": "07", "pw": "hush"})
    assert "At axiom.ai nothing can be seen of a run by its pid, pw alone." in attempt.said


@pytest.mark.parametrize("ids", ["nonsense", "[]", "{{ {} }}", {"ruuid": "{{ '' }}"}, {"ruuid": "{{ none }}"}])
def test_ids_that_are_no_dict_or_are_empty_are_refused(runs: Runs, ids: Any) -> None:
    attempt = runs.wait(vendor="snaplogic", ids=ids)
    assert "ids of sensor 'wait' is a dict of the vendor's own ids, none of them empty" in attempt.said


def test_an_unknown_vendor_is_named(runs: Runs) -> None:
    attempt = runs.wait(vendor="acme", ids={"id": "7"})
    assert "No installed package knows the vendor 'acme'" in attempt.said


def test_ids_take_a_connection(runs: Runs) -> None:
    runs.fake.connections["sales"] = runs.fake.connections["snaplogic_default"]
    started = runs.start(run_seconds=0.1)
    attempt = runs.wait(vendor="snaplogic", conn_id="{{ 'sales' }}", ids=json.dumps({"ruuid": started["run_id"]}))
    assert attempt.state == "success", attempt.error


# -- time ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", WAITING)
def test_its_timeout_fails_it_for_good_and_leaves_the_run_alone(runs: Runs, mode: str) -> None:
    started = runs.start()

    attempt = runs.wait(mode, external_run=started, timeout=0.5, retries=3)

    assert attempt.state == "failed", "retries apply to no sensor's timeout"
    assert isinstance(attempt.error, AirflowSensorTimeout)
    assert f"snaplogic run {started['run_id']} was not succeeded within" in attempt.said
    assert "It was left alone." in attempt.said
    assert runs.stop_requests() == 0
    assert len(runs.box.open_runs()) == 1


@pytest.mark.parametrize("mode", WAITING)
@pytest.mark.parametrize("told", ["soft_fail", "never_fail"])
def test_its_timeout_is_a_skip_where_that_is_wanted(runs: Runs, mode: str, told: str) -> None:
    attempt = runs.wait(mode, external_run=runs.start(), timeout=0.5, **{told: True})
    assert attempt.state == "skipped"
    assert runs.stop_requests() == 0


@pytest.mark.parametrize("mode", WAITING)
@pytest.mark.parametrize("named_by", ["handle", "ids"])
def test_its_timeout_stops_the_run_if_asked_to(runs: Runs, mode: str, named_by: str) -> None:
    started = runs.start()
    by_ids = {"vendor": "snaplogic", "ids": {"ruuid": started["run_id"]}}
    named = by_ids if named_by == "ids" else {"external_run": started}

    attempt = runs.wait(mode, **named, timeout=0.5, stop_on_timeout=True, stop_timeout=20)

    assert isinstance(attempt.error, AirflowSensorTimeout)
    assert "It was stopped (stopped, " in attempt.said
    assert runs.box.open_runs() == []
    if named_by == "handle":
        audit = runs.fake.xcom("start", "external_run_audit")
        assert (audit["stop"]["reason"], audit["stop"]["by"]) == ("sensor_timeout", "sensor wait")
        assert audit["stop"]["outcome"] == "stopped"
        assert runs.fake.xcom("start", "external_run") is None, "the handle of a run that is over"


def test_a_run_that_a_sensor_stopped_is_not_started_again_by_a_retry() -> None:
    assert StopReason.SENSOR_TIMEOUT.is_final


@pytest.mark.parametrize("mode", WAITING)
def test_a_stop_that_is_not_confirmed_is_never_a_skip(runs: Runs, mode: str) -> None:
    started = runs.start(stop_seconds=None)
    attempt = runs.wait(mode, external_run=started, timeout=0.5, stop_on_timeout=True, stop_timeout=1, soft_fail=True)
    assert attempt.state == "failed"
    assert isinstance(attempt.error, CannotStop)
    assert "not confirmed in 1 s; it may be alive" in attempt.said


@pytest.mark.parametrize("mode", WAITING)
def test_a_run_that_succeeds_before_the_stop_at_the_timeout_is_a_success(runs: Runs, mode: str) -> None:
    started = runs.start()
    sensor = runs.sensor(mode, external_run=started, timeout=0, stop_on_timeout=True)
    if mode == "deferred":
        deferred = runs.fake.run(sensor)
        event = runs.event(deferred)
        assert event["limit"] == "sensor_timeout"
        runs.box.set_run(started["run_id"], "Completed")
        attempt = runs.fake.run(sensor, deferral=deferred.deferral, event=event)
    else:
        # The run ends right after the last look, which says what it saw.
        sensor._heard = lambda what: runs.box.set_run(started["run_id"], "Completed")  # type: ignore[method-assign]
        attempt = runs.fake.run(sensor)

    assert attempt.state == "success", attempt.error
    assert runs.stop_requests() == 0


def test_execution_timeout_holds_while_it_is_deferred(runs: Runs) -> None:
    limit = timedelta(hours=1, seconds=1)
    limit += lead_over_core(limit)
    began = datetime.now(UTC) - timedelta(hours=1)
    attempt = runs.wait("deferred", external_run=runs.start(), timeout=7200, execution_timeout=limit, start_date=began)
    assert isinstance(attempt.error, AirflowTaskTimeout)
    assert "execution_timeout passed, and snaplogic run" in attempt.said
    assert runs.stop_requests() == 0


@pytest.mark.parametrize("soft_fail", [False, True])
def test_execution_timeout_on_the_worker_is_airflows_own_and_can_stop_the_run(runs: Runs, soft_fail: bool) -> None:
    attempt = runs.wait(
        external_run=runs.start(),
        execution_timeout=timedelta(seconds=1),
        stop_on_timeout=True,
        stop_timeout=20,
        soft_fail=soft_fail,
    )
    assert attempt.state == ("skipped" if soft_fail else "failed")
    if not soft_fail:
        assert isinstance(attempt.error, AirflowTaskTimeout)
    assert runs.box.open_runs() == []


def test_execution_timeout_whose_alarm_is_lost_is_kept_all_the_same(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when it comes while Python finalizes an object: what the handler raises there is dropped."""
    monkeypatch.setattr("signal.setitimer", lambda *which: (0.0, 0.0))
    attempt = runs.wait(external_run=runs.start(), execution_timeout=timedelta(seconds=1))
    assert isinstance(attempt.error, AirflowTaskTimeout)
    assert runs.stop_requests() == 0


def test_the_limits_of_a_deferred_sensor_count_from_the_start_of_its_attempt(runs: Runs) -> None:
    """Deferral keeps that start; ``defer`` gets no time-out, for when it passes nobody of ours is asked.

    Airflow 2 sets one from ``execution_timeout``; there ours is ahead of it.
    """
    began = datetime.now(UTC) - timedelta(minutes=10)
    attempt = runs.fake.run(
        runs.sensor("deferred", external_run=runs.start(), timeout=3600, execution_timeout=timedelta(hours=2)),
        start_date=began,
    )
    assert attempt.deferral is not None
    assert attempt.deferral.timeout == (began + timedelta(hours=2) if IS_AIRFLOW_2 else None)
    lead = 30 if IS_AIRFLOW_2 else 0
    assert attempt.deferral.trigger_kwargs["limits"] == {
        "sensor_timeout": pytest.approx(began.timestamp() + 3600),
        "execution_timeout": pytest.approx(began.timestamp() + 7200 - lead),
    }


def pauses_of(trigger: ExternalRunSensorTrigger, looks: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return how long the trigger pauses, in a world where only these pauses take time."""
    now = 1000.0
    monkeypatch.setattr(time, "time", lambda: now)
    pauses = []
    for _ in range(looks):
        pauses.append(trigger._pause())
        now += pauses[-1]
    return pauses


@pytest.mark.parametrize(
    ("since", "max_wait", "expected"),
    [
        (None, None, [10, 10, 10, 10, 10]),
        (1000.0, None, [10, 10, 20, 40, 80]),
        (1000.0, 30.0, [10, 10, 20, 30, 30]),
        (900.0, None, [100, 200, 400, 800, 1600]),
    ],
    ids=["equal", "doubling", "at most max_wait", "after a restart of the triggerer"],
)
def test_intervals_grow_where_that_is_wanted(
    since: float | None, max_wait: float | None, expected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    trigger = ExternalRunSensorTrigger({}, poll_interval=10, backoff_since=since, max_wait=max_wait)
    assert pauses_of(trigger, len(expected), monkeypatch) == expected


def test_a_deferred_sensor_hands_its_backoff_to_the_trigger(runs: Runs) -> None:
    sensor = runs.sensor(
        "deferred", external_run=runs.start(), exponential_backoff=True, max_wait=timedelta(seconds=90)
    )
    attempt = runs.fake.run(sensor)
    assert attempt.deferral is not None
    assert attempt.deferral.trigger_kwargs["backoff_since"] == pytest.approx(time.time(), abs=60)
    assert attempt.deferral.trigger_kwargs["max_wait"] == 90


# -- a vendor that answers badly -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("trouble", [{"kind": "status", "status": 503}, {"kind": "cut"}, {"kind": "garbage"}])
def test_bad_looks_are_ridden_out(runs: Runs, mode: str, trouble: dict[str, Any]) -> None:
    started = runs.start(run_seconds=0.5)
    runs.box.fault("snaplogic", "status", count=12, **trouble)
    attempt = runs.wait(mode, external_run=started)
    assert attempt.state == "success", attempt.error


@pytest.fixture
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a vendor up after a second, and repeat one request for less than that."""
    brief = Patience(total=0.2, answer=5.0)
    monkeypatch.setenv("AIRFLOW__RUNCTL__RIDE_OUT", "1.0")
    monkeypatch.setattr("airflow_runctl.control.watch.POLL_PATIENCE", brief)
    monkeypatch.setattr("airflow_runctl.control.rounds.POLL_PATIENCE", brief)


@pytest.mark.usefixtures("short_patience")
@pytest.mark.parametrize("mode", REMEMBERING)
@pytest.mark.parametrize("told", ["", "soft_fail"])
def test_a_vendor_that_answers_badly_for_too_long_is_an_error_and_no_skip(runs: Runs, mode: str, told: str) -> None:
    """Rescheduled, each look is a process of its own: what the looks before it saw is remembered."""
    started = runs.start()
    runs.box.fault("snaplogic", "status", "status", status=503)

    began = time.monotonic()
    attempt = runs.wait(mode, external_run=started, **({told: True} if told else {}))

    assert time.monotonic() - began >= 1.0
    assert attempt.state == "failed"
    assert type(attempt.error) is RunctlError
    assert (
        f"snaplogic run {started['run_id']} was lost sight of: VendorError: SnapLogic answered HTTP 503" in attempt.said
    )
    assert runs.stop_requests() == 0


@pytest.mark.usefixtures("short_patience")
@pytest.mark.parametrize("mode", REMEMBERING)
def test_never_fail_skips_then_too(runs: Runs, mode: str) -> None:
    started = runs.start()
    runs.box.fault("snaplogic", "status", "status", status=503)
    assert runs.wait(mode, external_run=started, never_fail=True).state == "skipped"


@pytest.mark.usefixtures("short_patience")
@pytest.mark.parametrize("mode", WAITING)
def test_silent_fail_rides_out_everything_until_the_timeout(runs: Runs, mode: str) -> None:
    started = runs.start()
    runs.box.fault("snaplogic", "status", "status", status=503)
    attempt = runs.wait(mode, external_run=started, silent_fail=True, timeout=2.5)
    assert isinstance(attempt.error, AirflowSensorTimeout)


@needs_task_store
@pytest.mark.usefixtures("short_patience")
def test_a_rescheduled_sensor_forgets_what_an_earlier_try_saw(runs: Runs) -> None:
    started = runs.start(run_seconds=0.1)
    row = {"airflow_runctl_sensor": {"bad_since": time.time() - 3600, "try_number": 1}}
    runs.fake.store[runs.fake.dag_id, runs.fake.run_id, "wait", -1] = row
    runs.box.fault("snaplogic", "status", "status", status=503, count=4)

    assert runs.wait("reschedule", external_run=started, try_number=2).state == "success"


@pytest.mark.usefixtures("short_patience")
def test_without_a_task_state_store_a_rescheduled_sensor_rides_bad_looks_out(runs: Runs) -> None:
    runs.fake.has_store = False
    started = runs.start(run_seconds=0.1)
    runs.box.fault("snaplogic", "status", "status", status=503, count=8)
    assert runs.wait("reschedule", external_run=started).state == "success"


# -- it is not the owner ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("named_by", ["handle", "ids"])
def test_a_kill_of_the_deferred_sensor_stops_nothing(runs: Runs, named_by: str) -> None:
    started = runs.start()
    by_ids = {"vendor": "snaplogic", "ids": {"ruuid": started["run_id"]}}
    attempt = runs.fake.run(runs.sensor("deferred", **(by_ids if named_by == "ids" else {"external_run": started})))
    runs.fake.states["wait"] = "failed"

    asyncio.run(runs.fake.trigger_of(attempt.deferral, attempt).on_kill())

    assert runs.stop_requests() == 0
    assert runs.fake.xcom("start", "external_run")["token"] == started["external_run"]["token"]


def test_a_kill_of_the_sensor_on_a_worker_stops_nothing(runs: Runs) -> None:
    sensor = runs.sensor(external_run=runs.start())
    sensor.on_kill()
    assert runs.stop_requests() == 0


@pytest.mark.parametrize("mode", MODES)
def test_what_the_owner_has_recorded_stays_as_it_is(runs: Runs, mode: str) -> None:
    started = runs.start(run_seconds=0.3)
    where = (runs.fake.dag_id, runs.fake.run_id, "start", -1)
    before = json.dumps(runs.fake.xcoms[where])
    runs.wait(mode, external_run=started)
    assert json.dumps(runs.fake.xcoms[where]) == before


# -- secrets, the link, the trigger ----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_credentials_among_the_ids_are_shown_nowhere(runs: Runs, mode: str) -> None:
    name = f"sensed-{next(_numbers)}"
    runs.box.behave("axiom", name, run_seconds=0.5)
    secret = f"swordfish-{runs.box.seed}"
    runs.fake.put_xcom("start", "return_value", secret)
    started = AxiomTriggerRunOperator(task_id="first", name=name, wait_for_completion=False, dag=runs.fake.dag())
    assert runs.fake.run(started).state == "success"
    runs.fake.messages.clear()

    attempt = runs.wait(
        mode, vendor="axiom", ids={"name": name, "pid": "07", "pw": "{{ ti.xcom_pull(task_ids='start') }}"}
    )

    assert attempt.state == "success", attempt.error
    # The quotes are Airflow's affair: up to 3.1 it shows the text of what it has masked.
    rendered = str(runs.fake.rendered[-1]["ids"]).replace("'", "")
    assert rendered == f"{{name: {name}, pid: 07, pw: ***}}"
    shown = [msg for msg in runs.fake.messages if type(msg).__name__ not in {"MaskSecret", "GetXCom"}]
    assert shown
    assert secret not in "".join(repr(msg.model_dump()) for msg in shown)
    assert [msg.value for msg in runs.fake.sent("MaskSecret") if msg.value == secret]


@pytest.mark.parametrize("named_by", ["handle", "ids"])
@pytest.mark.parametrize("mode", MODES)
def test_its_button_opens_the_run_from_the_first_look_on(runs: Runs, mode: str, named_by: str) -> None:
    started = runs.start()
    by_ids = {"vendor": "snaplogic", "ids": {"ruuid": started["run_id"]}}
    runs.fake._on_RescheduleTask = lambda msg: None  # type: ignore[attr-defined]
    # Rescheduled or deferred it is in the middle of the wait; the worker gives up.
    runs.fake.run(runs.sensor(mode, **(by_ids if named_by == "ids" else {"external_run": started}), timeout=0.3))
    assert started["url"]
    assert runs.fake.xcom("wait", LINK_KEY) == started["url"]
    first = runs.fake.sent("SetXCom", task_id="wait")[0]
    assert (first.key, first.value) == (LINK_KEY, started["url"])


def test_the_triggers_arguments_make_the_same_trigger_again() -> None:
    trigger = ExternalRunSensorTrigger(
        {"vendor": "axiom"}, 5.0, {"sensor_timeout": 99.0}, 60.0, ["failed", "stopped"], 12.0, 300.0
    )
    path, arguments = trigger.serialize()
    assert path == "airflow_runctl.triggers.sensor.ExternalRunSensorTrigger"
    assert ExternalRunSensorTrigger(**json.loads(json.dumps(arguments))).serialize() == (path, arguments)
    assert set(arguments) == {
        "external_run",
        "poll_interval",
        "limits",
        "ride_out",
        "target_states",
        "backoff_since",
        "max_wait",
    }


def test_the_default_of_the_trigger_is_a_success() -> None:
    assert ExternalRunSensorTrigger({}).target_states == [RunState.SUCCEEDED]
