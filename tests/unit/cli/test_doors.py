"""The two doors: the console script, and what Airflow is told; what each loads; machines without Airflow."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_runctl.cli import console, definition, trying
from airflow_runctl.cli.exit_codes import ExitCode
from airflow_runctl.provider_info import get_provider_info
from tests.places import DOCS, ROOT
from tests.servers.airflow_rest import TOKEN, AirflowServer
from tests.unit.cli.conftest import Shell
from tests.unit.cli.test_listing import place, plain_handle
from tests.unit.known_runs import Runs

NAMES = ["list", "show", "stop", "resume", "sweep", "test", "sandbox"]


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        check=False,
    )


def test_the_commands() -> None:
    assert [command.name for command in definition.COMMANDS] == NAMES
    assert get_provider_info()["cli"] == ["airflow_runctl.cli.in_airflow.get_commands"]


@pytest.mark.parametrize("name", NAMES)
def test_each_command_says_how_it_is_used(shell: Shell, name: str) -> None:
    result = shell(f"{name} --help")
    assert result.code == 0
    assert f"usage: runctl {name}" in result.out


def test_the_page_for_the_person_on_call_has_every_command_and_exit_code() -> None:
    page = (DOCS / "how-to/operating.md").read_text()
    assert re.findall(r"^\| `runctl (\w+)", page, re.MULTILINE) == NAMES
    table = page.partition("| exit code | means |")[2].partition("\n\n")[0]
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == list(ExitCode)
    named = set(re.findall(r"`(--[\w-]+)", page))
    known = {flag for command in definition.COMMANDS for argument in command.arguments for flag in argument.flags}
    assert named - known == {"--help"}
    assert known - named <= {"--verbose", "-v", "-y", "-o", "--output", "--host", "--port", "runs", "conn_id"}


def test_no_command_at_all(shell: Shell) -> None:
    assert shell("").code == ExitCode.WRONG_USE
    assert "airflow-runctl" in shell("--version").out


def test_what_airflow_loads_at_every_start_is_next_to_nothing() -> None:
    """Airflow's own modules are there by then; of ours only data may come, and nothing that is slow."""
    loaded = python(
        "from __future__ import annotations\n"
        "import sys, argparse, re, collections.abc, dataclasses, logging, functools, typing\n"
        "before = set(sys.modules)\n"
        "import airflow_runctl.cli.in_airflow\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    assert loaded.stdout.split() == [
        "airflow_runctl",
        "airflow_runctl.cli",
        "airflow_runctl.cli.definition",
        "airflow_runctl.cli.in_airflow",
    ], loaded.stderr


def test_a_machine_with_the_client_alone_lists_and_stops_through_tasks(server: AirflowServer, tmp_path: Path) -> None:
    server.add(place(1), plain_handle(1), "running")

    def ended(where: object) -> None:
        server.xcoms[place(1), "external_run_audit"] = {**plain_handle(1), "state": "stopped"}
        del server.xcoms[place(1), "external_run"]

    server.on_fail = ended
    run = (
        "import sys\n"
        "sys.modules['airflow'] = None\n"
        "from airflow_runctl.cli.console import main\n"
        "for line in ('list', 'show run-1', 'stop run-1 --yes'):\n"
        "    print(main([*line.split(), '-o', 'json']))"
    )
    came = python(run, AIRFLOW_CLI_TOKEN=TOKEN, AIRFLOW__API__BASE_URL=server.url, AIRFLOW_HOME=str(tmp_path))
    listed, code, shown, code_of_show, stopped, code_of_stop = came.stdout.splitlines()
    assert (code, code_of_show, code_of_stop) == ("0", "0", "0"), came.stderr
    assert json.loads(listed)[0]["run_id"] == "run-1"
    assert json.loads(shown)[0]["now"] == "not asked: Airflow is not installed here"
    assert json.loads(stopped)[0]["outcome"] == "stopped"


def test_what_is_missing_is_named(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "airflow_client", None)
    monkeypatch.setitem(sys.modules, "airflow_client.client", None)
    result = shell("list")
    assert result.code == ExitCode.FAILED
    assert "pip install 'airflow-runctl[cli]'" in result.err


def test_results_alone_are_on_the_standard_output(shell: Shell, runs: Runs) -> None:
    """Airflow's logging writes to it; whoever reads JSON from it must not meet a log line."""
    run_id = runs.add("shop", "failed", "failed")
    root, log = logging.getLogger(), logging.getLogger("airflow_runctl.control.stop_many")
    handler = logging.StreamHandler(sys.stdout)
    root.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        result = shell(f"stop {run_id} --yes -o json")
    finally:
        root.removeHandler(handler)
        log.setLevel(logging.NOTSET)
    assert result.rows[0]["outcome"] == "stopped"
    assert "stopped in" in result.err, "the stop is in the log"


# -- test and sandbox ------------------------------------------------------------------------------------------------


def test_a_connection_that_works(shell: Shell) -> None:
    result = shell("test bctrl_default")
    assert result.code == ExitCode.DONE
    assert "bctrl" in result.out


def test_a_connection_that_does_not(shell: Shell, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    row = runs.connections.row("bctrl_default", password="wrong-key")
    monkeypatch.setenv("AIRFLOW_CONN_BCTRL_DEFAULT", json.dumps(row))
    result = shell("test bctrl_default")
    assert result.code == ExitCode.FAILED
    assert "wrong-key" not in result.out


def test_a_connection_that_cannot_be_read(shell: Shell) -> None:
    result = shell("test nowhere")
    assert result.code == ExitCode.FAILED
    assert "Connection 'nowhere' cannot be read here" in result.err
    assert "Run the same command where Airflow's connections can be read" in result.err


def test_a_connection_of_another_kind(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_A_DATABASE", "postgres://me:secret@db")
    result = shell("test a_database")
    assert result.code == ExitCode.FAILED
    assert "No installed package knows the vendor 'postgres'" in result.err


def test_the_sandbox_takes_the_place_of_the_process(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(trying.os, "execv", lambda path, command: became.append(command) or sys.exit(0))
    shell("sandbox --port 8089")
    assert became == [[sys.executable, "-m", "airflow_runctl.sandbox", "--host", "127.0.0.1", "--port", "8089"]]


def test_interrupted(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("airflow_runctl.cli.listing.list_runs", interrupted)
    assert shell("list").code == ExitCode.INTERRUPTED
    assert console.main is not None
