"""What Dag files and Airflow's own processes import must not cost an HTTP library: looked at in fresh interpreters."""

import json
import subprocess
import sys

import pytest

from tests.places import PACKAGE, ROOT

HEAVY = {"requests", "aiohttp", "httpx", "urllib3", "cryptography", "yarl", "certifi"}

LOOK = """
import json, sys
from airflow.providers.common.compat.sdk import BaseOperator, DAG
before = set(sys.modules)
import importlib
importlib.import_module({module!r})
print(json.dumps(sorted(set(sys.modules) - before)))
"""

LOOK_AT_NOTHING = """
import sys
before = set(sys.modules)
import airflow_runctl.provider_info
airflow_runctl.provider_info.get_provider_info()
new = sorted(set(sys.modules) - before)
import json
print(json.dumps(new))
"""


def modules(*folders: str) -> list[str]:
    """Return the dotted names of the modules in these folders of the package."""
    paths = [path for folder in folders for path in sorted((PACKAGE / folder).rglob("*.py"))]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths if path.stem != "__init__"]


def added(code: str) -> list[str]:
    """Return what ``code`` prints, run in a fresh interpreter that has seen nothing."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("module", [*modules("operators", "sensors"), "airflow_runctl.notifications"])
def test_what_a_dag_file_imports_adds_no_http_library(module: str) -> None:
    new = added(LOOK.format(module=module))
    assert module in new
    assert {name for name in new if name.partition(".")[0] in HEAVY} == set()


def test_provider_info_imports_nothing() -> None:
    assert added(LOOK_AT_NOTHING) == ["airflow_runctl", "airflow_runctl.provider_info"]


@pytest.mark.parametrize("module", ["airflow_runctl.runs", *modules("vendors")])
def test_vendors_and_words_import_neither_airflow_nor_an_http_library(module: str) -> None:
    code = f"import json, sys; before = set(sys.modules); import importlib; importlib.import_module({module!r}); "
    new = added(code + "print(json.dumps(sorted(set(sys.modules) - before)))")
    assert {name for name in new if name.partition(".")[0] in HEAVY | {"airflow", "tenacity"}} == set()


def test_sandbox_imports_nothing_of_what_it_stands_in_for() -> None:
    code = "import json, sys; before = set(sys.modules); import airflow_runctl.sandbox.server; "
    new = added(code + "print(json.dumps(sorted(set(sys.modules) - before)))")
    ours = {name.split(".")[1] for name in new if name.startswith("airflow_runctl.")}
    assert ours == {"sandbox"}
    assert "airflow" not in {name.partition(".")[0] for name in new}
