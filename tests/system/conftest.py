"""One real Airflow for all system tests, with the sandbox behind its connections."""

import itertools
import os
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
import sqlalchemy.exc
from tabulate import tabulate

from airflow_runctl.sandbox.client import Sandbox
from demo.real_airflow import RealAirflow
from demo.release import RELEASE
from tests.system.versions import AIRFLOW

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "example_dags"
DAG_FOLDERS = {
    HERE / "dags": (2, 11),
    HERE / "dags_with_deadlines": (3, 1),
    HERE / "dags_with_sync_callbacks": (3, 2),
}
"""Folders of the tests' Dags, and the Airflow that each needs."""


# Ctrl-C must reach what tests start: a shell that starts pytest in the background has it ignored, for children too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.system)


LOCAL_POSTGRESQL = "postgresql+psycopg2://postgres@127.0.0.1:5432/postgres"


@pytest.fixture(scope="session")
def airflow_database() -> str | None:
    """Where a PostgreSQL for the tests is, None for SQLite, on which Airflow 2.11 has no LocalExecutor."""
    given = os.environ.get("RUNCTL_TEST_DB")
    if given or RELEASE.lowest_database == "sqlite":
        return given
    try:
        sqlalchemy.create_engine(LOCAL_POSTGRESQL).connect().close()
    except sqlalchemy.exc.OperationalError:
        pytest.skip("Airflow 2.11 needs a PostgreSQL: none at 127.0.0.1:5432, and RUNCTL_TEST_DB names none")
    return LOCAL_POSTGRESQL


@pytest.fixture(scope="session")
def dag_folders() -> list[Path]:
    """The tests' Dags that this Airflow can take."""
    return [folder for folder, least in DAG_FOLDERS.items() if least <= AIRFLOW]


@pytest.fixture(scope="session")
def importable() -> dict[str, str]:
    """The environment in which Airflow finds triggers and callbacks of the tests: not in a Dag file."""
    path = [str(HERE / "importable"), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, path))}


@pytest.fixture(scope="session")
def airflow(
    sandbox: Sandbox, importable: dict[str, str], airflow_database: str | None, dag_folders: list[Path]
) -> Iterator[RealAirflow]:
    """A booted Airflow that knows every Dag of the tests and every example."""
    environment = {**sandbox.connections, **importable}
    with RealAirflow(
        dag_folders=[*dag_folders, EXAMPLES], environment=environment, database=airflow_database
    ) as booted:
        yield booted


@dataclass(frozen=True)
class Case:
    """One Dag run whose task starts a run at the sandbox; the run has a name of its own."""

    airflow: RealAirflow
    sandbox: Sandbox
    dag_id: str
    run_id: str
    name: str

    def runs(self) -> list[dict[str, Any]]:
        """The runs at the vendor, the oldest first."""
        return [run for run in self.sandbox.runs() if re.fullmatch(rf"{self.name}(-.*)?", run["name"])]

    def open(self) -> int:
        """How many of them are alive."""
        return sum(run["open"] for run in self.runs())

    def stop_requests(self) -> int:
        """How often the vendor was asked to stop one of them."""
        return sum(run["stop_requests"] for run in self.runs())

    def state(self, task_id: str = "run") -> str | None:
        """The task's state."""
        return self.airflow.task_state(self.dag_id, self.run_id, task_id)

    def log(self, task_id: str = "run", try_number: int | None = None) -> str:
        """The task's log."""
        return self.airflow.task_log(self.dag_id, self.run_id, task_id, try_number=try_number)

    def wait_for_handle(self, task_id: str = "run", map_index: int = -1, timeout: float = 90) -> dict[str, Any]:
        """Wait until the run is recorded; return its handle."""

        def handle() -> Any:
            keys = self.airflow.xcom_keys(self.dag_id, self.run_id, task_id, map_index=map_index)
            if "external_run" not in keys:
                return None
            return self.airflow.xcom(self.dag_id, self.run_id, task_id, "external_run", map_index=map_index)

        return self.airflow.wait_for(handle, f"a handle of {self.dag_id}", timeout)

    def wait_for_state(self, *states: str, task_id: str = "run", timeout: float = 120) -> str:
        """Wait until the task is in one of ``states``."""
        return self.airflow.wait_for(
            lambda: (now := self.state(task_id)) in states and now, f"{self.dag_id} {task_id} to be {states}", timeout
        )

    def wait_until_over(self, timeout: float = 120) -> str:
        """Wait until the Dag run is over; return its state."""
        over = ("success", "failed")
        return self.airflow.wait_for(
            lambda: (now := self.airflow.dag_run_state(self.dag_id, self.run_id)) in over and now,
            f"the end of {self.dag_id}",
            timeout,
        )

    def wait_until_stopped(self, timeout: float = 60) -> None:
        """Wait until the vendor counts no open run of this case."""
        self.airflow.wait_for(lambda: self.runs() and self.open() == 0, f"0 open runs of {self.dag_id}", timeout)


_numbers = itertools.count(1)


class Cases:
    """Starts cases, each with a name of its own."""

    def __init__(self, airflow: RealAirflow, sandbox: Sandbox) -> None:
        self._airflow = airflow
        self._sandbox = sandbox

    def start(
        self,
        dag_id: str,
        vendor: str,
        *,
        names: tuple[str, ...] = ("",),
        conf: dict[str, Any] | None = None,
        **behaviour: Any,
    ) -> Case:
        """Trigger a Dag whose runs hang, or behave as given."""
        name = f"case-{next(_numbers)}"
        for suffix in names:
            self._sandbox.behave(vendor, name + suffix, **{"run_seconds": None, **behaviour})
        run_id = self._airflow.trigger(dag_id, conf={"name": name, **(conf or {})})
        return Case(self._airflow, self._sandbox, dag_id, run_id, name)


MatrixLine = tuple[str, str, str, int, int, str]
_matrix_lines: list[MatrixLine] = []


@pytest.fixture(scope="session")
def matrix_lines() -> list[MatrixLine]:
    """Lines of the kill matrix: row, mode, vendor, open runs, wrong stops, seconds to the stop."""
    return _matrix_lines


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _matrix_lines:
        heads = ("row", "mode", "vendor", "open runs", "wrong stops", "seconds to the stop")
        terminalreporter.section("the kill matrix")
        terminalreporter.write_line(tabulate(sorted(_matrix_lines), headers=heads))
        terminalreporter.write_line(
            f"{len(_matrix_lines)} cases, {sum(line[3] for line in _matrix_lines)} open runs, "
            f"{sum(line[4] for line in _matrix_lines)} wrong stops"
        )


@pytest.fixture(scope="session")
def make_cases(sandbox: Sandbox) -> Callable[[RealAirflow], Cases]:
    """Make what starts cases on another Airflow than the session's."""
    return lambda airflow: Cases(airflow, sandbox)


@pytest.fixture(scope="session")
def cases(airflow: RealAirflow, sandbox: Sandbox) -> Cases:
    """What starts cases on the session's Airflow and sandbox."""
    return Cases(airflow, sandbox)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show the ends of Airflow's logs with every failure: most errors of a task are told nowhere else."""
    report = yield
    for booted in getattr(item, "funcargs", {}).values():
        if report.failed and isinstance(booted, RealAirflow):
            report.sections.append(("Airflow's logs", booted.tails()))
    return report
