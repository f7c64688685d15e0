"""``SweepRunsOperator``: the sweep as a task, as the Airflow user of a connection."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_runctl.operators.sweep import SweepRunsOperator
from airflow_runctl.sandbox.client import Sandbox
from tests.fakes.airflow_3 import FakeAirflow
from tests.fakes.airflow_any import Attempt
from tests.servers.airflow_rest import TOKEN, USER, AirflowServer
from tests.unit.connections import Connections
from tests.unit.known_runs import Runs
from tests.unit.versions import needs_rest_api

pytestmark = [pytest.mark.usefixtures("brisk"), needs_rest_api]


@pytest.fixture
def server() -> Iterator[AirflowServer]:
    with AirflowServer() as serving:
        yield serving


@pytest.fixture
def runs(box: Sandbox, server: AirflowServer, connections: Connections) -> Runs:
    return Runs(box, server, connections)


@pytest.fixture
def sweep(
    fake: FakeAirflow, server: AirflowServer, box: Sandbox, caplog: pytest.LogCaptureFixture
) -> Callable[..., Attempt]:
    login = {"login": USER["username"], "password": USER["password"]}
    fake.connections["airflow_api"] = {"conn_type": "http", "host": server.url, **login}

    def run(connection: dict[str, Any] | None = None, **arguments: Any) -> Attempt:
        fake.connections["airflow_api"] |= connection or {}
        with fake.dag():
            operator = SweepRunsOperator(task_id="sweep", look_again=0, **arguments)
        attempt = fake.run(operator)
        shown = f"{attempt.result} {caplog.text} {attempt.said if attempt.error else ''}"
        assert [secret for secret in (TOKEN, USER["password"], box.seed) if secret in shown] == []
        return attempt

    return run


def test_without_a_word_it_only_reports(sweep: Callable[..., Attempt], runs: Runs) -> None:
    orphan, alive = runs.add("orphan", "failed"), runs.add("alive", "running")
    stranger = runs.alive("stranger")
    attempt = sweep()
    assert attempt.state == "success", attempt.error
    [row] = attempt.result["runs"]
    assert (row["task"], row["finding"]) == ("nightly/scheduled__1/orphan", "orphan")
    assert [row["run_id"] for row in attempt.result["strangers"]] == [stranger]
    assert runs.open() == {orphan, alive, stranger}


def test_it_stops_exactly_the_orphans(sweep: Callable[..., Attempt], server: AirflowServer, runs: Runs) -> None:
    orphan, alive, stranger = runs.add("orphan", "failed"), runs.add("alive", "running"), runs.alive("stranger")
    attempt = sweep(report_only=False, stop_reason="nightly sweep")
    assert attempt.state == "success", attempt.error
    assert [row["outcome"] for row in attempt.result["runs"]] == ["stopped"]
    assert runs.open() == {alive, stranger}
    audit = server.xcoms[runs.made[orphan], "external_run_audit"]
    assert (audit["stop"]["by"], audit["stop"]["text"]) == ("task sweep", "nightly sweep")


def test_a_token_can_be_the_password(sweep: Callable[..., Attempt], runs: Runs) -> None:
    runs.add("orphan", "failed")
    assert sweep({"login": None, "password": TOKEN}, report_only=False).state == "success"
    assert runs.open() == set()


@pytest.mark.parametrize(
    ("connection", "said"),
    [
        ({"login": None, "password": None}, "Connection 'airflow_api' has no password"),
        ({"password": "wrong"}, "gives user 'sweeper' of connection 'airflow_api' no token (HTTP 404)"),
        ({"host": "http://127.0.0.1:9"}, "Airflow at http://127.0.0.1:9 gives no token"),
        ({"login": None, "password": "expired"}, "does not take the token (HTTP 401"),
    ],
)
def test_a_login_that_does_not_work(
    sweep: Callable[..., Attempt], runs: Runs, connection: dict[str, Any], said: str
) -> None:
    orphan = runs.add("orphan", "failed")
    attempt = sweep(connection, report_only=False)
    assert attempt.state == "failed"
    assert said in attempt.said
    assert runs.open() == {orphan}


def test_too_many_orphans_fail_the_task_and_stop_none(sweep: Callable[..., Attempt], runs: Runs) -> None:
    orphans = {runs.add(f"orphan-{number}", "failed") for number in range(3)}
    attempt = sweep(report_only=False, max_orphans=2)
    assert attempt.state == "failed"
    assert "3 runs look like orphans, more than 2" in attempt.said
    assert runs.open() == orphans


def test_a_doubt_fails_the_task_once_all_else_is_done(
    sweep: Callable[..., Attempt], server: AirflowServer, runs: Runs
) -> None:
    runs.add("orphan", "failed")
    doubt = runs.add("doubt", "failed")
    server.xcoms[runs.made[doubt], "external_run"]["token"] += "AAAA"
    attempt = sweep(report_only=False)
    assert attempt.state == "failed"
    assert "of nightly/scheduled__1/doubt may be alive" in attempt.said
    assert runs.open() == {doubt}


def test_scope_and_exclusions(sweep: Callable[..., Attempt], runs: Runs) -> None:
    runs.add("a", "failed", dag_id="hourly")
    kept = {runs.add("b", "failed"), runs.add("c", "failed", dag_id="hourly_c")}
    assert sweep(report_only=False, only_dag_id="hourly").state == "success"
    assert runs.open() == kept
    assert sweep(report_only=False, exclude_dags=["hourly*"], exclude_connections=["bctrl*"]).state == "success"
    assert sweep(report_only=False, only_vendor="axiom").state == "success"
    assert runs.open() == kept


def test_without_the_client_it_says_what_to_install(
    sweep: Callable[..., Attempt], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "airflow_client.client", None)
    attempt = sweep()
    assert attempt.state == "failed"
    assert "pip install 'airflow-runctl[cli]'" in attempt.said
