"""Gathers the history of a soak from Airflow's database and from the vendors, once it has settled."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from tests.soak.deployment import Deployment
from tests.soak.history import Attempt, DagRun, Event, History, Run
from tests.soak.journal import Journal
from tests.soak.people import owner_of
from tests.soak.plan import Plan

TRIES: Final = """
SELECT id, dag_id, run_id, task_id, map_index, try_number, max_tries, state, queued_dttm, start_date, end_date, pid
FROM task_instance
UNION ALL
SELECT task_instance_id, dag_id, run_id, task_id, map_index, try_number, max_tries, state, queued_dttm, start_date,
end_date, pid FROM task_instance_history
"""
DAG_RUNS: Final = "SELECT dag_id, run_id, state, LEAST(queued_at, run_after) AS queued_at, end_date FROM dag_run"
"""``queued_at`` is that of the latest clear."""
OVER: Final = ("success", "failed")
LONGEST_END_SECONDS: Final = 600.0
"""In which all Dag runs have to be over, after the last fault; the longest wait of a Dag here is ``BACKSTOP``."""

QUIET_SECONDS: Final = 90.0
"""For so long runs that are alive have to stay as they are before nothing more is expected to stop them."""

STEP_SECONDS: Final = 1.0


def settle(deployment: Deployment, journal: Journal, plan: Plan, keep_up: Callable[[], None]) -> None:
    """Wait until all Dag runs are over and all runs too, or until nothing more is to be expected."""
    began = time.monotonic()
    wanted, said = {run.name for run in plan.dag_runs}, began
    while time.monotonic() - began < LONGEST_END_SECONDS:
        keep_up()
        over = {row["run_id"] for row in deployment.rows(DAG_RUNS) if row["state"] in OVER}
        if wanted <= over:
            break
        if time.monotonic() - said > 30:
            said = time.monotonic()
            journal.tell(f"settling: {len(wanted - over)} Dag runs are not over: {' '.join(sorted(wanted - over))}")
        time.sleep(STEP_SECONDS)
    journal.tell("settling: Dag runs are over; now the runs at the vendors")
    alive, since = _alive(deployment), time.monotonic()
    while alive and time.monotonic() - since < QUIET_SECONDS:
        keep_up()
        time.sleep(STEP_SECONDS)
        if (still := _alive(deployment)) != alive:
            alive, since = still, time.monotonic()


def _alive(deployment: Deployment) -> set[tuple[str, int]]:
    return {(run["run_id"], run["stop_requests"]) for run in deployment.sandbox.open_runs()}


def gather(deployment: Deployment, events: Sequence[Event]) -> History:
    """Return all that is known."""
    dag_runs = [_dag_run(row) for row in deployment.rows(DAG_RUNS)]
    tries: dict[tuple[str, int], Attempt] = {}
    for row in deployment.rows(TRIES):
        attempt = _attempt(row)
        # Between two tries the one before is in both tables.
        tries.setdefault((attempt.owner, attempt.number), attempt)
    runs = [_run(row) for row in deployment.sandbox.runs()]
    by_time = sorted(events, key=lambda event: event.at)
    return History(by_time, dag_runs, sorted(tries.values(), key=lambda one: (one.owner, one.number)), runs)


def _dag_run(row: Any) -> DagRun:
    _, kind, vendor = row["dag_id"].split("_")
    return DagRun(row["run_id"], kind, vendor, row["state"], row["queued_at"], row["end_date"])


def _attempt(row: Any) -> Attempt:
    return Attempt(
        id=str(row["id"]),
        owner=owner_of(row["run_id"], row["task_id"], row["map_index"]),
        dag_run=row["run_id"],
        task=row["task_id"],
        number=row["try_number"],
        is_last=row["try_number"] > row["max_tries"],
        state=row["state"],
        queued=row["queued_dttm"],
        started=row["start_date"],
        ended=row["end_date"],
        pid=row["pid"],
    )


def _run(row: Any) -> Run:
    asked = (event["at"] for event in row["history"] if event["event"] == "stop asked")
    return Run(
        id=row["run_id"],
        vendor=row["vendor"],
        owner=row["name"],
        state=row["state"],
        is_open=row["open"],
        created=datetime.fromisoformat(row["created_at"]),
        ended=datetime.fromisoformat(row["ended_at"]) if row["ended_at"] else None,
        stop_asked=next(map(datetime.fromisoformat, asked), None),
    )
