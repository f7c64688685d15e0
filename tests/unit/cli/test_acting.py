"""``runctl stop`` and ``runctl resume``: through the task while it is alive, else directly; and what is said if not."""

from __future__ import annotations

import pytest
import requests

from airflow_runctl.cli import acting, screen
from airflow_runctl.cli.exit_codes import ExitCode
from airflow_runctl.runs import Ownership, TaskKey
from tests.servers.airflow_rest import AirflowServer
from tests.unit.cli.conftest import Shell
from tests.unit.known_runs import Runs


def test_a_run_whose_task_is_alive_is_stopped_through_its_task(shell: Shell, server: AirflowServer, runs: Runs) -> None:
    run_id = runs.add("shop", "deferred")
    other = runs.add("other", "deferred")
    runs.kill_path()
    result = shell(f"stop {run_id} --yes --reason 'costs too much' -o json")
    [row] = result.rows
    assert result.code == ExitCode.DONE
    assert (row["done"], row["outcome"], row["error"]) == ("task marked as failed", "stopped", None)
    task = server.tasks[runs.made[run_id]]
    assert (task.state, task.note) == ("failed", "Run stopped by hand: costs too much")
    assert runs.open() == {other}
    assert runs.box.requests(vendor="bctrl", operation="stop") == [], "the kill stops it, nobody else"


def test_a_mapped_task_is_marked_alone(shell: Shell, server: AirflowServer, runs: Runs) -> None:
    for index in range(2):
        where, run_id = TaskKey("nightly", "scheduled__1", "load", index), runs.alive(f"load-{index}")
        server.add(where, runs.handle(f"load-{index}", run_id, where), "running")
    runs.kill_path()
    assert shell("stop --task-id load --map-index 1 --yes").code == ExitCode.DONE
    assert [task.state for task in server.tasks.values()] == ["running", "failed"]


def test_a_note_that_is_there_stays(shell: Shell, server: AirflowServer, runs: Runs) -> None:
    run_id = runs.add("shop", "running")
    server.tasks[runs.made[run_id]].note = "ask Ann first"
    runs.kill_path()
    shell(f"stop {run_id} --yes --reason late")
    assert server.tasks[runs.made[run_id]].note == "ask Ann first\nRun stopped by hand: late"


def test_a_kill_that_does_not_stop_the_run_is_followed_by_a_stop_of_our_own(
    shell: Shell, runs: Runs, server: AirflowServer
) -> None:
    run_id = runs.add("shop", "running")
    runs.kill_path(works=False)
    result = shell(f"stop {run_id} --yes --timeout 0.5 -o json")
    [row] = result.rows
    assert (result.code, row["done"], row["outcome"]) == (ExitCode.DONE, "stopped directly", "stopped")
    assert runs.open() == set()


def test_a_kill_that_cannot_be_followed_to_its_end_is_exit_code_3(
    shell: Shell, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = runs.add("shop", "running")
    runs.kill_path(works=False)
    monkeypatch.delenv("AIRFLOW_CONN_BCTRL_DEFAULT")
    result = shell(f"stop {run_id} --yes --timeout 0.2 -o json")
    [row] = result.rows
    assert result.code == ExitCode.MAY_BE_ALIVE
    assert row["outcome"] == "requested"
    assert "it may be alive" in row["error"]


def test_an_orphan_is_stopped_directly_and_recorded(shell: Shell, server: AirflowServer, runs: Runs) -> None:
    run_id = runs.add("shop", "failed", "failed")
    where = runs.made[run_id]
    result = shell(f"stop {run_id} --yes --reason 'left over' -o json")
    [row] = result.rows
    assert (result.code, row["done"], row["outcome"]) == (ExitCode.DONE, "stopped directly", "stopped")
    assert runs.open() == set()
    assert (where, "external_run") not in server.xcoms, "it costs nothing any more"
    audit = server.xcoms[where, "external_run_audit"]
    assert (audit["stop"]["reason"], audit["stop"]["text"], audit["stop"]["outcome"]) == (
        "by_hand",
        "left over",
        "stopped",
    )
    assert audit["stop"]["by"].startswith("runctl (")
    assert shell("list -o json").rows == []


def test_a_stop_that_cannot_be_recorded_is_a_stop(shell: Shell, server: AirflowServer, runs: Runs) -> None:
    run_id = runs.add("shop", "failed", "failed")
    server.refused = {"PATCH xcom", "POST xcomEntries", "DELETE xcom"}
    result = shell(f"stop {run_id} --yes")
    assert result.code == ExitCode.DONE
    assert runs.open() == set()


def test_a_task_that_waits_for_its_next_try_is_marked_and_its_run_stopped_directly(
    shell: Shell, server: AirflowServer, runs: Runs
) -> None:
    run_id = runs.add("shop", "up_for_retry")
    assert shell(f"stop {run_id} --yes --reason late").code == ExitCode.DONE
    task = server.tasks[runs.made[run_id]]
    assert (task.state, task.note) == ("failed", "Run stopped by hand: late")
    assert runs.open() == set()


def test_a_run_that_was_left_to_its_dag_run_is_stopped_and_the_task_stays_as_it_is(
    shell: Shell, server: AirflowServer, runs: Runs
) -> None:
    run_id = runs.add("shop", "success", ownership=Ownership.DAG_RUN)
    assert shell(f"stop {run_id} --yes").code == ExitCode.DONE
    assert server.tasks[runs.made[run_id]].state == "success"
    assert runs.open() == set()


def test_a_run_that_a_new_attempt_has_taken_over_meanwhile_is_not_asked_to_stop_again(
    shell: Shell, server: AirflowServer, runs: Runs
) -> None:
    run_id = runs.add("shop", "failed")
    where = runs.made[run_id]
    runs.box.fault("bctrl", "stop", "status", status=400, count=20)
    # The clear comes when the intent is recorded: after all that is asked of Airflow before the stop.

    def cleared(kind: str, place: TaskKey | None) -> None:
        if kind in {"POST xcomEntries", "PATCH xcom"}:
            server.tasks[where].state = "running"

    server.before = cleared
    result = shell(f"stop {run_id} --yes --timeout 5 -o json")
    assert result.code == ExitCode.MAY_BE_ALIVE
    assert "by now a task follows it" in result.rows[0]["error"]
    assert runs.open() == {run_id}


def test_a_forged_handle_stops_nothing(shell: Shell, server: AirflowServer, runs: Runs) -> None:
    victim = runs.add("victim", "running")
    run_id = runs.add("shop", "failed", "failed")
    # The handle of another's run, put where a task is over.
    server.xcoms[runs.made[run_id], "external_run"] = server.xcoms[runs.made[victim], "external_run"]
    result = shell("stop --task-id shop --yes -o json")
    assert result.code == ExitCode.MAY_BE_ALIVE
    assert "belongs to nightly/scheduled__1/victim" in result.rows[0]["error"]
    assert runs.open() == {victim, run_id}
    assert server.tasks[runs.made[victim]].state == "running"


def test_a_handle_that_is_none_of_its_tasks_ends_no_task(shell: Shell, server: AirflowServer, runs: Runs) -> None:
    """Whoever can write XComs could have put it there."""
    victim = runs.add("victim", "failed", "failed")
    bystander = runs.add("bystander", "running")
    where = runs.made[bystander]
    server.xcoms[where, "external_run"] = server.xcoms[runs.made[victim], "external_run"]
    result = shell(f"stop {victim} --yes -o json")
    done = {row["task"]: row["done"] for row in result.rows}
    assert done == {str(runs.made[victim]): "stopped directly", str(where): "nothing"}
    assert server.tasks[where].state == "running"
    assert runs.open() == {bystander}


def test_without_the_connection_the_answer_says_where_to_run_the_command(
    shell: Shell, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = runs.add("shop", "failed", "failed")
    monkeypatch.delenv("AIRFLOW_CONN_BCTRL_DEFAULT")
    result = shell(f"stop {run_id} --yes -o json")
    assert result.code == ExitCode.MAY_BE_ALIVE
    error = result.rows[0]["error"]
    assert "Connection 'bctrl_default' cannot be read" in error
    assert "Run the same command where Airflow's connections can be read" in error
    assert runs.open() == {run_id}


def test_a_right_that_is_missing_is_named_and_nothing_is_done(shell: Shell, server: AirflowServer, runs: Runs) -> None:
    run_id = runs.add("shop", "running")
    server.refused = {"PATCH taskInstance"}
    result = shell(f"stop {run_id} --yes -o json")
    assert result.code == ExitCode.MAY_BE_ALIVE
    assert "the login lacks the right to edit task instances of the Dag" in result.rows[0]["error"]
    assert runs.open() == {run_id}


# -- asking -----------------------------------------------------------------------------------------------------


def test_nothing_says_which_runs(shell: Shell, runs: Runs) -> None:
    runs.add("shop")
    result = shell("stop --yes")
    assert result.code == ExitCode.WRONG_USE
    assert "Say which runs" in result.err


def test_a_dry_run_does_nothing(shell: Shell, server: AirflowServer, runs: Runs) -> None:
    run_id = runs.add("shop")
    result = shell(f"stop {run_id} --yes --dry-run")
    assert result.code == ExitCode.DONE
    assert run_id in result.out
    assert server.tasks[runs.made[run_id]].state == "running"


def test_nobody_is_there_to_be_asked(shell: Shell, runs: Runs) -> None:
    run_id = runs.add("shop")
    result = shell(f"stop {run_id}")
    assert result.code == ExitCode.WRONG_USE
    assert "give --yes" in result.err
    assert runs.open() == {run_id}


@pytest.mark.parametrize(("answer", "code", "alive"), [("y", ExitCode.DONE, 0), ("", ExitCode.WRONG_USE, 1)])
def test_a_person_is_asked(
    shell: Shell, runs: Runs, monkeypatch: pytest.MonkeyPatch, answer: str, code: ExitCode, alive: int
) -> None:
    run_id = runs.add("shop", "failed", "failed")

    class Terminal:
        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            return f"{answer}\n"

    monkeypatch.setattr(screen.sys, "stdin", Terminal())
    result = shell(f"stop {run_id}")
    assert result.code == code
    assert "Stop 1 run(s), of nightly/scheduled__1/shop (failed)? [y/N]" in result.err
    assert len(runs.open()) == alive


def test_a_run_that_is_not_known(shell: Shell) -> None:
    result = shell("stop nobody --yes")
    assert result.code == ExitCode.FAILED
    assert "Airflow knows no run that may be alive of the id nobody" in result.err


# -- resume ------------------------------------------------------------------------------------------------------


def test_a_vendor_that_cannot_resume_says_so(shell: Shell, runs: Runs) -> None:
    run_id = runs.add("shop", "running")
    result = shell(f"resume {run_id} --yes -o json")
    assert result.code == ExitCode.FAILED
    assert "bctrl cannot resume" in result.rows[0]["error"]


def test_a_suspended_run_is_resumed(shell: Shell, server: AirflowServer, runs: Runs) -> None:
    from datetime import UTC, datetime, timedelta

    from airflow_runctl.control.seal import handle_of
    from airflow_runctl.runs import ExternalRun, Owner

    row = runs.connections.rows["snaplogic_default"]
    runs.box.behave("snaplogic", "orders", run_seconds=None, answers="early")
    requests.post(
        f"{row['host']}/api/1/rest/slsched/feed/Acme/projects/sales/orders",
        json={},
        headers={"Authorization": f"Bearer {row['extra']['task_token']}"},
        timeout=30,
    )
    [made] = [run["run_id"] for run in runs.box.runs(vendor="snaplogic")]
    runs.box.set_run(made, "Suspended")
    where = TaskKey("nightly", "scheduled__1", "orders")
    began = datetime.now(UTC) - timedelta(hours=1)
    run = ExternalRun("snaplogic", "snaplogic_default", made, None, began, {"ruuid": made}, Owner(where, 1))
    server.add(where, handle_of(run, runs.connections.access("snaplogic_default")), "deferred")
    result = shell(f"resume {made} --yes -o json")
    assert (result.code, result.rows[0]["outcome"]) == (ExitCode.DONE, "resumed")


def test_who_acts_is_the_user_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ann")
    assert acting.by_whom() == "runctl (ann)"
