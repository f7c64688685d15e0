"""``make layers`` fails on a circle of imports and on an import upwards, however it is written."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import PACKAGE, ROOT

pytest.importorskip("importlinter.contracts.acyclic_siblings", reason="import-linter in this environment is older")

CIRCLES, LAYERS = "No circles", "Each layer imports only"

AT_THE_TOP = "import {module}\n"
IN_A_FUNCTION = "def _later() -> None:\n    import {module}\n"
FOR_TYPES = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    import {module}\n"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, to put wrong imports into."""
    folder = tmp_path_factory.mktemp("layers")
    shutil.copytree(PACKAGE, folder / "airflow_runctl", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def broken(copy: Path) -> list[str]:
    """Return the contracts that are broken, by what ``lint-imports`` says."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(copy), "COLUMNS": "300", "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    said = [line.removesuffix(" BROKEN") for line in done.stdout.splitlines() if line.endswith(" BROKEN")]
    assert done.returncode == bool(said), done.stdout + done.stderr
    return said


def test_the_package_as_it_is_breaks_nothing(copy: Path) -> None:
    assert broken(copy) == []


@pytest.mark.parametrize(
    ("file", "code", "module", "contract"),
    [
        ("transport/retry.py", AT_THE_TOP, "airflow_runctl.transport.sync", CIRCLES),
        ("vendors/snaplogic/api.py", FOR_TYPES, "airflow_runctl.vendors.snaplogic.vendor", CIRCLES),
        ("control/stop.py", IN_A_FUNCTION, "airflow_runctl.control.attempt", CIRCLES),
        ("hooks/trial.py", FOR_TYPES, "airflow_runctl.hooks.base", CIRCLES),
        ("operators/start_arguments.py", FOR_TYPES, "airflow_runctl.operators.base", CIRCLES),
        ("links.py", FOR_TYPES, "airflow_runctl.operators.base", CIRCLES),
        ("vendors/base.py", AT_THE_TOP, "airflow_runctl.hooks.base", LAYERS),
        ("transport/steps.py", IN_A_FUNCTION, "airflow_runctl.control.watch", LAYERS),
        ("control/watch.py", FOR_TYPES, "airflow_runctl.triggers.run", LAYERS),
        ("runs.py", FOR_TYPES, "airflow_runctl.vendors.base", LAYERS),
    ],
)
def test_a_wrong_import_fails(copy: Path, file: str, code: str, module: str, contract: str) -> None:
    changed = copy / "airflow_runctl" / file
    before = changed.read_text()
    changed.write_text(f"{before}\n{code.format(module=module)}")
    try:
        assert any(name.startswith(contract) for name in broken(copy))
    finally:
        changed.write_text(before)
