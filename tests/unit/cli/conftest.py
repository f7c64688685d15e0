"""A shell of somebody on call: the commands as they are typed, an Airflow behind its REST API, vendors' runs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from airflow_runctl.cli import console
from airflow_runctl.compat import IS_AIRFLOW_2
from airflow_runctl.control import end_owner
from airflow_runctl.sandbox.client import Sandbox
from tests.servers.airflow_rest import TOKEN, AirflowServer
from tests.unit.connections import Connections
from tests.unit.known_runs import Runs


@pytest.fixture
def server() -> Iterator[AirflowServer]:
    with AirflowServer() as serving:
        yield serving


@dataclass(frozen=True)
class Result:
    """What came of a command."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        return list(json.loads(self.out))


@dataclass
class Shell:
    """Types commands, and looks for secrets in whatever is answered."""

    capture: pytest.CaptureFixture[str]
    secrets: tuple[str, ...]
    said: list[str] = field(default_factory=list)

    def __call__(self, line: str) -> Result:
        self.capture.readouterr()
        try:
            code = console.main(shlex.split(line))
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        out, err = self.capture.readouterr()
        self.said += [out, err]
        for secret in self.secrets:
            assert secret not in out + err, f"{line}: a secret is shown"
        # Airflow 2.11 logs one of its own where its database is not there.
        assert IS_AIRFLOW_2 or "Traceback" not in err, err
        return Result(int(code), out, err)


@pytest.fixture
def shell(
    server: AirflowServer,
    box: Sandbox,
    connections: Connections,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    brisk: None,
) -> Iterator[Shell]:
    monkeypatch.setenv("AIRFLOW_CLI_TOKEN", TOKEN)
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", server.url)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")
    monkeypatch.setattr(end_owner, "LOOK_EVERY", 0.05)
    for conn_id, row in connections.rows.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(row))
    shell = Shell(capsys, (TOKEN, box.seed))
    yield shell
    for record in caplog.records:
        for secret in shell.secrets:
            assert secret not in record.getMessage(), "a secret is in the log"


@pytest.fixture
def runs(box: Sandbox, server: AirflowServer, connections: Connections) -> Runs:
    return Runs(box, server, connections)
