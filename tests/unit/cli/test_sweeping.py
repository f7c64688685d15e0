"""``runctl sweep``: what it shows, what it does only with --yes, and its exit codes."""

from __future__ import annotations

import pytest

from airflow_runctl.cli.exit_codes import ExitCode
from airflow_runctl.runs import TaskKey
from tests.servers.airflow_rest import AirflowServer, Task
from tests.unit.cli.conftest import Shell
from tests.unit.known_runs import CONN_ID, Runs

SWEEP = "sweep --look-again 0s -o json"


def test_a_sweep_without_yes_names_the_orphans_and_stops_none(shell: Shell, runs: Runs) -> None:
    orphan, alive = runs.add("orphan", "failed", "failed"), runs.add("alive", "running")
    stranger = runs.alive("stranger")
    result = shell(SWEEP)
    assert result.code == ExitCode.MAY_BE_ALIVE
    assert {(row.get("task"), row.get("run_id"), row["finding"]) for row in result.rows} == {
        ("nightly/scheduled__1/orphan", None, "orphan"),
        (None, stranger, "not known to Airflow"),
    }
    assert (
        "2 runs may be alive as Airflow knows them, 1 of them orphans, 0 in doubt; 1 more run at vendors" in result.err
    )
    assert "A dry run: nothing was stopped. --yes stops the orphans." in result.err
    assert runs.open() == {orphan, alive, stranger}


def test_yes_stops_exactly_the_orphans_and_a_second_sweep_finds_nothing(shell: Shell, runs: Runs) -> None:
    runs.add("orphan", "failed", "failed")
    alive, stranger = runs.add("alive", "running"), runs.alive("stranger")
    result = shell(f"{SWEEP} --yes --reason 'the worker was lost'")
    assert result.code == ExitCode.DONE
    assert [row.get("outcome") for row in result.rows] == ["stopped", None]
    assert runs.open() == {alive, stranger}
    again = shell(f"{SWEEP} --yes")
    assert (again.code, [row["finding"] for row in again.rows]) == (ExitCode.DONE, ["not known to Airflow"])
    assert runs.open() == {alive, stranger}


def test_dry_run_outweighs_yes(shell: Shell, runs: Runs) -> None:
    orphan = runs.add("orphan", "failed", "failed")
    assert shell(f"{SWEEP} --yes --dry-run").code == ExitCode.MAY_BE_ALIVE
    assert runs.open() == {orphan}


def test_too_many_orphans_are_refused_loudly(shell: Shell, runs: Runs) -> None:
    orphans = {runs.add(f"orphan-{number}", "failed", "failed") for number in range(3)}
    result = shell(f"{SWEEP} --yes --max-orphans 2")
    assert result.code == ExitCode.TOO_MANY
    assert "NOTHING WAS STOPPED: 3 runs look like orphans, more than 2: Airflow's answers are doubted" in result.err
    assert runs.open() == orphans


def test_connections_that_airflow_stores_are_compared_though_no_run_is_known(
    shell: Shell, server: AirflowServer, runs: Runs
) -> None:
    stranger = runs.alive("stranger")
    server.connections = [
        {"connection_id": CONN_ID, "conn_type": "bctrl"},
        {"connection_id": "a_database", "conn_type": "postgres"},
    ]
    result = shell(SWEEP)
    assert [row["run_id"] for row in result.rows] == [stranger]
    assert result.code == ExitCode.DONE
    assert "a_database" not in result.err


def test_without_the_right_to_list_connections_the_rest_goes_on(
    shell: Shell, server: AirflowServer, runs: Runs
) -> None:
    runs.add("orphan", "failed", "failed")
    server.refused = {"GET connections"}
    result = shell(f"{SWEEP} --yes")
    assert result.code == ExitCode.DONE
    assert "the login lacks the right to read connections" in result.err
    assert runs.open() == set()


def test_an_airflow_that_is_down_stops_nothing(shell: Shell, runs: Runs) -> None:
    orphan = runs.add("orphan", "failed", "failed")
    result = shell(f"{SWEEP} --yes --api-url http://127.0.0.1:9")
    assert result.code == ExitCode.FAILED
    assert "does not answer" in result.err
    assert runs.open() == {orphan}


def test_a_forged_handle_is_a_doubt_and_exit_code_3(shell: Shell, server: AirflowServer, runs: Runs) -> None:
    run_id = runs.add("load", "failed", "failed")
    server.xcoms[runs.made[run_id], "external_run"]["token"] += "AAAA"
    result = shell(f"{SWEEP} --yes")
    assert result.code == ExitCode.MAY_BE_ALIVE
    assert "does not open with connection" in result.rows[0]["why"]
    assert runs.open() == {run_id}


def test_filters_and_exclusions(shell: Shell, runs: Runs) -> None:
    runs.add("a", "failed", dag_id="nightly")
    kept = {runs.add("b", "failed", dag_id="hourly"), runs.add("c", "failed", dag_id="nightly_c")}
    assert shell(f"{SWEEP} --yes --exclude-dag 'hour*' --exclude-dag nightly_c").code == ExitCode.DONE
    assert runs.open() == kept
    assert shell(f"{SWEEP} --yes --dag-id hourly").code == ExitCode.DONE
    assert shell(f"{SWEEP} --yes --vendor snaplogic").rows == []
    assert len(runs.open()) == 1
    assert shell(f"{SWEEP} --yes --min-age 2h").rows[0]["finding"] == "left_alone"
    assert len(runs.open()) == 1


def test_the_candidates_of_an_ambiguous_start_are_shown(shell: Shell, server: AirflowServer, runs: Runs) -> None:
    run_id = runs.alive("shop")
    where = TaskKey("nightly", "scheduled__1", "load")
    server.add(where, None, "failed")
    del server.xcoms[where, "external_run"]
    names = {"vendor": "bctrl", "conn_id": CONN_ID}
    server.xcoms[where, "external_run_audit"] = {**names, "state": "ambiguous", "candidates": [run_id]}
    result = shell(f"{SWEEP} --yes")
    assert result.code == ExitCode.MAY_BE_ALIVE
    [row] = [row for row in result.rows if row["finding"] == "lost start"]
    assert (row["task"], row["run"]) == (str(where), run_id)
    assert "Nothing stops it but a person" in result.err
    assert runs.open() == {run_id}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("--min-age soon", "'soon' is no duration: 90, 90s, 30m, 2h or 1d"),
        ("--max-share 150%", "'150%' is no part of a whole: 0.5 or 50%"),
        ("--max-orphans many", "'many' is no number of runs"),
        ("--token abc", "unrecognized arguments: --token abc"),
    ],
)
def test_arguments_without_sense(shell: Shell, wrong: str, said: str) -> None:
    result = shell(f"sweep {wrong}")
    assert result.code == ExitCode.WRONG_USE
    assert said in result.err


def test_a_task_instance_that_is_gone_is_a_doubt(shell: Shell, server: AirflowServer, runs: Runs) -> None:
    run_id = runs.add("load", "failed")
    where: TaskKey = runs.made[run_id]
    del server.tasks[where]
    result = shell(f"{SWEEP} --yes")
    assert result.code == ExitCode.MAY_BE_ALIVE
    assert result.rows[0]["why"] == "Airflow has no such task instance any more"
    assert runs.open() == {run_id}


def test_what_has_an_owner_takes_three_questions(shell: Shell, server: AirflowServer, runs: Runs) -> None:
    """Handle, audit record and task; it is read once, though it is first seen who can do the sweep."""
    for number in range(5):
        runs.add(f"alive-{number}")
    assert shell(f"{SWEEP} --yes").code == ExitCode.DONE
    assert (server.calls["GET xcom"], server.calls["GET taskInstance"]) == (10, 5)


# -- what archived attempts left (Airflow 3.4) -------------------------------------------------------------------


def left(runs: Runs, server: AirflowServer, name: str, state: str = "failed", *, own: bool = False) -> str:
    """Leave a run at an attempt that was archived since; return its id."""
    run_id, where = runs.alive(name), TaskKey("nightly", "scheduled__1", name)
    place = {"dag_id": where.dag_id, "dag_run_id": where.run_id, "task_id": name, "map_index": -1, "try_number": 1}
    server.archived = [
        *(server.archived or ()),
        {**place, "handle": runs.handle(name, run_id, where), "has_other": own},
    ]
    server.tasks[where] = Task(state, try_number=2)
    server.dag_runs[where.dag_id, where.run_id] = "running"
    return run_id


def test_what_an_archived_attempt_left_is_named_and_stopped(shell: Shell, server: AirflowServer, runs: Runs) -> None:
    orphan, alive = left(runs, server, "load", "running", own=True), runs.add("alive", "running")
    looked = shell(SWEEP)
    assert (looked.code, [row["finding"] for row in looked.rows]) == (ExitCode.MAY_BE_ALIVE, ["orphan"])
    assert looked.rows[0]["why"] == "attempt 1 left it, and attempt 2 (running) has recorded another run"
    assert runs.open() == {orphan, alive}
    swept = shell(f"{SWEEP} --yes")
    assert (swept.code, [row["outcome"] for row in swept.rows]) == (ExitCode.DONE, ["stopped"])
    assert runs.open() == {alive}
    again = shell(f"{SWEEP} --yes")
    assert (again.code, again.rows, server.archived) == (ExitCode.DONE, [], [])


def test_a_hundred_of_them_take_a_question_each_and_once_they_are_let_go_none(
    shell: Shell, server: AirflowServer, runs: Runs
) -> None:
    gone = left(runs, server, "load-0", "success")
    runs.box.set_run(gone, "stopped")
    for number in range(1, 100):
        name, where = f"load-{number}", TaskKey("nightly", "scheduled__1", f"load-{number}")
        handle = runs.handle("load-0", gone, where)
        assert server.archived is not None
        server.archived.append({**server.archived[0], "task_id": name, "handle": handle})
        server.tasks[where] = Task("success", try_number=2)
    shell("list -o json")
    assert sum(server.calls.values()) == 1, "a list does not ask for them"
    server.calls.clear()
    assert shell(f"{SWEEP} --yes").code == ExitCode.DONE
    assert (server.calls["GET archived"], server.calls["POST archived"]) == (2, 1)
    assert (server.calls["GET taskInstance"], server.calls["GET dagRun"]) == (100, 1)
    first = sum(server.calls.values()) - 101
    server.calls.clear()
    assert shell(f"{SWEEP} --yes").code == ExitCode.DONE
    assert sum(server.calls.values()) == first - 1


@pytest.mark.parametrize(
    ("version", "said"),
    [("3.3.2", False), ("3.4.0", True), ("3.10.1", True), ("4.0.0", True), ("odd", True)],
)
def test_without_our_api_it_is_said_where_attempts_are_archived(
    shell: Shell, server: AirflowServer, runs: Runs, version: str, said: bool
) -> None:
    orphan = runs.add("orphan", "failed", "failed")
    server.version = version
    result = shell(f"{SWEEP} --yes")
    assert (result.code, orphan in runs.open()) == (ExitCode.DONE, False)
    assert ("What archived attempts left was not looked at: Airflow at" in result.err) is said
    assert ("has no API of airflow-runctl" in result.err) is said


def test_whoever_may_not_see_it_is_told_which_right_is_missing(shell: Shell, server: AirflowServer, runs: Runs) -> None:
    run_id = left(runs, server, "load")
    server.refused = {"GET archived"}
    result = shell(f"{SWEEP} --yes")
    assert result.code == ExitCode.DONE
    assert "lacks the right to edit the task instances of the Dag, and to read its XComs" in result.err
    assert runs.open() == {run_id}
