"""One real Airflow for all system tests that leave it whole, with the sandbox behind its connections."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy
import sqlalchemy.exc
from tabulate import tabulate

from airflow_runctl.sandbox.client import Sandbox
from demo.real_airflow import RealAirflow
from demo.release import RELEASE
from tests.system.cases import Cases, MatrixLine
from tests.system.versions import AIRFLOW

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "example_dags"
DAG_FOLDERS = {
    HERE / "dags": (2, 11),
    HERE / "dags_with_deadlines": (3, 1),
    HERE / "dags_with_sync_callbacks": (3, 2),
    HERE / "dags_with_loops": (3, 4),
    HERE.parents[1] / "docs" / "dags" / "many_starts": (3, 1),
}
"""Folders of the tests' Dags, and the Airflow that each needs."""


# Ctrl-C must reach what tests start: a shell that starts pytest in the background has it ignored, for children too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--vendors", choices=["one", "all"], default="one", help="how many vendors a row of the kill matrix takes"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.system)


LOCAL_POSTGRESQL = "postgresql+psycopg2://postgres@127.0.0.1:5432/postgres"


@pytest.fixture(scope="session")
def airflow_database() -> str | None:
    """The PostgreSQL that RUNCTL_TEST_DB names, or the one of this machine; None for SQLite.

    On SQLite tasks that start or end at the same time wait for each other, seconds on two cores.
    """
    given = os.environ.get("RUNCTL_TEST_DB")
    if given:
        return None if given == "sqlite" else given
    try:
        sqlalchemy.create_engine(LOCAL_POSTGRESQL).connect().close()
    except sqlalchemy.exc.OperationalError:
        if RELEASE.lowest_database == "sqlite":
            return None
        pytest.skip("Airflow 2.11 needs a PostgreSQL: none at 127.0.0.1:5432, and RUNCTL_TEST_DB names none")
    return LOCAL_POSTGRESQL


@pytest.fixture(scope="session")
def plain_database(request: pytest.FixtureRequest) -> str | None:
    """What somebody has who gives none: SQLite, or a PostgreSQL where Airflow takes nothing less."""
    if RELEASE.lowest_database == "sqlite":
        return None
    given: str | None = request.getfixturevalue("airflow_database")
    return given


@pytest.fixture(scope="session")
def dag_folders() -> list[Path]:
    """The tests' Dags that this Airflow can take."""
    return [folder for folder, least in DAG_FOLDERS.items() if least <= AIRFLOW]


@pytest.fixture(scope="session")
def importable() -> dict[str, str]:
    """The environment in which Airflow finds triggers and callbacks of the tests: not in a Dag file."""
    path = [str(HERE / "importable"), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, path))}


STALL = 12
"""Seconds without a heartbeat after which a triggerer, or a task, counts as lost."""

QUICK = {
    "triggerer.job_heartbeat_sec": 2,
    "scheduler.triggerer_health_check_threshold": STALL,
    "triggerer.triggerer_health_check_threshold": STALL,
    "scheduler.task_instance_heartbeat_timeout": 15,
    # Airflow 2.11 would take a running task that is being cleared for lost, if it looked between two heartbeats.
    "scheduler.task_instance_heartbeat_timeout_detection_interval": 3 if AIRFLOW >= (3, 0) else 60,
    "scheduler.trigger_timeout_check_interval": 3,
    "core.parallelism": 24,
    # For Airflow 2.11, which takes the attempt after a clear for a retry.
    "core.default_task_retry_delay": 1,
    "runctl.ride_out": 12,
    # Airflow 3.4 sends no heartbeat while it ends a task, and notices the end of its process only after all of this
    # time, 60 s by default; a task that is cleared, and then taken for lost, ends the scheduler of 3.4.0b2.
    **({"core.killed_task_cleanup_time": 8} if AIRFLOW >= (3, 4) else {}),
}
"""Settings with which Airflow notices a lost triggerer or worker sooner than by default."""


def take_any_number_of_calls(sandbox: Sandbox) -> None:
    """Let no vendor count calls."""
    for vendor in ("snaplogic", "axiom", "vectorshift", "bctrl"):
        sandbox.settings(vendor, rate_limit_per_minute=None)


@pytest.fixture(scope="module")
def own_sandbox() -> Iterator[Sandbox]:
    """Vendors with no run but those of one file: a sweep looks at all of them."""
    with Sandbox.spawn() as spawned:
        take_any_number_of_calls(spawned)
        yield spawned


@pytest.fixture(scope="session")
def airflow(
    sandbox: Sandbox,
    importable: dict[str, str],
    airflow_database: str | None,
    dag_folders: list[Path],
    pytestconfig: pytest.Config,
) -> Iterator[RealAirflow]:
    """A booted Airflow that knows every Dag of the tests and every example."""
    environment = {**sandbox.connections, **importable}
    config = dict(QUICK)
    if airflow_database is None and pytestconfig.getoption("vendors") == "all":
        # Eight tasks at a time, each with a heartbeat a second, are much for SQLite.
        config["workers.min_heartbeat_interval"] = 2
    take_any_number_of_calls(sandbox)
    with RealAirflow(
        dag_folders=[*dag_folders, EXAMPLES], environment=environment, config=config, database=airflow_database
    ) as booted:
        yield booted


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
