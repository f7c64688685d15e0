"""Imports an operator on top of ``airflow.sdk``, and parses a Dag file with 100 tasks as Airflow does."""

from __future__ import annotations

import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from tests.benchmarks import peers
from tests.benchmarks.fresh import fresh
from tests.benchmarks.rows import Measured, Row

BUDGET: Final = 0.050
SHARE: Final = 10
"""Our import may also take a tenth of dbt-cloud's."""

BEST_OF: Final = 3
TASKS: Final = 100
OPERATORS: Final = {
    "snaplogic": "airflow_runctl.operators.snaplogic",
    "axiom": "airflow_runctl.operators.axiom",
    "vectorshift": "airflow_runctl.operators.vectorshift",
    "bctrl": "airflow_runctl.operators.bctrl",
    peers.DBT_CLOUD: "airflow.providers.dbt.cloud.operators.dbt",
    peers.DATABRICKS: "airflow.providers.databricks.operators.databricks",
}
OURS: Final = ("snaplogic", "axiom", "vectorshift", "bctrl")

DAG_FILE: Final = """
from airflow.sdk import DAG
from {module} import {operator}

with DAG("many", schedule=None):
    for number in range({tasks}):
        {operator}(task_id=f"run_{{number}}", {arguments})
"""
DAG_OF: Final = {
    "snaplogic": (
        "SnapLogicTriggerTaskOperator",
        'task_path=f"/Acme/projects/sales/load_{number}", pipeline_name=f"load_{number}", deferrable=True',
    ),
    peers.DBT_CLOUD: ("DbtCloudRunJobOperator", "job_id=number + 1, account_id=1, deferrable=True"),
    peers.DATABRICKS: ("DatabricksRunNowOperator", "job_id=number + 1, deferrable=True"),
}


def imported(module: str) -> float:
    """Return the seconds that the import of a module takes a process that has imported ``airflow.sdk``."""
    from airflow.sdk import DAG, BaseOperator  # noqa: F401  # its names are loaded when they are asked for

    began = time.perf_counter()
    import_module(module)
    return time.perf_counter() - began


def parsed(who: str, tasks: int) -> float:
    """Return the seconds in which Airflow parses and serialises a Dag file, as in each process that parses one."""
    import structlog
    from airflow.dag_processing.processor import DagFileParseRequest, _parse_file

    operator, arguments = DAG_OF[who]
    text = DAG_FILE.format(module=OPERATORS[who], operator=operator, arguments=arguments, tasks=tasks)
    with tempfile.TemporaryDirectory(prefix="runctl-bench-dags-") as folder:
        file = Path(folder, "many.py")
        file.write_text(text)
        request = DagFileParseRequest(file=str(file), bundle_path=Path(folder), bundle_name="many")
        log: Any = structlog.get_logger()
        began = time.perf_counter()
        result = _parse_file(request, log)
        seconds = time.perf_counter() - began
    assert result is not None
    assert not result.import_errors, result.import_errors
    (dag,) = result.serialized_dags
    assert len(dag.data["dag"]["tasks"]) == tasks
    return seconds


def measure(best_of: int = BEST_OF) -> Measured:
    """Measure both, in turns, each in a process of its own."""
    there = [who for who in OPERATORS if who not in peers.PACKAGES or peers.installed(who)]
    imports: dict[str, float] = {}
    parses: dict[str, float] = {}
    for _ in range(best_of):
        for who in there:
            imports[who] = min(fresh(imported, module=OPERATORS[who]), imports.get(who, 60.0))
            if who in DAG_OF:
                parses[who] = min(fresh(parsed, who=who, tasks=TASKS), parses.get(who, 60.0))
    slowest = max(OURS, key=lambda who: imports[who])
    held = imports[slowest] <= max(BUDGET, imports.get(peers.DBT_CLOUD, 0.0) / SHARE)
    rows = []
    for peer in peers.PACKAGES:
        is_other = peers.named(peer) if peer in there else f"{peer}: {peers.NOT_INSTALLED}"
        work = f"import of an operator on top of airflow.sdk (the slowest of our four: {slowest})"
        budget = "50 ms, or a tenth of dbt-cloud's"
        rows.append(Row(work, 1e3 * imports[slowest], _ms(imports.get(peer)), is_other, "ms", budget, held, 0))
    for peer in peers.PACKAGES:
        is_other = peers.named(peer) if peer in there else f"{peer}: {peers.NOT_INSTALLED}"
        work = f"parse of a Dag file with {TASKS} tasks (SnapLogic's, deferrable)"
        rows.append(Row(work, 1e3 * parses["snaplogic"], _ms(parses.get(peer)), is_other, "ms", digits=0))
    return Measured(tuple(rows))


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1e3 * seconds
