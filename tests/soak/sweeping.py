"""The end of a soak: ``runctl sweep`` has to find nothing, or exactly what the oracle has named as a gap."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import requests

from tests.places import ROOT
from tests.soak.deployment import Deployment
from tests.soak.oracle import Finding
from tests.soak.people import owner_of

OPTIONS: Final = ("--yes", "--min-age", "0s", "--look-again", "5s", "--max-orphans", "100", "-o", "json")


@dataclass(frozen=True, slots=True)
class Swept:
    """What the sweep said and did.

    :param code: its exit code.
    :param rows: what it found.
    :param alive: names of the runs that are alive after it.
    """

    code: int
    rows: Sequence[dict[str, Any]]
    alive: Sequence[str]
    err: str

    @property
    def orphans(self) -> list[str]:
        """The owners of the runs that it took for orphans."""
        return sorted(_owner(row["task"]) for row in self.rows if row["finding"] == "orphan")


def sweep(deployment: Deployment, folder: Path) -> Swept:
    """Run it with the rights of an operator, and the connections of a worker."""
    airflow = deployment.airflow
    token = requests.get(f"{airflow.url}/auth/token", timeout=60).json()["access_token"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    done = subprocess.run(
        [sys.executable, "-m", "airflow_runctl.cli.console", "sweep", *OPTIONS],
        env={
            **inherited,
            **deployment.sandbox.connections,
            "PYTHONPATH": str(ROOT),
            "NO_PROXY": "127.0.0.1",
            "AIRFLOW_HOME": str(folder),
            "AIRFLOW__API__BASE_URL": airflow.url,
            "AIRFLOW_CLI_TOKEN": token,
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    rows = json.loads(done.stdout) if done.stdout.strip() else []
    alive = sorted(run["name"] for run in deployment.sandbox.open_runs())
    return Swept(done.returncode, rows, alive, done.stderr)


def complaints(swept: Swept, left: Sequence[Finding]) -> Iterator[str]:
    """Yield what the sweep should have done otherwise.

    :param left: the runs that the oracle has seen to be alive.
    """
    known = sorted({finding.owner for finding in left})
    if (missed := set(known) - set(swept.orphans)) and swept.alive:
        yield f"the sweep did not find {', '.join(sorted(missed))}"
    if wrong := set(swept.orphans) - set(known):
        yield f"the sweep took for orphans what was not left alive: {', '.join(sorted(wrong))}"
    if swept.alive:
        yield f"alive after the sweep: {', '.join(swept.alive)}"
    if not swept.rows and swept.code != 0:
        yield f"the sweep ended with {swept.code}: {swept.err[-500:]}"


def _owner(task: str) -> str:
    _, run_id, name = task.split("/", 2)
    task_id, _, index = name.removesuffix("]").partition("[")
    return owner_of(run_id, task_id, int(index) if index else -1)
