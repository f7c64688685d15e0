"""The tests of a Dag that docs/how-to/testing.md shows, run as a reader would: with pytest, in a home of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import DOCS, ROOT
from tests.system.versions import AIRFLOW, each_version

FOLDER = DOCS / "dag_test"


def run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, cwd=FOLDER, env=environment, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-20_000:]}\n{done.stderr[-5_000:]}"
    return done.stdout


@each_version
@pytest.mark.skipif(AIRFLOW == (3, 2), reason="its dag.test() may begin a task before its own API is up")
def test_the_tests_of_the_page_pass(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if "AIRFLOW" not in name and "PYTEST" not in name}
    environment = {
        **kept,
        "AIRFLOW_HOME": str(tmp_path / "home"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(FOLDER / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": str(ROOT),
    }
    run([sys.executable, "-m", "airflow", "db", "migrate"], environment)
    plain = ["-p", "no:cacheprovider", "-p", "no:schemathesis", f"--basetemp={tmp_path / 'inner'}"]
    assert "4 passed" in run([sys.executable, "-m", "pytest", "-q", *plain], environment)
