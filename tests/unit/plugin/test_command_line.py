"""``runctl`` as it is typed where no connection can be read: over a real API server with the plugin's application."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from airflow_runctl.cli import reach
from airflow_runctl.cli.exit_codes import ExitCode
from airflow_runctl.compat import tables
from airflow_runctl.control.errands import DAG_ID, TASK_ID
from airflow_runctl.runs import HISTORY_KEY
from airflow_runctl.sandbox.client import Sandbox
from tests.unit.cli.conftest import Result, Shell
from tests.unit.connections import Connections
from tests.unit.known_runs import CONN_ID, Runs
from tests.unit.plugin.conftest import World
from tests.unit.plugin.test_acting import acts_here, kill, maintenance, runs
from tests.unit.plugin.test_archive import Attempts

__all__ = ["acts_here", "kill", "maintenance", "runs"]

pytestmark = pytest.mark.usefixtures("brisk")

OVER = f"Over Airflow's API server, since connection '{CONN_ID}' cannot be read here."


BY = "admin-ann over the API"
LOGGED = re.compile(r"\S{0,8}20\d\d-\d\d-\d\dT")


class Typed(Shell):
    """The server is in this process, and logs what it does where the command prints."""

    def __call__(self, line: str) -> Result:
        result = super().__call__(line)
        lines = result.out.splitlines(keepends=True)
        return replace(result, out="".join(line for line in lines if not LOGGED.match(line)))


class NothingHere:
    """A shell without connections."""

    writable = False

    async def connection(self, conn_id: str) -> Any:
        raise LookupError(conn_id)


@pytest.fixture
def url(world: World) -> Iterator[str]:
    """Serve Airflow's own application, with our plugin, over HTTP."""
    import uvicorn

    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(world.app, log_level="error", lifespan="off"))
    serving = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    serving.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    serving.join()


@pytest.fixture
def shell(
    world: World,
    url: str,
    box: Sandbox,
    runs: Runs,
    connections: Connections,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Shell:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", url)
    monkeypatch.setenv("AIRFLOW_HOME", "/nowhere")
    monkeypatch.setattr(reach, "local_channel", NothingHere)
    world.dag("nightly", "load", "other")  # Airflow lists nothing of a Dag that it does not know
    return as_role("admin", world, capsys, monkeypatch, box)


def as_role(
    role: str, world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, box: Sandbox
) -> Shell:
    token = world.token(role)
    monkeypatch.setenv("AIRFLOW_CLI_TOKEN", token)
    return Typed(capsys, (token, box.seed))


def test_a_run_without_a_live_task_is_stopped_by_the_api_server(shell: Shell, runs: Runs, acts_here: None) -> None:
    run_id, other = runs.add("load", "failed", "failed"), runs.add("other")
    result = shell(f"stop {run_id} --yes --reason 'no use' --timeout 5 -o json")
    assert result.code == ExitCode.DONE, result.err
    assert OVER in result.err
    assert [(row["outcome"], row["done"]) for row in result.rows] == [("stopped", "stopped directly")]
    assert runs.open() == {other}
    row = tables.stored(HISTORY_KEY, runs.made[run_id])
    assert row is not None
    assert [(event["event"], event["by"]) for event in row[0]] == [("stop", BY), ("ended", BY)]
    assert row[0][0]["why"] == f"by_hand: no use ({BY})"


def test_a_run_is_stopped_by_the_maintenance_dag_and_followed_to_its_end(
    shell: Shell, runs: Runs, maintenance: list[dict[str, Any]]
) -> None:
    run_id = runs.add("load", "failed", "failed")
    result = shell(f"stop {run_id} --yes --timeout 5 -o json")
    assert result.code == ExitCode.DONE, result.err
    assert [row["outcome"] for row in result.rows] == ["stopped"]
    assert runs.open() == set()
    assert len(maintenance) == 1


def test_what_the_answer_does_not_wait_for_is_followed(
    shell: Shell, runs: Runs, world: World, kill: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a stop that takes longer than an answer of the API may wait."""
    world.dag(DAG_ID, TASK_ID)
    run_id = runs.add("load", "running")
    monkeypatch.setattr("airflow_runctl.cli.over_api.LONGEST_WAIT", 0.0)
    result = shell(f"stop {run_id} --yes --timeout 10 -o json")
    assert result.code == ExitCode.DONE, result.err
    assert [(row["outcome"], row["done"]) for row in result.rows] == [("stopped", "task marked as failed")]


def test_a_dry_run_does_nothing(shell: Shell, runs: Runs, acts_here: None) -> None:
    run_id = runs.add("load", "failed", "failed")
    result = shell(f"stop {run_id} --dry-run -o json")
    assert (result.code, [row["run_id"] for row in result.rows]) == (ExitCode.DONE, [run_id])
    assert runs.open() == {run_id}


def test_without_any_way_the_command_for_a_worker_is_named(shell: Shell, runs: Runs) -> None:
    run_id = runs.add("load", "failed", "failed")
    result = shell(f"stop {run_id} --yes -o json")
    assert result.code == ExitCode.MAY_BE_ALIVE
    assert f"On a worker: runctl stop {run_id} --yes" in result.rows[0]["error"]
    assert runs.open() == {run_id}


def test_without_the_api_it_says_so_and_where_to_go(shell: Shell, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = runs.add("load", "failed", "failed")
    monkeypatch.setattr("airflow_runctl.rest.runctl_api.BASE", "/somewhere-else")
    for command in (f"stop {run_id} --yes -o json", f"resume {run_id} --yes -o json"):
        result = shell(command)
        assert "has no API of airflow-runctl" in result.err
        assert "Run the same command where Airflow's connections can be read" in result.rows[0]["error"]
    result = shell(f"test {CONN_ID}")
    assert result.code == ExitCode.FAILED
    assert "has no API of airflow-runctl" in result.err
    assert "Run the same command where" in result.err
    assert runs.open() == {run_id}


def test_a_right_that_is_missing_is_named(
    shell: Shell,
    runs: Runs,
    world: World,
    box: Sandbox,
    acts_here: None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_id = runs.add("load", "failed", "failed")
    viewer = as_role("viewer", world, capsys, monkeypatch, box)
    for command, right in (
        (f"stop {run_id} --yes", "edit task instances"),
        ("sweep --yes --min-age 0", "edit task instances"),
        (f"test {CONN_ID}", "test this connection"),
    ):
        result = viewer(command)
        assert result.code == ExitCode.REFUSED, command
        assert right in result.err
    assert runs.open() == {run_id}


def test_show_asks_the_vendor_over_the_api(shell: Shell, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = runs.add("load")
    result = shell(f"show {run_id} -o json")
    assert (OVER in result.err, result.rows[0]["now"]) == (True, "not asked: [runctl] act_in_api_server is off.")
    monkeypatch.setenv("AIRFLOW__RUNCTL__ACT_IN_API_SERVER", "True")
    assert shell(f"show {run_id} -o json").rows[0]["now"] == "active (running)"


@pytest.mark.parametrize("way", ["here", "maintenance"])
def test_a_sweep(shell: Shell, runs: Runs, way: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue({"here": "acts_here", "maintenance": "maintenance"}[way])
    orphan, owned = runs.add("load", "failed", "failed"), runs.add("other")
    rules = "--look-again 0 --max-share 1 --timeout 5 -o json"
    looked = shell(f"sweep {rules}")
    assert looked.code == ExitCode.MAY_BE_ALIVE, looked.err
    assert [(row["finding"], row["outcome"]) for row in looked.rows] == [("orphan", None)]
    assert runs.open() == {orphan, owned}
    assert f"{OVER} Runs that Airflow does not know" in looked.err
    swept = shell(f"sweep --yes {rules}")
    assert swept.code == ExitCode.DONE, swept.err
    assert [row["outcome"] for row in swept.rows] == ["stopped"]
    assert runs.open() == {owned}


def test_a_sweep_of_too_many_stops_none(shell: Shell, runs: Runs, acts_here: None) -> None:
    run_id = runs.add("load", "failed", "failed")
    result = shell("sweep --yes --look-again 0 --max-orphans 0 -o json")
    assert result.code == ExitCode.TOO_MANY
    assert runs.open() == {run_id}


@pytest.mark.parametrize("way", ["here", "maintenance"])
def test_the_test_of_a_connection(shell: Shell, runs: Runs, way: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue({"here": "acts_here", "maintenance": "maintenance"}[way])
    result = shell(f"test {CONN_ID}")
    assert (result.code, OVER in result.err) == (ExitCode.DONE, True), result.err
    assert result.out.strip()
    assert shell("test nobody_default").code == ExitCode.FAILED


def test_a_resume_says_what_came_of_it(shell: Shell, runs: Runs, acts_here: None) -> None:
    """bctrl resumes nothing: what its API server says is said here too."""
    run_id = runs.add("load")
    result = shell(f"resume {run_id} --yes --timeout 1 -o json")
    assert result.code == ExitCode.FAILED
    assert result.rows[0]["error"]
    assert OVER in result.err


@pytest.mark.skipif(not tables.OF_AN_ATTEMPT, reason="Airflow archives attempts with their XComs from 3.4 on")
@pytest.mark.parametrize("way", ["here", "maintenance"])
def test_what_an_archived_attempt_left_is_swept_by_the_api_server_alone(
    shell: Shell, runs: Runs, world: World, way: str, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue({"here": "acts_here", "maintenance": "maintenance"}[way])
    run_id = runs.add("load", "failed", "failed")
    Attempts(world).archive(runs.made[run_id])
    world.add("nightly", "load", "failed", "failed", run_id="scheduled__1", try_number=2)
    result = shell("sweep --yes --look-again 0 --max-share 1 --timeout 5 -o json")
    assert (result.code, OVER in result.err) == (ExitCode.DONE, True), result.err
    if way == "here":
        assert ([row["outcome"] for row in result.rows], runs.open()) == (["stopped"], set())
        return
    assert "1 handles that archived attempts left were not looked at: a task cannot read them." in result.err
    assert (result.rows, runs.open()) == ([], {run_id})
