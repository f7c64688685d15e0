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


BAD = {
    "old.py": ("import airflow.models, warnings\nwarnings.warn('old', DeprecationWarning)", "DeprecationWarning: old"),
    "gone.py": ("import gone", "No module named 'gone'"),
}
"""Files of others, and what must be said of each."""


@pytest.fixture(scope="module")
def wrongs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Load the package, its examples and bad files in a fresh interpreter; return errors, and warnings about them."""
    folder = tmp_path_factory.mktemp("others")
    for name, (source, _) in {**BAD, "good.py": ("x = 1", "")}.items():
        (folder / name).write_text(source)
    names = [*MODULES, *EXAMPLES, *map(str, sorted(folder.iterdir()))]
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
    ours = PACKAGE, ROOT / "example_dags", folder
    return [
        f"{Path(name).name}: {issued_at}: {said}"
        for name, issued_at, said in found
        if not issued_at or any(Path(issued_at).is_relative_to(each) for each in ours)
    ]


def test_the_modules_of_the_package_and_the_examples_load_without_a_warning(wrongs: list[str]) -> None:
    assert len(MODULES) > 50
    assert len(EXAMPLES) > 10
    assert [line for line in wrongs if not line.startswith(tuple(BAD))] == []


def test_a_warning_and_an_error_would_be_named_with_their_file(wrongs: list[str]) -> None:
    """Airflow is loaded by then, and has its own way with warnings."""
    of_others = {line.partition(":")[0]: line for line in wrongs if line.startswith(tuple(BAD))}
    assert set(of_others) == set(BAD)
    for name, (_, said) in BAD.items():
        assert said in of_others[name]
