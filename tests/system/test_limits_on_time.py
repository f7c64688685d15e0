"""Limits are kept on time: in a triggerer that has just begun, and while Airflow's API or its database stands still."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from airflow_runctl.sandbox.client import Sandbox
from demo.real_airflow import RealAirflow
from tests.servers.stalling_proxy import StallingProxy
from tests.system.cases import Case, Cases
from tests.system.conftest import QUICK

DAGS = Path(__file__).parent / "dags"
LIMIT = 15.0
"""Seconds of every limit in importable/vendor_tasks.py."""

FRESH = 0.5
STANDING_STILL = 1.0
"""Seconds after its limit at which a run has to have been told to stop, by the clock of its vendor, which is ours."""

WORKER, DEFERRED = "runtime_snaplogic_worker", "runtime_snaplogic_deferred"


@pytest.fixture(scope="module")
def database(airflow_database: str | None) -> Iterator[StallingProxy]:
    """The way to the database, which can stand still."""
    if airflow_database is None:
        pytest.skip("SQLite is a file: it does not stand still")
    url = make_url(airflow_database)
    proxy = StallingProxy(url.host or "127.0.0.1", url.port or 5432)
    yield proxy
    proxy.close()


@pytest.fixture(scope="module")
def own_airflow(
    sandbox: Sandbox, importable: dict[str, str], airflow_database: str, database: StallingProxy
) -> Iterator[RealAirflow]:
    """An Airflow behind that way. It has just begun."""
    url = make_url(airflow_database).set(host="127.0.0.1", port=database.port)
    environment = {**sandbox.connections, **importable}
    with RealAirflow(
        dag_folders=[DAGS], environment=environment, config=QUICK, database=url.render_as_string(hide_password=False)
    ) as booted:
        yield booted


def seconds_late(cases: list[Case], standing_still: Callable[[], Any] | None = None) -> list[float]:
    """Watch runs until they are over; return by how much the request to stop each came after its limit.

    :param standing_still: for ``with``: in it Airflow stands still, once all runs are watched.
    """
    limits = [datetime.fromisoformat(case.wait_for_handle()["started_at"]).timestamp() + LIMIT for case in cases]
    for case in cases:
        if case.dag_id == DEFERRED:
            _wait_until_watched(case)
    with standing_still() if standing_still else _nothing():
        for case in cases:
            case.wait_until_stopped()
    return [_stop_asked(case) - limit for case, limit in zip(cases, limits, strict=True)]


def _wait_until_watched(case: Case) -> None:
    case.wait_for_state("deferred")
    case.airflow.triggerer_of(case.dag_id, case.run_id, "run")
    run_id = case.runs()[0]["run_id"]

    def looks() -> int:
        return sum(run_id in request["path"] for request in case.sandbox.requests(operation="status"))

    seen = looks()
    case.airflow.wait_for(lambda: looks() > seen, "the trigger to look at the run", 60)


def _stop_asked(case: Case) -> float:
    history = case.runs()[0]["history"]
    return next(datetime.fromisoformat(event["at"]).timestamp() for event in history if event["event"] == "stop asked")


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def test_limit_is_kept_in_a_triggerer_that_has_just_begun(own_airflow: RealAirflow, sandbox: Sandbox) -> None:
    cases = Cases(own_airflow, sandbox)
    [late] = seconds_late([cases.start(DEFERRED, "snaplogic")])
    assert 0 <= late <= FRESH


def test_limit_is_kept_while_airflows_api_stands_still(own_airflow: RealAirflow, sandbox: Sandbox) -> None:
    @contextmanager
    def stalled() -> Iterator[None]:
        own_airflow.kill("api-server", signal.SIGSTOP)
        try:
            yield
        finally:
            own_airflow.kill("api-server", signal.SIGCONT)

    cases = Cases(own_airflow, sandbox)
    began = [cases.start(WORKER, "snaplogic"), cases.start(DEFERRED, "snaplogic")]
    assert all(0 <= late <= STANDING_STILL for late in seconds_late(began, stalled))
    assert [case.wait_until_over() for case in began] == ["failed", "failed"]


def test_limit_is_kept_while_airflows_database_stands_still(
    own_airflow: RealAirflow, sandbox: Sandbox, database: StallingProxy
) -> None:
    @contextmanager
    def stalled() -> Iterator[None]:
        database.stall()
        try:
            yield
        finally:
            database.go_on()

    cases = Cases(own_airflow, sandbox)
    began = [cases.start(WORKER, "snaplogic"), cases.start(DEFERRED, "snaplogic")]
    assert all(0 <= late <= STANDING_STILL for late in seconds_late(began, stalled))
    assert [case.wait_until_over() for case in began] == ["failed", "failed"]
