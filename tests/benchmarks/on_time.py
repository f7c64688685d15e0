"""A limit passes on a real Airflow: how late the request to stop is at the vendor (the sandbox).

Deferred, for the first trigger that a triggerer ever runs; on a worker, while Airflow's API server does not answer.
"""

from __future__ import annotations

import os
import signal
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from airflow_runctl.sandbox.client import Sandbox, eventually
from demo.real_airflow import RealAirflow
from tests.benchmarks.rows import Measured, Row

DAGS: Final = Path(__file__).parent / "dags"
FRESH, DOWN = "deferred", "worker"
LIMITS: Final = {FRESH: timedelta(seconds=10), DOWN: timedelta(seconds=20)}
"""``max_runtime`` of the Dags there. A run is known, and looked at, up to 8 s after its start."""

BEFORE: Final = 4.0
"""Seconds before the limit in which the API server is stopped."""

LOCAL_POSTGRESQL: Final = "postgresql+psycopg2://postgres@127.0.0.1:5432/postgres"
WORKS: Final = {
    FRESH: ("limit to stop on the wire, the first trigger of a triggerer (the later of two)", 0.5),
    DOWN: ("limit to stop on the wire, on a worker, Airflow's API server stalled", 1.0),
}


def database() -> str | None:
    """Return the PostgreSQL of this machine, or ``None`` for SQLite."""
    import sqlalchemy

    given = os.environ.get("RUNCTL_TEST_DB", LOCAL_POSTGRESQL)
    if given == "sqlite":
        return None
    try:
        sqlalchemy.create_engine(given).connect().close()
    except sqlalchemy.exc.OperationalError:
        return None
    return given


def late(airflow: RealAirflow, sandbox: Sandbox, mode: str) -> float:
    """Return for how many seconds after the limit the vendor was first asked to stop the run.

    In a triggerer that begins to look only after the limit, after its first look: what is before that is Airflow's.
    """
    sandbox.behave("snaplogic", f"early-{mode}", run_seconds=None)
    dag_id = f"limit_{mode}"
    run_id = airflow.trigger(dag_id)

    def stored() -> dict[str, str] | None:
        known = "external_run" in airflow.xcom_keys(dag_id, run_id, "run")
        return airflow.xcom(dag_id, run_id, "run", "external_run") if known else None

    handle = airflow.wait_for(stored, f"the handle of {dag_id}", 60)
    limit = datetime.fromisoformat(handle["started_at"]) + LIMITS[mode]
    look = eventually(lambda: first(sandbox, "status", handle["run_id"]), 60)
    if mode == DOWN:
        time.sleep(max(0.0, limit.timestamp() - BEFORE - time.time()))
        airflow.kill("api-server", signal.SIGSTOP)
    try:
        stop = eventually(lambda: first(sandbox, "stop", handle["run_id"]), 90)
    finally:
        if mode == DOWN:
            airflow.kill("api-server", signal.SIGCONT)
    return (stop - max(limit, look)).total_seconds()


def first(sandbox: Sandbox, operation: str, run_id: str) -> datetime | None:
    """Return when the vendor first saw an operation at a run."""
    asked = sandbox.requests(vendor="snaplogic", operation=operation)
    return next((datetime.fromisoformat(seen["at"]) for seen in asked if seen["path"].endswith(run_id)), None)


def anew(airflow: RealAirflow) -> None:
    """Put another triggerer in the place of the one that has run a trigger."""
    airflow.kill("triggerer")
    airflow.start("triggerer")


def measure() -> Measured:
    """Boot an Airflow, and let a limit pass in two triggerers, one after the other, and on a worker."""
    with (
        Sandbox.spawn() as sandbox,
        RealAirflow(dag_folders=[DAGS], environment=sandbox.connections, database=database()) as airflow,
    ):
        deferred = [late(airflow, sandbox, FRESH)]
        anew(airflow)
        deferred.append(late(airflow, sandbox, FRESH))
        seconds = {FRESH: max(deferred), DOWN: late(airflow, sandbox, DOWN)}
    return Measured(tuple(_row(mode, seconds[mode]) for mode in WORKS))


def _row(mode: str, seconds: float) -> Row:
    work, budget = WORKS[mode]
    return Row(work, seconds, None, "not measured", "s", f"{budget} s", seconds <= budget, 2)
