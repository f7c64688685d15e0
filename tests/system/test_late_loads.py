"""A load that is late is stopped, and nothing else: by an SLA on Airflow 2.11, by a deadline on Airflow 3.

The Dags are those of docs/how-to/from-sla-miss-callback.md.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_runctl.sandbox.client import Sandbox
from demo.real_airflow import RealAirflow
from tests.system.versions import AIRFLOW, each_version, needs_deadlines, needs_slas

HERE = Path(__file__).parent
DOCUMENTED = HERE.parents[1] / "docs" / "dags" / f"airflow_{AIRFLOW[0]}"
LOADS = [
    ("snaplogic", "load_orders"),
    ("axiom", "Scrape prices"),
    ("snaplogic", "overlapping"),
    ("vectorshift", "overlapping"),
    ("axiom", "overlapping"),
]
LIMIT = 20.0
OVERLAPPING_LIMIT = 35.0
"""Seconds of the SLAs in these Dags."""


@pytest.fixture(scope="module")
def late_airflow(sandbox: Sandbox, airflow_database: str | None) -> Iterator[RealAirflow]:
    """An Airflow whose scheduled loads end well, until they are told to hang."""
    hang(sandbox, False)
    folders = [DOCUMENTED, *([HERE / "dags_with_slas"] if AIRFLOW < (3, 0) else [])]
    with RealAirflow(dag_folders=folders, environment=sandbox.connections, database=airflow_database) as booted:
        yield booted


def hang(sandbox: Sandbox, hangs: bool) -> datetime:
    """Let all loads that are started from now on hang, or end well at once; return when it is so."""
    for vendor, name in LOADS:
        sandbox.behave(vendor, name, run_seconds=None if hangs else 1)
    return datetime.now(UTC)


class Load:
    """A scheduled Dag and the runs of its tasks."""

    def __init__(self, airflow: RealAirflow, sandbox: Sandbox, dag_id: str) -> None:
        self.airflow = airflow
        self.sandbox = sandbox
        self.dag_id = dag_id

    def wait_for_a_good_run(self) -> None:
        self.airflow.wait_for(
            lambda: any(row["state"] == "success" for row in self.airflow.dag_runs(self.dag_id)),
            f"a good run of {self.dag_id}",
            180,
        )

    def hung(self, since: datetime, *task_ids: str, count: int = 1) -> list[str]:
        """Wait until ``count`` Dag runs have a run that hangs of each of these tasks; return them, the oldest first.

        A run that was started before may be open as well: it ends by itself a moment later.
        """

        def hangs(run: dict[str, Any] | None) -> bool:
            return run is not None and run["open"] and datetime.fromisoformat(run["created_at"]) > since

        def found() -> Any:
            rows = [row["dag_run_id"] for row in self.unfinished()]
            hung = [row for row in rows if all(hangs(self.run_of(row, task_id)) for task_id in task_ids)]
            return len(hung) >= count and hung

        hung: list[str] = self.airflow.wait_for(found, f"{count} runs of {self.dag_id} that hang", 180)
        return hung

    def unfinished(self) -> list[dict[str, Any]]:
        return [row for row in self.airflow.dag_runs(self.dag_id) if row["state"] in ("queued", "running")]

    def run_of(self, run_id: str, task_id: str) -> dict[str, Any] | None:
        """The run at the vendor that a task has recorded, alive or not."""
        for key in ("external_run", "external_run_audit"):
            if key in self.airflow.xcom_keys(self.dag_id, run_id, task_id):
                named = self.airflow.xcom(self.dag_id, run_id, task_id, key).get("run_id")
                return next((run for run in self.sandbox.runs() if named in (run["run_id"], _axiom_name(run))), None)
        return None

    def wait_until_failed(self, run_id: str, task_id: str) -> None:
        self.airflow.wait_for_task(self.dag_id, run_id, task_id, "failed", timeout=180)

    def stop_of(self, run_id: str, task_id: str) -> dict[str, Any]:
        stop: dict[str, Any] = self.airflow.xcom(self.dag_id, run_id, task_id, "external_run_audit")["stop"]
        return stop

    def end(self) -> None:
        """Schedule no more, and end at the vendors what hangs."""
        self.airflow.unpause(self.dag_id, paused=True)
        hang(self.sandbox, False)
        for row in self.unfinished():
            self.airflow.mark_dag_run(self.dag_id, row["dag_run_id"], "failed")


def _axiom_name(run: dict[str, Any]) -> str:
    """What axiom.ai's client calls a run: by its viewer URL, the only name it has."""
    return f"{run['name']} #{str(run['details'].get('viewer_url', '')).partition('taskId=')[2]}"


def due(dag_run: dict[str, Any]) -> float:
    """When the SLAs of a Dag run begin to count."""
    return datetime.fromisoformat(dag_run["data_interval_end"]).timestamp()


def ended(run: dict[str, Any]) -> float:
    return datetime.fromisoformat(run["ended_at"]).timestamp()


@each_version
@needs_slas
def test_an_sla_miss_stops_the_late_task_s_run_and_no_other(
    late_airflow: RealAirflow, sandbox: Sandbox, matrix_lines: list[Any]
) -> None:
    load = Load(late_airflow, sandbox, "load_with_sla")
    load.wait_for_a_good_run()
    since = hang(sandbox, True)
    run_id = load.hung(since, "load_orders", "scrape_prices")[0]

    load.wait_until_failed(run_id, "load_orders")

    late, other = load.run_of(run_id, "load_orders"), load.run_of(run_id, "scrape_prices")
    assert late is not None
    assert late["state"] == "Stopped"
    took = ended(late) - due(late_airflow.dag_run("load_with_sla", run_id)) - LIMIT
    matrix_lines.append(("13 SLA miss", "deferred", "snaplogic", int(late["open"]), 0, f"{took:.1f}"))
    stop = load.stop_of(run_id, "load_orders")
    assert (stop["reason"], stop["text"], stop["by"]) == ("sla", "the load is late", "Dag processor")
    assert "was stopped: sla (the load is late)" in late_airflow.task_log("load_with_sla", run_id, "load_orders")
    assert other is not None
    assert (other["open"], other["stop_requests"]) == (True, 0)
    assert late_airflow.task_state("load_with_sla", run_id, "scrape_prices") == "deferred"
    load.end()


@needs_slas
def test_each_of_several_late_runs_is_stopped_when_it_is_late_itself(
    late_airflow: RealAirflow, sandbox: Sandbox, matrix_lines: list[Any]
) -> None:
    load = Load(late_airflow, sandbox, "overlapping")
    load.wait_for_a_good_run()
    since = hang(sandbox, True)
    hung = load.hung(since, "deferred", count=2)[:2]

    for run_id in hung:
        for task_id in ("deferred", "worker"):
            load.wait_until_failed(run_id, task_id)
            run = load.run_of(run_id, task_id)
            assert run is not None
            assert not run["open"]
            assert load.stop_of(run_id, task_id)["reason"] == "sla"
            lived = ended(run) - due(late_airflow.dag_run("overlapping", run_id))
            assert lived >= OVERLAPPING_LIMIT, "stopped before it was late"
            took = f"{lived - OVERLAPPING_LIMIT:.1f}"
            matrix_lines.append(("13 SLA miss, overlapping", task_id, run["vendor"], int(run["open"]), 0, took))
        other = load.run_of(run_id, "without")
        assert other is None or other["stop_requests"] == 0
    load.end()


@needs_deadlines
def test_a_deadline_stops_the_late_task_s_run_and_no_other(late_airflow: RealAirflow, sandbox: Sandbox) -> None:
    load = Load(late_airflow, sandbox, "load_with_deadline")
    load.wait_for_a_good_run()
    since = hang(sandbox, True)
    run_id = load.hung(since, "load_orders", "scrape_prices")[0]

    load.wait_until_failed(run_id, "load_orders")

    late, other = load.run_of(run_id, "load_orders"), load.run_of(run_id, "scrape_prices")
    assert late is not None
    assert late["state"] == "Stopped"
    assert load.stop_of(run_id, "load_orders")["reason"] == "deadline"
    assert other is not None
    assert (other["open"], other["stop_requests"]) == (True, 0)
    load.end()
