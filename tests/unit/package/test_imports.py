"""What Dag files and Airflow's own processes import must not cost an HTTP library: looked at in fresh processes."""

import json
import subprocess
import sys

from tests.places import PACKAGE, ROOT

HEAVY = {"requests", "aiohttp", "httpx", "urllib3", "cryptography", "yarl", "certifi", "opentelemetry", "openlineage"}

LOOK = """
import importlib, json, os, sys
{before}
seen = set(sys.modules)
for module in json.loads({modules!r}):
    if os.fork() == 0:
        importlib.import_module(module)
        os.write(1, (json.dumps([module, sorted(set(sys.modules) - seen)]) + "\\n").encode())
        os._exit(0)
    if os.wait()[1] != 0:
        sys.exit(f"{{module}} cannot be imported")
"""
"""Imports each module in a process of its own, which has seen what ``before`` imports and nothing else."""

A_DAG_FILE_HAS_SEEN = "from airflow.providers.common.compat.sdk import BaseOperator, DAG"

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
    """Return the dotted names of the modules and packages in these folders of the package, however deep."""
    paths = [path for folder in folders for path in sorted((PACKAGE / folder).rglob("*.py"))]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]


def said_by(code: str) -> str:
    """Return what ``code`` prints, run in a fresh interpreter that has seen nothing."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def added(modules: list[str], before: str = "") -> dict[str, set[str]]:
    """Return, for each module, the modules that its import adds to those that ``before`` has imported."""
    said = said_by(LOOK.format(before=before, modules=json.dumps(modules)))
    found = {module: set(new) for module, new in map(json.loads, said.splitlines()[-len(modules) :])}
    assert set(found) == set(modules)
    assert all(module in new for module, new in found.items())
    return found


def among(what: set[str], found: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return the modules that add something of ``what``, and what that is."""
    heavy = {module: {name for name in new if name.partition(".")[0] in what} for module, new in found.items()}
    return {module: names for module, names in heavy.items() if names}


def test_what_a_dag_file_imports_adds_no_http_library() -> None:
    files = [*modules("operators", "sensors"), "airflow_runctl.notifications"]
    assert among(HEAVY, added(files, A_DAG_FILE_HAS_SEEN)) == {}


def test_provider_info_imports_nothing() -> None:
    assert json.loads(said_by(LOOK_AT_NOTHING)) == ["airflow_runctl", "airflow_runctl.provider_info"]


def test_fixtures_for_other_peoples_tests_import_neither_airflow_nor_an_http_library() -> None:
    assert among(HEAVY | {"airflow"}, added(["airflow_runctl.testing"])) == {}


def test_vendors_and_words_import_neither_airflow_nor_an_http_library() -> None:
    words = ["airflow_runctl.runs", *modules("vendors")]
    assert "airflow_runctl.vendors.snaplogic.trigger" in words
    assert among(HEAVY | {"airflow", "tenacity"}, added(words)) == {}


def test_sandbox_imports_nothing_of_what_it_stands_in_for() -> None:
    found = added(["airflow_runctl.sandbox.server"])
    (new,) = found.values()
    assert {name.split(".")[1] for name in new if name.startswith("airflow_runctl.")} == {"sandbox"}
    assert among({"airflow"}, found) == {}
