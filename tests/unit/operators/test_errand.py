"""The maintenance Dag and its one task: what a person asked the API for, done on a worker."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_runctl.control.errands import DAG_ID, OUTCOME_KEY, TASK_ID, Act, Errand, digest_of
from airflow_runctl.control.sweep import Rules
from airflow_runctl.operators.errand import DoErrandOperator
from airflow_runctl.runs import TaskKey
from airflow_runctl.sandbox.client import Sandbox
from tests.fakes.airflow_any import Attempt
from tests.unit.connections import Connections
from tests.unit.known_runs import CONN_ID, Runs
from tests.unit.versions import needs_rest_api

pytestmark = [pytest.mark.usefixtures("brisk"), needs_rest_api]


class Recorded:
    """The fake, as ``Runs`` adds to it."""

    def __init__(self, fake: Any) -> None:
        self.fake = fake

    def add(self, where: TaskKey, handle: Any, state: str | None = "running", dag_run: str = "running") -> None:
        place = (where.dag_id, where.run_id, where.task_id, where.map_index)
        self.fake.xcoms[place] = {"external_run": handle}
        self.fake.states[where.task_id] = state
        self.fake.dag_run_state = dag_run


@pytest.fixture
def runs(fake: Any, box: Sandbox, connections: Connections) -> Runs:
    fake.connections |= connections.rows
    return Runs(box, Recorded(fake), connections)  # type: ignore[arg-type]


def done(fake: Any, errand: Errand | dict[str, Any], runs: Runs) -> tuple[Attempt, Any]:
    """Run the task; return how it went and what it says it came to."""
    fake.conf = errand.out() if isinstance(errand, Errand) else errand
    fake.user = "ann"
    with fake.dag():
        operator = DoErrandOperator(task_id=TASK_ID)
    attempt = fake.run(operator)
    outcome = fake.xcom(TASK_ID, OUTCOME_KEY)
    assert runs.box.seed not in f"{outcome} {attempt.said if attempt.error else ''}"
    return attempt, outcome


def digest(fake: Any, where: TaskKey) -> str:
    return digest_of(fake.xcoms[where.dag_id, where.run_id, where.task_id, where.map_index]["external_run"])


def test_a_run_without_a_live_task_is_stopped_for_the_user_who_asked(fake: Any, runs: Runs) -> None:
    run_id = runs.add("load", "failed")
    where = runs.made[run_id]
    attempt, outcome = done(fake, Errand(Act.STOP, {where: digest(fake, where)}, "lost"), runs)
    assert attempt.state == "success", attempt.error
    assert [(run["done"], run["outcome"]) for run in outcome["runs"]] == [("stopped directly", "stopped")]
    stored = fake.xcoms["nightly", "scheduled__1", "load", -1]
    assert "external_run" not in stored
    stop = stored["external_run_audit"]["stop"]
    assert (stop["by"], stop["text"]) == ("ann over the maintenance Dag", "lost")
    assert runs.open() == set()


def test_a_run_that_got_a_live_task_meanwhile_is_left_to_it(fake: Any, runs: Runs) -> None:
    run_id = runs.add("load", "running")
    where = runs.made[run_id]
    attempt, outcome = done(fake, Errand(Act.STOP, {where: digest(fake, where)}), runs)
    assert attempt.state == "failed"
    assert "may be alive" in attempt.said
    assert "has a live attempt again" in outcome["runs"][0]["error"]
    assert runs.open() == {run_id}


def test_a_handle_that_is_not_the_one_that_was_meant_stops_nothing(fake: Any, runs: Runs) -> None:
    run_id, other = runs.add("load", "failed"), runs.add("other", "failed")
    errand = Errand(Act.STOP, {runs.made[run_id]: digest(fake, runs.made[other])})
    attempt, outcome = done(fake, errand, runs)
    assert attempt.state == "failed"
    assert "its handle is gone" in outcome["runs"][0]["error"]
    assert runs.open() == {run_id, other}


@pytest.mark.parametrize("act", [Act.STOP, Act.RESUME])
def test_a_handle_that_the_task_may_not_read_is_not_said_to_be_gone(
    fake: Any, runs: Runs, monkeypatch: pytest.MonkeyPatch, act: Act
) -> None:
    """As Airflow refuses those of another team's Dag, with ``[core] multi_team``."""
    run_id = runs.add("load", "failed")
    where = runs.made[run_id]
    errand = Errand(act, {where: digest(fake, where)})

    def refused(key: str, where: TaskKey) -> Any:
        raise PermissionError("access_denied")

    monkeypatch.setattr("airflow_runctl.compat.channels.get_xcom", refused)
    _, outcome = done(fake, errand, runs)
    [run] = outcome["runs"]
    assert run["error"] == "Airflow does not say (PermissionError). A run may be alive. Nothing was done"
    assert (run["done"], outcome["may_be_alive"], runs.open()) == ("nothing", True, {run_id})


@pytest.mark.parametrize("dag_run", ["running", "success"])
def test_a_sweep_asks_for_the_dag_run_where_that_owns_a_run(fake: Any, runs: Runs, dag_run: str) -> None:
    from airflow_runctl.runs import Ownership

    run_id = runs.add("load", "success", dag_run, ownership=Ownership.DAG_RUN)
    where = runs.made[run_id]
    errand = Errand(Act.SWEEP, {where: digest(fake, where)}, rules=Rules(min_age=0, look_again=0), dry_run=False)
    attempt, outcome = done(fake, errand, runs)
    assert attempt.state == "success", attempt.error
    assert [run["outcome"] for run in outcome["runs"]] == ([] if dag_run == "running" else ["stopped"])
    assert runs.open() == ({run_id} if dag_run == "running" else set())


def test_a_connection_is_tried(fake: Any, runs: Runs) -> None:
    attempt, outcome = done(fake, Errand(Act.TEST, conn_id=CONN_ID), runs)
    assert (attempt.state, outcome["worked"]) == ("success", True)


def test_why_it_failed_can_be_read(fake: Any, runs: Runs) -> None:
    attempt, outcome = done(fake, Errand(Act.TEST, conn_id="no_such"), runs)
    assert attempt.state == "failed"
    assert outcome == {"failed": "Connection 'no_such' cannot be read (AirflowNotFoundException)."}


def test_a_run_of_the_dag_by_hand_does_nothing(fake: Any, runs: Runs) -> None:
    attempt, outcome = done(fake, {"run_id": "some"}, runs)
    assert (attempt.state, outcome) == ("failed", None)
    assert "is no errand" in attempt.said


def test_one_import_gives_the_dag() -> None:
    from airflow_runctl.maintenance import dag

    assert dag.dag_id == DAG_ID
    assert dag.task_ids == [TASK_ID]
