"""The Dags of the tutorial and of the how-to pages do against the sandbox what their pages say."""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_runctl.notifications import StopRunsNotifier
from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.transport.aio import close_session
from tests.fakes.airflow_3 import FakeAirflow
from tests.fakes.airflow_any import Attempt, event_of
from tests.places import DOCS
from tests.unit.versions import needs_task_store

pytestmark = pytest.mark.usefixtures("brisk")

HOW_TO = DOCS / "dags" / "how_to"
SETTINGS = HOW_TO / "airflow_local_settings.py"
TUTORIAL = DOCS / "dags" / "tutorial" / "first_deadline.py"


class Told:
    """The Dag of a page, and the Airflow that runs its tasks.

    :param file: the Dag's.
    """

    def __init__(self, fake: FakeAirflow, file: Path) -> None:
        self.fake = fake
        self.dag = dag_of(file)
        fake.dag_id = self.dag.dag_id

    def task(self, task_id: str, **changes: Any) -> Any:
        """Return a task of the Dag, which looks often; its page's figures are those of real life."""
        task = self.dag.get_task(task_id)
        often = {name: 0.05 for name in ("poll_interval", "poke_interval") if hasattr(task, name)}
        for name, value in {**often, **changes}.items():
            setattr(task, name, value)
        return task

    def run(self, task: Any, **how: Any) -> Attempt:
        """Run an attempt to its end, deferred or not."""
        attempt = self.fake.run(task, **how)
        if attempt.deferral is None:
            return attempt
        event = event_of(self.fake, attempt)
        return self.fake.run(task, deferral=attempt.deferral, event=event, **how)


def dag_of(file: Path) -> Any:
    """Load a file; return the one Dag that it makes."""
    from airflow.providers.common.compat.sdk import DAG

    made: list[Any] = []
    entered = DAG.__enter__

    def enter(dag: Any) -> Any:
        made.append(dag)
        return entered(dag)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DAG, "__enter__", enter)
        runpy.run_path(str(file))
    (dag,) = made
    return dag


def test_every_dag_of_a_page_is_run_here_or_by_a_system_test() -> None:
    source = Path(__file__).read_text()
    here = {file.name for file in HOW_TO.glob("*.py") if f'"{file.name}"' in source}
    assert {file.name for file in HOW_TO.glob("*.py")} == here
    folders = {file.parent.name for file in (DOCS / "dags").rglob("*.py")}
    assert folders == {"how_to", "tutorial", "many_starts", "airflow_2", "airflow_3"}


# -- limit a task --------------------------------------------------------------------------------------------


def test_a_limited_task_is_reported_then_stopped(fake: FakeAirflow, box: Sandbox) -> None:
    told = Told(fake, HOW_TO / "limit_a_task.py")
    task = told.dag.get_task("load_orders")
    assert task.warn_after < task.max_runtime < task.execution_timeout
    box.behave("snaplogic", "load-orders", run_seconds=None, stop_seconds=0.02)
    attempt = told.run(told.task("load_orders", warn_after=timedelta(0), max_runtime=timedelta(seconds=0.3)))
    assert "longer than max_runtime; it was stopped" in attempt.said
    assert [run["state"] for run in box.runs()] == ["Stopped"]


# -- further tries -------------------------------------------------------------------------------------------


@needs_task_store
def test_the_try_after_a_crash_goes_on_with_the_run(fake: FakeAirflow, box: Sandbox) -> None:
    told = Told(fake, HOW_TO / "take_over_after_a_crash.py")
    task = told.task("load_orders", deferrable=True)
    box.behave("snaplogic", "load-orders", run_seconds=None)
    assert fake.run(task, retries=2).state == "deferred"  # and nothing is heard of it any more
    (run,) = box.runs()
    box.behave("snaplogic", "load-orders", run_seconds=0.1)
    box.set_run(run["run_id"], "Completed")
    attempt = told.run(told.task("load_orders", deferrable=False), try_number=2, retries=1)
    assert (attempt.state, attempt.result["run_id"]) == ("success", run["run_id"])
    assert len(box.runs()) == 1


@needs_task_store
def test_the_next_try_resumes_a_suspended_run(fake: FakeAirflow, box: Sandbox) -> None:
    told = Told(fake, HOW_TO / "resume_instead_of_restart.py")
    box.behave("snaplogic", "suspend", suspend_after_seconds=0.1, run_seconds=0.1)
    task = told.task("load_orders")
    assert told.run(task, retries=3).state == "up_for_retry"
    assert told.run(task, try_number=2, retries=2).state == "success"
    (run,) = box.runs()
    assert run["resume_requests"] == 1


# -- runs of others ------------------------------------------------------------------------------------------


def start_elsewhere(fake: FakeAirflow, name: str = "early-hang") -> str:
    """Start a run that this Dag run knows nothing of."""
    dag_id, fake.dag_id = fake.dag_id, "elsewhere"
    with fake.dag():
        task = SnapLogicTriggerTaskOperator(
            task_id="start", task_path=f"projects/sales/{name}", pipeline_name=name, wait_for_completion=False
        )
    attempt = fake.run(task)
    fake.dag_id = dag_id
    assert attempt.state == "success", attempt.said
    run_id: str = attempt.result["run_id"]
    return run_id


def test_a_search_first_reports_then_stops(fake: FakeAirflow, box: Sandbox) -> None:
    told = Told(fake, HOW_TO / "stop_by_search.py")
    box.behave("snaplogic", "early-hang", stop_seconds=0.02)
    run_id = start_elsewhere(fake)
    looked = told.run(told.task("look"))
    assert [(row["run_id"], row["outcome"]) for row in looked.result] == [(run_id, None)]
    assert [run["run_id"] for run in box.open_runs()] == [run_id]
    stopped = told.run(told.task("stop"))
    assert [(row["run_id"], row["outcome"]) for row in stopped.result] == [(run_id, "stopped")]
    assert box.open_runs() == []


def test_a_sensor_waits_for_the_run_that_it_is_told(fake: FakeAirflow, box: Sandbox) -> None:
    told = Told(fake, HOW_TO / "watch_somebody_elses_run.py")
    run_id = start_elsewhere(fake)
    box.set_run(run_id, "Completed")
    task = told.task("nightly_export_is_done", deferrable=False)
    task.params["ruuid"] = run_id  # as whoever starts the Dag gives it
    attempt = told.run(task)
    assert (attempt.state, attempt.result["run_id"]) == ("success", run_id)
    assert box.runs()[0]["stop_requests"] == 0


# -- every Dag -----------------------------------------------------------------------------------------------


def test_the_settings_give_a_dag_its_callbacks(fake: FakeAirflow) -> None:
    settings = runpy.run_path(str(HOW_TO / "airflow_local_settings.py"))
    with fake.dag() as dag:
        SnapLogicTriggerTaskOperator(task_id="start", task_path="projects/sales/early-hang")
    settings["dag_policy"](dag)
    for callbacks in (dag.on_failure_callback, dag.on_success_callback):
        assert [type(callback) for callback in callbacks] == [StopRunsNotifier]


# -- the tutorial --------------------------------------------------------------------------------------------


@needs_task_store  # which the Airflow of the tutorial has
def test_the_deadline_of_the_tutorial_stops_its_run(fake: FakeAirflow, box: Sandbox) -> None:
    told = Told(fake, TUTORIAL)
    box.behave("snaplogic", "hang", stop_seconds=0.02)
    task = told.task("load_orders")
    assert fake.run(task).state == "deferred"
    assert [run["name"] for run in box.open_runs()] == ["hang"]
    (alert,) = told.dag.deadline if isinstance(told.dag.deadline, list) else [told.dag.deadline]
    context = {
        "dag_run": {"dag_id": told.dag.dag_id, "dag_run_id": fake.run_id, "state": "running"},
        "deadline": {"id": "d-1", "deadline_time": "2026-01-01T00:00:00Z"},
    }
    notifier = StopRunsNotifier(**alert.callback.kwargs, context=context)

    async def called() -> str:
        try:
            said: str = await notifier
            return said
        finally:
            await close_session()

    (said,) = json.loads(asyncio.run(called()))
    assert said["outcome"] == "stopped"
    assert [run["state"] for run in box.runs()] == ["Stopped"]


def test_the_settings_of_the_tutorial_take_the_connections_that_the_sandbox_writes_down(
    box: Sandbox, tmp_path: Path
) -> None:
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "activate").write_text("export ACTIVATED=yes\n")
    lines = [f"{name}='{value}'" for name, value in box.connections.items()]
    (tmp_path / "sandbox.txt").write_text("\n".join(["sandbox listening on http://127.0.0.1:8787", *lines, ""]))
    script = f'set -eu; . "{DOCS / "tutorial" / "settings.sh"}"; env -0'
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found = dict(row.split("=", 1) for row in done.stdout.split("\0") if row)
    assert box.connections.items() <= found.items()
    assert (found["ACTIVATED"], found["AIRFLOW_HOME"]) == ("yes", os.path.join(tmp_path, "airflow"))
