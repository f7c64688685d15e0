"""What 0.1.0 left in Airflow's database still works: trigger rows, deferred tasks, records, serialized Dags, callbacks.

Everything here stands as 0.1.0 wrote it, letter for letter, and is made of nothing that the package has today: it
must not change with it. Only what no run of a test can have again is put in: the id of the run and the moment.
"""

import asyncio
import base64
import importlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from airflow_runctl.control.seal import open_handle
from airflow_runctl.operators.snaplogic import SnapLogicStopTaskOperator, SnapLogicTriggerTaskOperator
from airflow_runctl.runs import ExternalRun, Owner, Ownership, TaskKey
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.sensors.run import ExternalRunSensor
from airflow_runctl.transport.aio import close_session
from tests.fakes.airflow_3 import FakeAirflow
from tests.fakes.airflow_any import Attempt, Deferral, event_of
from tests.unit.connections import Connections
from tests.unit.control import slow_callbacks
from tests.unit.versions import needs_task_store

pytestmark = pytest.mark.usefixtures("brisk")

KEY = "stored-by-0.1.0"
"""``seal_key`` in the connection's extra."""

RUN_ID = "4f1d6a0b_7c1e_4a53_9a56_1f1d2f3a4b5c"
URL = "https://elastic.snaplogic.com/sl/dashboard.html#4f1d"
FINGERPRINT = "efda2d1987be18b2ad889e58c9c92a738d888b21388d6b2bbbfb6874c1b964f7"
"""Digest of what the operator of these tests starts."""

TOKEN = (
    "gAAAAABrB1JkOvqg8Ynj8HDGCWDHs06arNEnGQr0ogrZjiS_-kDHKy4ARQde_EdZb1dF3Wu6F8effz8Rqc3ChAaaO4GOFeXawJ_dJHaA1u9niIyC"
    "DRfyeA7KME7ieKBx8j8roXpIZMxupyHKdOXn8NSPmw_s-FvJJBhkupcTeFr5dr5HhHH-PGETdDA3h_0jg4XEP2-EvUKFp-yXbKJV9eDNek5atXFI"
    "53gc-7CQtxBDfmJm8j5f5UvZUiT4iQXOevRlXFSP_CMzJoFRirqIDckZQTszJiW5wFK959ZSw6ibuCdLOk6NL5XQxvEPdD9UHMw9i_NHUQmqu9Mn"
    "Wyoe_WFvc8enbJnVSXLWHLfOs4Z5JQP-gSVHTleu5JT1SkvusinlsdOLdGDNYmpQM0HedK2iI7vIHRetR4Kq3V8-gkPavidl6EgWVKpyCgVK2ZE3"
    "MyWlbpbAb5jp-pimGwga8MGABp5Htuz_NQwwi-ROUJ8WzYrAGC0OTAOmdb8A_1r2sgSmYopHwcopmm9Di4f2Dt12nejUsX1x-8gPHW3tR4pGl9Wx"
    "PXFjMpRhR6IlqgbQO5WuzICyY_sgpws0reDbUpiXeWjZcqwTQq0IvtRNPmlwWonZrdlNh_Z4O0J9PRpfQT7-YyyKeK_k"
)
"""As 0.1.0 sealed ``CONTENT`` with ``KEY``."""

CONTENT = {
    "vendor": "snaplogic",
    "conn_id": "snaplogic_default",
    "run_id": RUN_ID,
    "url": URL,
    "started_at": "2026-03-01T06:00:02.123456+00:00",
    "ids": {"ruuid": RUN_ID},
    "owner": {
        "dag_id": "harvest",
        "run_id": "manual__1",
        "task_id": "start",
        "map_index": -1,
        "try_number": 1,
        "ownership": "task",
    },
    "fingerprint": "abc",
}


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """Return a handle as 0.1.0 made it, with what people see of it and the token."""
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"airflow-runctl handle v1").derive(KEY.encode())
    token = Fernet(base64.urlsafe_b64encode(derived)).encrypt(json.dumps(content).encode()).decode()
    return {**{name: content[name] for name in ("vendor", "conn_id", "run_id", "url", "started_at")}, "token": token}


def handle_of(run_id: str, began: datetime, **changes: Any) -> dict[str, Any]:
    """Return the handle of a run of these tests."""
    started_at = began.isoformat()
    content = {**CONTENT, "run_id": run_id, "ids": {"ruuid": run_id}, "started_at": started_at}
    return sealed({**content, "fingerprint": FINGERPRINT, **changes})


def trigger_row(handle: dict[str, Any], **changes: Any) -> Deferral:
    """Return the row of a start operator's trigger, and what the deferred task goes on with."""
    kwargs = {
        "external_run": handle,
        "poll_interval": 0.05,
        "limits": {},
        "stop_timeout": 5.0,
        "stop_on_kill": True,
        "ride_out": 600.0,
        "warn_at": None,
        "warn_callback": None,
    }
    return Deferral(
        "airflow_runctl.triggers.run.ExternalRunTrigger", {**kwargs, **changes}, None, "execute_complete", {}
    )


def sensor_trigger_row(handle: dict[str, Any], **changes: Any) -> Deferral:
    """Return the same of a sensor."""
    kwargs = {
        "external_run": handle,
        "poll_interval": 0.05,
        "limits": {"sensor_timeout": time.time() + 60},
        "ride_out": 600.0,
        "target_states": ["succeeded"],
        "backoff_since": None,
        "max_wait": None,
    }
    path = "airflow_runctl.triggers.sensor.ExternalRunSensorTrigger"
    return Deferral(path, {**kwargs, **changes}, None, "execute_complete", {})


def status(state: str, word: str) -> dict[str, Any]:
    return {"state": state, "vendor_state": word, "message": None, "result": None, "retry_is_safe": True}


def event(handle: dict[str, Any], **saw: Any) -> dict[str, Any]:
    """Return what a trigger of 0.1.0 said, and Airflow kept until the task went on."""
    nothing = {"status": None, "limit": None, "lost": None, "stop_error": None, "stop": None}
    return {"external_run": handle, **nothing, **saw}


def audit(handle: dict[str, Any], reason: str = "deadline") -> dict[str, Any]:
    """Return the record of a stop, as a deadline's callback left it."""
    return {
        "vendor": "snaplogic",
        "conn_id": "snaplogic_default",
        "run_id": handle["run_id"],
        "url": URL,
        "started_at": handle["started_at"],
        "state": "stopped",
        "vendor_state": "Stopped",
        "stop": {
            "reason": reason,
            "by": "deadline callback",
            "text": "too late",
            "asked_at": "2026-03-01T06:10:00.000+00:00",
            "outcome": "stopped",
            "seconds": 1.25,
        },
    }


def store_row(phase: str, handle: dict[str, Any] | None, **changes: Any) -> dict[str, Any]:
    """Return what an attempt wrote into the task state store."""
    row = {
        "vendor": "snaplogic",
        "conn_id": "snaplogic_default",
        "phase": phase,
        "handle": handle,
        "search": {"pipeline": None, "project": "/Acme/projects/sales", "known": []},
        "fingerprint": FINGERPRINT,
        "try_number": 1,
        "max_tries": 1,
        "at": time.time(),
    }
    return {"airflow_runctl": {**row, **changes}}


@dataclass
class Left:
    """A deferred task with a run that hangs; all that Airflow has stored of it is as 0.1.0 stored it."""

    fake: FakeAirflow
    box: Sandbox
    attempt: Attempt
    run_id: str
    began: datetime
    handle: dict[str, Any]

    def operator(self, **more: Any) -> Any:
        arguments = {"task_path": "projects/sales/early-hang", "deferrable": True, "poll_interval": 0.05, **more}
        with self.fake.dag():
            return SnapLogicTriggerTaskOperator(task_id="start", **arguments)

    def store(self, key: str, value: Any) -> None:
        self.fake.put_xcom("start", key, value)

    def event_of(self, row: Deferral) -> Any:
        """Let a triggerer build the trigger from its row and follow it to its event."""
        self.attempt.deferral = row
        with self.fake.recorded():
            return json.loads(json.dumps(event_of(self.fake, self.attempt)))

    def go_on(self, said: dict[str, Any], **more: Any) -> Attempt:
        """Let the worker go on with the deferred task."""
        return self.fake.run(self.operator(), deferral=trigger_row(self.handle), event=said, **more)


@pytest.fixture
def left(fake: FakeAirflow, box: Sandbox, connections: Connections) -> Iterator[Left]:
    fake.connections["snaplogic_default"] = connections.row("snaplogic_default", {"seal_key": KEY})
    box.behave("snaplogic", "early-hang", stop_seconds=0.02)
    left = Left(fake, box, None, "", datetime.now(UTC), {})  # type: ignore[arg-type]
    left.attempt = fake.run(left.operator())
    assert left.attempt.state == "deferred", left.attempt.said
    left.run_id = box.runs()[0]["run_id"]
    left.handle = handle_of(left.run_id, left.began)
    if hasattr(fake, "store"):
        fake.store.clear()
    left.store("external_run", left.handle)
    left.store("external_run_audit", {"vendor": "snaplogic", "conn_id": "snaplogic_default", "state": "starting"})
    yield left
    assert box.seed not in fake.everything()


# -- handles -----------------------------------------------------------------------------------------------


def test_a_handle_of_0_1_0_opens(connections: Connections) -> None:
    shown = {name: CONTENT[name] for name in ("vendor", "conn_id", "run_id", "url", "started_at")}
    access = connections.access("snaplogic_default", {"seal_key": KEY})
    where = TaskKey("harvest", "manual__1", "start")
    assert open_handle({**shown, "token": TOKEN}, access, found_at=where) == ExternalRun(
        vendor="snaplogic",
        conn_id="snaplogic_default",
        run_id=RUN_ID,
        url=URL,
        started_at=datetime(2026, 3, 1, 6, 0, 2, 123456, tzinfo=UTC),
        ids={"ruuid": RUN_ID},
        owner=Owner(where, 1, Ownership.TASK),
        fingerprint="abc",
    )


# -- trigger rows ------------------------------------------------------------------------------------------


def test_a_trigger_row_is_followed_to_the_end_of_the_run_and_the_task_goes_on(left: Left, box: Sandbox) -> None:
    box.set_run(left.run_id, "Completed")
    said = left.event_of(trigger_row(left.handle))
    assert {"events": [], **said} == {
        **event(left.handle, status={**status("succeeded", "Completed"), "result": said["status"]["result"]}),
        "events": said.get("events", []),
    }
    attempt = left.go_on(said)
    assert attempt.state == "success", attempt.said
    assert (attempt.result["run_id"], attempt.result["state"]) == (left.run_id, "succeeded")
    assert left.fake.xcom("start", "external_run") is None


def test_a_limit_in_a_trigger_row_stops_the_run(left: Left, box: Sandbox) -> None:
    said = left.event_of(trigger_row(left.handle, limits={"max_runtime": time.time() - 1}))
    assert (said["limit"], said["stop"]["outcome"]) == ("max_runtime", "stopped")
    assert box.open_runs() == []
    assert "took longer than max_runtime" in left.go_on(said).said


def test_a_slow_run_in_a_trigger_row_calls_what_the_row_names(
    left: Left, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Heard(list[tuple[str, dict[str, Any]]]):
        def append(self, told: tuple[str, dict[str, Any]]) -> None:
            super().append(told)
            box.set_run(left.run_id, "Completed")

    monkeypatch.setattr(slow_callbacks, "HEARD", Heard())
    callback = {"path": "tests.unit.control.slow_callbacks.tell", "kwargs": {"channel": "night shift"}}
    said = left.event_of(trigger_row(left.handle, warn_at=time.time() - 1, warn_callback=callback))
    assert said["status"]["state"] == "succeeded"
    ((channel, told),) = slow_callbacks.HEARD
    assert (channel, told["external_run"]["run_id"]) == ("night shift", left.run_id)


def test_a_user_who_clears_a_task_that_was_deferred_with_0_1_0_stops_its_run(left: Left, box: Sandbox) -> None:
    trigger = left.fake.trigger_of(trigger_row(left.handle), left.attempt)
    left.fake.states["start"] = None

    async def kill() -> None:
        await trigger.on_kill()
        await close_session()

    with left.fake.recorded():
        asyncio.run(kill())
    assert box.open_runs() == []


def test_a_sensors_trigger_row_is_followed_to_the_end_of_the_run_and_the_sensor_goes_on(
    left: Left, box: Sandbox
) -> None:
    box.set_run(left.run_id, "Completed")
    row = sensor_trigger_row(left.handle)
    said = left.event_of(row)
    assert said == event(left.handle, status={**status("succeeded", "Completed"), "result": said["status"]["result"]})
    with left.fake.dag():
        sensor = ExternalRunSensor(task_id="wait", external_run=left.handle, deferrable=True)
    attempt = left.fake.run(sensor, deferral=row, event=said)
    assert attempt.state == "success", attempt.said
    assert (attempt.result["run_id"], attempt.result["state"]) == (left.run_id, "succeeded")


# -- events ------------------------------------------------------------------------------------------------

STOPPED = {"outcome": "stopped", "status": status("stopped", "Stopped"), "seconds": 1.5}


@pytest.mark.parametrize(
    ("saw", "state", "words"),
    [
        ({"status": status("succeeded", "Completed")}, "success", ""),
        ({"status": {**status("failed", "Failed"), "message": "no disk"}}, "up_for_retry", "is Failed: no disk"),
        ({"status": {**status("failed", "Failed"), "retry_is_safe": False}}, "failed", "no retry may start it"),
        ({"status": status("stopped", "Stopped")}, "failed", "was stopped at the vendor"),
        ({"limit": "max_runtime", "stop": STOPPED}, "up_for_retry", "it was stopped (stopped, 1.5 s)"),
        ({"limit": "execution_timeout", "stop": STOPPED}, "up_for_retry", "execution_timeout passed"),
        ({"limit": "max_runtime", "stop_error": "no way"}, "up_for_retry", "max_runtime; no way"),
    ],
)
def test_an_event_that_waited_for_its_task_decides_as_it_did(
    left: Left, saw: dict[str, Any], state: str, words: str
) -> None:
    attempt = left.go_on(event(left.handle, **saw), retries=1)
    assert attempt.state == state
    assert attempt.error is None if state == "success" else words in attempt.said


# -- records -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reason", "state"), [("deadline", "failed"), ("sla", "failed"), ("killed", "up_for_retry")])
def test_the_recorded_reason_of_a_stop_decides_about_retries(left: Left, reason: str, state: str) -> None:
    left.store("external_run_audit", audit(left.handle, reason))
    attempt = left.go_on(event(left.handle, status=status("stopped", "Stopped")), retries=1)
    assert attempt.state == state
    assert f"was stopped: {reason} (too late), by deadline callback." in attempt.said


def stop_the_dag_run(path: str = "airflow_runctl.notifications.StopRunsNotifier", **kwargs: Any) -> Any:
    """Call the notifier as Airflow does: by the path and the arguments that a deadline's callback has stored."""
    module, _, name = path.rpartition(".")
    context = {"dag_run": {"dag_id": "harvest", "dag_run_id": "manual__1"}, "deadline": {"id": "d-1"}}
    stored = {"task_ids": None, "stop_reason": "late", "wait_for_stop": True, "stop_timeout": 5.0, "dry_run": False}

    async def called() -> Any:
        notifier = getattr(importlib.import_module(module), name)(**{**stored, **kwargs}, context=context)
        try:
            return json.loads(await notifier.async_notify(context))
        finally:
            await close_session()

    return asyncio.run(called())


def test_a_deadlines_stored_callback_stops_a_run_whose_handle_0_1_0_stored(left: Left, box: Sandbox) -> None:
    left.fake.states["start"] = "deferred"
    (said,) = stop_the_dag_run()
    assert (said["task"], said["outcome"]) == ("harvest/manual__1/start", "stopped")
    assert box.open_runs() == []
    assert left.fake.xcom("start", "external_run_audit")["stop"]["text"] == "late"


def test_a_deadlines_stored_callback_finds_the_run_of_a_start_that_was_lost(left: Left, box: Sandbox) -> None:
    search = {"search": json.dumps({"pipeline": "early-hang", "project": "/Acme/projects/sales", "known": []})}
    start = handle_of("starting", left.began, url=None, ids=search, fingerprint=None)
    names = {"vendor": "snaplogic", "conn_id": "snaplogic_default"}
    left.store("external_run", None)
    left.store("external_run_audit", {**names, "state": "starting", "start": start})
    left.fake.states["start"] = "failed"
    (said,) = stop_the_dag_run()
    assert (said["error"], said["outcome"]) == (None, "stopped")
    assert box.open_runs() == []


@needs_task_store
@pytest.mark.parametrize("phase", ["live", "starting"])
def test_a_retry_goes_on_with_what_0_1_0_left_in_the_task_state_store(left: Left, box: Sandbox, phase: str) -> None:
    handle = left.handle if phase == "live" else None
    search = {"pipeline": "early-hang", "project": "/Acme/projects/sales", "known": []}
    left.fake.store["harvest", "manual__1", "start", -1] = store_row(phase, handle, search=search)
    attempt = left.fake.run(left.operator(), try_number=2)
    assert attempt.state == "deferred", attempt.said
    assert left.fake.xcom("start", "external_run")["run_id"] == left.run_id
    assert (len(box.runs()), len(box.open_runs())) == (1, 1)


@needs_task_store
def test_a_try_after_a_clear_ends_what_0_1_0_left_before_it_starts_anew(
    left: Left, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_runctl.control.takeover.CLEAR_SECONDS", 0.0)
    left.fake.store["harvest", "manual__1", "start", -1] = store_row("live", left.handle)
    attempt = left.fake.run(left.operator(on_retry="restart"), try_number=3)
    assert attempt.state == "deferred", attempt.said
    assert [run["open"] for run in box.runs()] == [False, True]


@pytest.mark.parametrize("form", ["handle", "returned"])
def test_a_stop_task_takes_what_a_start_of_0_1_0_returned(left: Left, box: Sandbox, form: str) -> None:
    returned = {
        "run_id": left.run_id,
        "state": "running",
        "vendor_state": "Started",
        "url": URL,
        "result": None,
        "external_run": left.handle,
    }
    with left.fake.dag():
        given = left.handle if form == "handle" else returned
        stop = SnapLogicStopTaskOperator(task_id="stop", external_run=given)
    attempt = left.fake.run(stop)
    assert attempt.state == "success", attempt.said
    assert attempt.result["outcome"] == "stopped"
    assert box.open_runs() == []


# -- serialized Dags ---------------------------------------------------------------------------------------

SERIALIZED_TASKS = json.loads("""[
{"task_type": "SnapLogicTriggerTaskOperator", "_task_module": "airflow_runctl.operators.snaplogic",
 "template_fields": ["task_path", "task_url", "parameters", "body", "pipeline_name", "project_path", "conn_id"],
 "_operator_extra_links": {"External run": "_link_ExternalRunLink"}},
{"task_type": "SnapLogicStopTaskOperator", "_task_module": "airflow_runctl.operators.snaplogic",
 "template_fields": ["ruuid", "external_run", "disable_task", "search", "conn_id", "stop_reason"]},
{"task_type": "SnapLogicResumeTaskOperator", "_task_module": "airflow_runctl.operators.snaplogic",
 "template_fields": ["ruuid", "external_run", "conn_id"]},
{"task_type": "AxiomTriggerRunOperator", "_task_module": "airflow_runctl.operators.axiom",
 "template_fields": ["name", "data", "conn_id"],
 "_operator_extra_links": {"External run": "_link_ExternalRunLink"}},
{"task_type": "AxiomStopRunOperator", "_task_module": "airflow_runctl.operators.axiom",
 "template_fields": ["pid", "pw", "viewer_url", "name", "external_run", "conn_id", "stop_reason"]},
{"task_type": "VectorShiftRunPipelineOperator", "_task_module": "airflow_runctl.operators.vectorshift",
 "template_fields": ["pipeline_id", "inputs", "files", "version", "conn_id"],
 "_operator_extra_links": {"External run": "_link_ExternalRunLink"}},
{"task_type": "VectorShiftTerminateRunOperator", "_task_module": "airflow_runctl.operators.vectorshift",
 "template_fields": ["pipeline_id", "run_id", "external_run", "conn_id", "stop_reason"]},
{"task_type": "VectorShiftPauseRunOperator", "_task_module": "airflow_runctl.operators.vectorshift",
 "template_fields": ["pipeline_id", "run_id", "external_run", "conn_id"]},
{"task_type": "VectorShiftResumeRunOperator", "_task_module": "airflow_runctl.operators.vectorshift",
 "template_fields": ["pipeline_id", "run_id", "external_run", "conn_id"]},
{"task_type": "BctrlStartRuntimeOperator", "_task_module": "airflow_runctl.operators.bctrl",
 "template_fields": ["workspace_id", "alias", "kind", "driver", "launch", "browser_id", "name", "space_id", "options",
  "conn_id"],
 "_operator_extra_links": {"External run": "_link_ExternalRunLink"}},
{"task_type": "BctrlRunTaskOperator", "_task_module": "airflow_runctl.operators.bctrl",
 "template_fields": ["agent", "input", "version", "options", "conn_id"],
 "_operator_extra_links": {"External run": "_link_ExternalRunLink"}},
{"task_type": "BctrlStopRuntimeOperator", "_task_module": "airflow_runctl.operators.bctrl",
 "template_fields": ["workspace_id", "alias", "browser_id", "agent_task_id", "external_run", "search", "conn_id",
  "stop_reason"]},
{"task_type": "ExternalRunSensor", "_task_module": "airflow_runctl.sensors.run",
 "template_fields": ["external_run", "ids", "conn_id"],
 "_operator_extra_links": {"External run": "_link_ExternalRunLink"}}
]""")
"""Every kind of task, as a serialized Dag has it; trimmed to what names something of the package."""

LINK_OF_AIRFLOW_2 = "airflow_runctl.links.ExternalRunLink"
"""There a serialized Dag names the link by its class."""


@pytest.mark.parametrize("task", SERIALIZED_TASKS, ids=lambda task: task["task_type"])
def test_a_serialized_task_names_a_class_a_link_and_fields_that_are_there(task: dict[str, Any]) -> None:
    operator = getattr(importlib.import_module(task["_task_module"]), task["task_type"])
    assert operator.__module__ == task["_task_module"]
    assert set(task["template_fields"]) <= set(operator.template_fields)
    links = {link.name: link for link in operator.operator_extra_links}
    assert {name: link.xcom_key for name, link in links.items()} == task.get("_operator_extra_links", {})
    assert {f"{type(link).__module__}.{type(link).__qualname__}" for link in links.values()} <= {LINK_OF_AIRFLOW_2}


def test_a_serialized_dag_is_read_and_its_deferred_task_is_found_in_it() -> None:
    """Airflow 3.2 and newer write this form; what others write names the same classes."""
    serialization = pytest.importorskip("airflow.serialization.serialized_objects")
    dag_serialization = getattr(serialization, "DagSerialization", None)
    if dag_serialization is None:
        pytest.skip("this Airflow reads serialized Dags in another way")
    task = {
        **SERIALIZED_TASKS[0],
        "has_retry_policy": False,
        "_needs_expansion": False,
        "downstream_task_ids": [],
        "retry_delay": 300.0,
        "task_id": "start",
        "task_path": "projects/sales/t",
        "conn_id": "snaplogic_default",
    }
    children = {"start": ["operator", "start"]}
    empty: dict[str, list[str]] = {
        f"{way}_{kind}_ids": [] for way in ("upstream", "downstream") for kind in ("group", "task")
    }
    group = {
        "_group_id": None,
        "group_display_name": "",
        "prefix_group_id": True,
        "tooltip": "",
        "ui_color": "CornflowerBlue",
        "ui_fgcolor": "#000",
    }
    dag = dag_serialization.from_dict(
        {
            "__version": 3,
            "dag": {
                "dag_id": "harvest",
                "timezone": "UTC",
                "timetable": {"__type": "airflow.timetables.simple.NullTimetable", "__var": {}},
                "fileloc": "/dags/harvest.py",
                "start_date": 1767225600.0,
                "task_group": {**group, "children": children, **empty},
                "tasks": [{"__type": "operator", "__var": task}],
                "dag_dependencies": [],
                "edge_info": {},
                "params": [],
                "has_on_failure_callback": True,
            },
        }
    )
    found = dag.get_task("start")
    assert (found.task_type, found._task_module) == (
        "SnapLogicTriggerTaskOperator",
        "airflow_runctl.operators.snaplogic",
    )
    assert [link.xcom_key for link in found.operator_extra_link_dict.values()] == ["_link_ExternalRunLink"]


@pytest.mark.parametrize(
    "path",
    [
        "airflow_runctl.hooks.snaplogic.SnapLogicHook",
        "airflow_runctl.hooks.axiom.AxiomHook",
        "airflow_runctl.hooks.vectorshift.VectorShiftHook",
        "airflow_runctl.hooks.bctrl.BctrlHook",
        "airflow_runctl.policy.stop_runs_of_ended_dag_runs",
        "airflow_runctl.provider_info.get_provider_info",
        "airflow_runctl.notifications.StopRunsNotifier",
    ],
)
def test_what_metadata_and_settings_name_is_there(path: str) -> None:
    module, _, name = path.rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))
