"""``runctl list`` and ``runctl show``: what may be alive, with its owner; what it costs; what Airflow refuses."""

from __future__ import annotations

import json
import time

import pytest
import yaml

from airflow_runctl.cli.exit_codes import ExitCode
from airflow_runctl.runs import TaskKey
from tests.servers.airflow_rest import AirflowServer, Task
from tests.unit.cli.conftest import Shell
from tests.unit.known_runs import Runs


def plain_handle(number: int) -> dict[str, str]:
    """A handle as it is shown; nothing of a list needs to open it."""
    return {
        "vendor": "axiom" if number % 2 else "snaplogic",
        "conn_id": "axiom_default" if number % 2 else "snaplogic_default",
        "run_id": f"run-{number}",
        "url": "https://page",
        "started_at": "2026-01-01T00:00:00+00:00",
        "token": "2sealed",
    }


def place(number: int, dag_id: str = "nightly") -> TaskKey:
    return TaskKey(dag_id, f"scheduled__{number}", "load")


def test_list_shows_what_may_be_alive_with_its_owner(shell: Shell, server: AirflowServer) -> None:
    server.add(place(1), plain_handle(1), "deferred")
    server.add(place(2), plain_handle(2), "failed", dag_run="failed")
    result = shell("list -o json")
    assert result.code == ExitCode.MAY_BE_ALIVE
    shown = {row["run_id"]: (row["owner_state"], row["standing"], row["vendor"]) for row in result.rows}
    assert shown == {
        "run-1": ("deferred", "owned", "axiom"),
        "run-2": ("failed", "orphan", "snaplogic"),
    }
    assert "its task is over (failed)" in result.err
    assert "2sealed" not in result.out


def test_nothing_alarming_is_exit_code_0(shell: Shell, server: AirflowServer) -> None:
    server.add(place(1), plain_handle(1), "running")
    assert shell("list").code == ExitCode.DONE


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ("--vendor axiom", {"run-1", "run-3"}),
        ("--conn-id snaplogic_default", {"run-2"}),
        ("--dag-id hourly", {"run-3"}),
        ("--dag-run-id scheduled__2", {"run-2"}),
        ("--task-id load", {"run-1", "run-2", "run-3"}),
        ("--task-id other", set()),
        ("--map-index 0", set()),
        ("--state failed", {"run-2"}),
        ("--state none", {"run-3"}),
        ("--orphans", {"run-2"}),
        ("run-1 run-2", {"run-1", "run-2"}),
    ],
)
def test_filters(shell: Shell, server: AirflowServer, filters: str, expected: set[str]) -> None:
    server.add(place(1), plain_handle(1), "running")
    server.add(place(2), plain_handle(2), "failed")
    server.add(place(3, "hourly"), plain_handle(3), None)
    assert {row["run_id"] for row in shell(f"list -o json {filters}").rows} == expected


def test_each_form_of_output_shows_the_same_run(shell: Shell, server: AirflowServer) -> None:
    server.add(place(1), plain_handle(1), "running")
    assert json.loads(shell("list -o json").out)[0]["run_id"] == "run-1"
    assert yaml.safe_load(shell("list -o yaml").out)[0]["run_id"] == "run-1"
    for output in ("table", "plain"):
        text = shell(f"list -o {output}").out
        assert text.splitlines()[0].split()[0] == "dag_id"
        assert "run-1" in text
    server.xcoms.clear()
    assert shell("list").out == "No data found\n"


def test_what_a_task_wrote_into_a_handle_is_shown_as_text_and_moves_no_cursor(
    shell: Shell, server: AirflowServer
) -> None:
    odd = {**plain_handle(1), "run_id": "\x1b[2J[red]gone[/red]", "started_at": "yesterday", "url": 7}
    server.add(place(1), odd, "running")
    server.add(place(2), "no handle", "running")
    for output in ("table", "plain", "json", "yaml"):
        result = shell(f"list -o {output}")
        assert "\x1b[2J" not in result.out
        assert "[red]gone" in result.out
        assert "is no handle; a run may be alive" in result.err
        assert result.code == ExitCode.MAY_BE_ALIVE


@pytest.mark.parametrize("alive", [3, 50])
def test_requests_grow_with_what_may_be_alive_and_not_with_what_is_over(
    shell: Shell, server: AirflowServer, alive: int
) -> None:
    for number in range(2000):
        server.tasks[place(number)] = Task("success")
        server.xcoms[place(number), "external_run_audit"] = {"state": "succeeded"}
    for number in range(alive):
        server.add(place(number), plain_handle(number), "running")
    result = shell("list -o json")
    assert len(result.rows) == alive
    # A list, and for each run its handle, its audit record, its history and its task.
    assert sum(server.calls.values()) == 1 + 4 * alive


def test_a_list_of_several_pages_is_read_to_its_end(shell: Shell, server: AirflowServer) -> None:
    for number in range(130):
        server.add(place(number), plain_handle(number), "failed")
    assert len(shell("list -o json").rows) == 130
    assert server.calls["GET xcomEntries"] == 2


def test_a_dag_run_is_asked_for_once_however_many_of_its_tasks_are_over(shell: Shell, server: AirflowServer) -> None:
    for number in range(5):
        server.add(TaskKey("nightly", "scheduled__1", "load", number), plain_handle(number), "success", "success")
    rows = shell("list -o json").rows
    assert {row["standing"] for row in rows} == {"unclear"}
    assert server.calls["GET dagRun"] == 1


# -- show ------------------------------------------------------------------------------------------------------


def test_show_tells_all_that_is_known_and_asks_the_vendor(shell: Shell, server: AirflowServer, runs: Runs) -> None:
    run_id = runs.add("shop", "failed", "failed")
    server.execution_timeout = {"days": 0, "seconds": 900}
    handle = server.xcoms[runs.made[run_id], "external_run"]
    stop = {"reason": "killed", "by": "worker", "text": None, "asked_at": "2026-01-01", "outcome": "requested"}
    shown = {name: handle[name] for name in ("run_id", "started_at")}
    audit = {**shown, "state": "running", "vendor_state": "active", "stop": stop}
    server.xcoms[runs.made[run_id], "external_run_audit"] = audit
    result = shell(f"show {run_id} -o json")
    [row] = result.rows
    assert result.code == ExitCode.MAY_BE_ALIVE
    assert (row["now"], row["vendor_state"], row["execution_timeout"]) == ("active (running)", "active", 900)
    assert row["stop"]["outcome"] == "requested"
    assert "token" not in row
    assert handle["token"] not in result.out
    assert "workspace_id" not in result.out


def test_show_tells_what_happened_and_what_a_later_attempt_has_wiped(shell: Shell, server: AirflowServer) -> None:
    server.add(place(1), plain_handle(1), "running")
    server.tasks[place(1)].try_number = 3
    known = {"run_id": "run-1", "try_number": 3}
    server.xcoms[place(1), "external_run_history"] = [
        {"event": "started", "at": "2026-01-01T00:00:01.000+00:00", "by": "worker", **known},
        {"event": "state", "at": "2026-01-01T00:00:02.000+00:00", "vendor_state": "\x1b[2JBusy", **known, "pw": "x"},
        {"event": "ended", "at": "2025-12-31T00:00:00.000+00:00", "run_id": "run-0", "try_number": 1},
    ]
    [row] = shell("show run-1 -o json").rows
    assert [(event["event"], event.get("by"), event["try_number"]) for event in row["history"]] == [
        ("ended", None, 1),
        ("started", "worker", 3),
        ("state", None, 3),
    ]
    assert row["wiped"] == "nothing is left of attempt 2: a later one wipes it"
    assert (row["vendor_state"], row["vendor_state_at"]) == ("?[2JBusy", "2026-01-01T00:00:02+00:00")
    assert "pw" not in row["history"][2]
    assert "started" in shell("show run-1").out
    assert shell("list").out.count("?[2JBusy, ") == 1


def test_limits_are_shown_with_what_is_left_of_them(shell: Shell, server: AirflowServer) -> None:
    odd = {"execution_timeout": "soon", "max_runtime": time.time() + 90, "other": 3}
    server.add(place(1), {**plain_handle(1), "limits": odd}, "running")
    server.add(place(2), {**plain_handle(2), "limits": {"max_runtime": 1e300}}, "running")
    rows = {row["run_id"]: row["limits"] for row in shell("list -o json").rows}
    assert list(rows["run-1"]) == ["max_runtime"]
    assert 60 < rows["run-1"]["max_runtime"]["left"] <= 90
    assert rows["run-1"]["max_runtime"]["at"] > "2026"
    assert rows["run-2"] == {}
    assert shell("show run-1 -o json").rows[0]["limits"].keys() == {"max_runtime"}


def test_show_says_why_a_vendor_cannot_be_asked_from_here(
    shell: Shell, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = runs.add("shop")
    monkeypatch.delenv("AIRFLOW_CONN_BCTRL_DEFAULT")
    [row] = shell(f"show {run_id} -o json").rows
    assert row["now"].startswith("not asked: Connection 'bctrl_default' cannot be read")
    assert "secrets backend" in row["now"]


def test_show_of_a_run_that_is_not_known(shell: Shell) -> None:
    result = shell("show nobody")
    assert result.code == ExitCode.FAILED
    assert (
        "Airflow has no record of a run 'nobody' that may be alive: it is over, or the id is another one" in result.err
    )


@pytest.mark.parametrize("width", [80, 120, 200])
def test_table_cuts_no_id(shell: Shell, server: AirflowServer, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setattr("airflow_runctl.cli.screen.WIDTH", width)
    server.add(place(1), {**plain_handle(1), "run_id": "37036cd8_9746d335-038e-ca96-ce51-" + 30 * "7"}, "running")
    shown = shell("list").out
    assert "…" not in shown
    assert shown.count("7") >= 30


# -- what Airflow refuses ----------------------------------------------------------------------------------------


def test_a_token_that_is_not_taken(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CLI_TOKEN", "expired-token")
    result = shell("list")
    assert result.code == ExitCode.REFUSED
    assert "does not take the token (HTTP 401: Not authenticated)" in result.err
    assert "expired-token" not in result.err


def test_a_token_that_is_none(shell: Shell, server: AirflowServer) -> None:
    """Airflow 3.3 answers it with 403, as if a right were missing."""
    server.refused, server.refusal = {"GET xcomEntries"}, "Invalid JWT token"
    result = shell("list")
    assert result.code == ExitCode.REFUSED
    assert "does not take the token (HTTP 403: Invalid JWT token)" in result.err
    assert "lacks the right" not in result.err


def test_a_login_without_the_right_to_list(shell: Shell, server: AirflowServer) -> None:
    server.refused = {"GET xcomEntries"}
    result = shell("list")
    assert result.code == ExitCode.REFUSED
    assert "refuses to list XComs (HTTP 403: Forbidden): the login lacks the right to read XComs" in result.err


def test_one_dag_whose_tasks_are_not_readable_hides_no_other(shell: Shell, server: AirflowServer) -> None:
    server.add(place(1), plain_handle(1), "running")
    server.refused = {"GET taskInstance"}
    result = shell("list -o json")
    assert result.code == ExitCode.MAY_BE_ALIVE
    assert "lacks the right to read task instances of the Dag" in result.rows[0]["why"]


def test_an_airflow_that_is_down(shell: Shell) -> None:
    result = shell("list --api-url http://127.0.0.1:9")
    assert result.code == ExitCode.FAILED
    assert result.err == "runctl: Airflow at http://127.0.0.1:9 does not answer (NewConnectionError).\n"


def test_an_address_where_something_else_answers(shell: Shell, server: AirflowServer) -> None:
    result = shell(f"list --api-url {server.url}/elsewhere")
    assert result.code == ExitCode.FAILED
    assert "is no Airflow 3 (HTTP 404 at /api/v2)" in result.err
    assert "2.11" in result.err


def test_a_list_whose_entries_are_none(shell: Shell, server: AirflowServer, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = {"xcom_entries": [{"dag_id": "nightly"}], "total_entries": 1}
    monkeypatch.setattr(server, "_list", lambda *_: (200, odd))
    result = shell("list")
    assert result.code == ExitCode.FAILED
    assert "answered an entry that is none" in result.err
    monkeypatch.setattr(server, "_list", lambda *_: (200, {"xcom_entries": None}))
    assert "answered a list without 'xcom_entries'" in shell("list").err


def test_an_answer_that_nobody_foresaw_hides_no_other_run(
    shell: Shell, server: AirflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add(place(1), plain_handle(1), "running")
    server.add(place(2), plain_handle(2), "running")
    task = server._task
    odd = {"state": "running", "try_number": {"a": 1}}
    monkeypatch.setattr(server, "_task", lambda where: (200, odd) if where == place(1) else task(where))
    rows = {row["dag_run_id"]: row for row in shell("list -o json").rows}
    assert rows["scheduled__2"]["standing"] == "owned"
    assert rows["scheduled__1"]["why"] == "Its records cannot be read (TypeError). A run may be alive."


def test_what_nobody_foresaw_is_no_stack_trace(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("what")

    monkeypatch.setattr("airflow_runctl.cli.listing.print_rows", broken)
    result = shell("list")
    assert result.code == ExitCode.MAY_BE_ALIVE
    assert "KeyError: 'what'. Nobody foresaw this" in result.err


def test_an_airflow_whose_database_is_away(shell: Shell, server: AirflowServer) -> None:
    server.broken = {"GET xcomEntries"}
    result = shell("list")
    assert result.code == ExitCode.FAILED
    assert "cannot list XComs now (HTTP 503: Database error)" in result.err
