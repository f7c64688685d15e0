"""Neither the package nor an example of it issues a warning when Airflow loads it, whichever Airflow this is."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_runctl.compat import IS_AIRFLOW_2
from tests.places import PACKAGE, ROOT

OF_THE_API_SERVER = re.compile(
    r"airflow_runctl\.(plugin\.(?!door|in_airflow)|compat\.(api_server|archive|page_tables|tables)$)"
)
"""What only the API server of Airflow 3 ever loads."""

MODULES = [
    name
    for path in sorted(PACKAGE.rglob("*.py"))
    for name in [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")]
    if path.stem != "__main__" and not (IS_AIRFLOW_2 and OF_THE_API_SERVER.match(name))
]
EXAMPLES = [str(path) for path in sorted((ROOT / "example_dags").glob("*.py"))]

LOAD = """
import importlib, json, runpy, sys, traceback, warnings

def load(name):
    if name.endswith(".py"):
        runpy.run_path(name)
    else:
        importlib.import_module(name)

seen, found = [], []
warnings._showwarnmsg = seen.append  # Airflow puts its own into the public place when it is loaded
for name in json.loads(sys.argv[1]):
    warnings.simplefilter("always")
    try:
        load(name)
    except Exception:
        found.append([name, "", traceback.format_exc()])
    found += [[name, issued.filename, f"{issued.category.__name__}: {issued.message}"] for issued in seen]
    seen.clear()
print(json.dumps(found))
"""


def wrongs(names: list[str], ours: list[Path]) -> list[str]:
    """Load modules and Dag files in a fresh interpreter; return errors, and the warnings that point at our files."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD, json.dumps(names)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[list[Any]] = json.loads(done.stdout.splitlines()[-1])
    return [
        f"{name}: {issued_at}: {said}"
        for name, issued_at, said in found
        if not issued_at or any(Path(issued_at).is_relative_to(folder) for folder in ours)
    ]


OURS = [PACKAGE, ROOT / "example_dags"]


def test_the_modules_of_the_package_and_the_examples_load_without_a_warning() -> None:
    assert len(MODULES) > 50
    assert len(EXAMPLES) > 10
    assert wrongs([*MODULES, *EXAMPLES], OURS) == []


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import airflow.models, warnings\nwarnings.warn('old', DeprecationWarning)", "DeprecationWarning: old"),
        ("import gone", "No module named 'gone'"),
    ],
)
def test_a_warning_and_an_error_would_be_named_with_their_file(tmp_path: Path, source: str, said: str) -> None:
    bad, good = tmp_path / "bad.py", tmp_path / "good.py"
    bad.write_text(source)
    good.write_text("x = 1")
    (wrong,) = wrongs([str(bad), str(good)], [tmp_path])
    assert wrong.startswith(f"{bad}: ")
    assert said in wrong
