"""``make dist`` lets nothing through that a release must not have, or lacks."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from airflow_runctl import __version__
from tests.places import ROOT

INFO = f"airflow_runctl-{__version__}.dist-info"
METADATA = f"""Metadata-Version: 2.4
Name: airflow-runctl
Version: {__version__}
License-Expression: Apache-2.0
Description-Content-Type: text/markdown

# airflow-runctl
""".encode()
WHEEL = {
    "airflow_runctl/__init__.py": f'"""A package."""\n\n__version__ = "{__version__}"\n'.encode(),
    "airflow_runctl/py.typed": b"",
    "airflow_runctl/testing.py": b"",
    f"{INFO}/METADATA": METADATA,
    f"{INFO}/entry_points.txt": b"",
    f"{INFO}/licenses/LICENSE": b"",
}


@pytest.fixture(scope="module")
def dist() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dist", ROOT / ".ci/dist.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_wheel_as_it_should_be_has_nothing_wrong(dist: ModuleType) -> None:
    assert list(dist.wrongs_of_wheel(WHEEL)) == []


@pytest.mark.parametrize("name", sorted(set(WHEEL) - {"airflow_runctl/testing.py"}))
def test_what_a_wheel_lacks_is_named(dist: ModuleType, name: str) -> None:
    assert list(dist.wrongs_of_wheel({one: text for one, text in WHEEL.items() if one != name}))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("airflow_runctl/tests/test_stop.py", b""),
        ("airflow_runctl/conftest.py", b""),
        ("tests/unit/conftest.py", b""),
        ("demo/__main__.py", b""),
        ("airflow_runctl/__pycache__/runs.cpython-311.pyc", b""),
        ("airflow_runctl/.env", b""),
        ("airflow_runctl/server.pem", b""),
        ("airflow_runctl/hooks/key.py", b"KEY = '''-----BEGIN " + b"RSA PRIVATE KEY-----\nMII'''"),
        ("airflow_runctl/hooks/token.py", b"TOKEN = 'pypi-" + b"AgEIcHlwaS5vcmcCJDAwMDAwMDAw'"),
    ],
)
def test_what_a_wheel_should_not_have_is_named(dist: ModuleType, name: str, text: bytes) -> None:
    found = list(dist.wrongs_of_wheel({**WHEEL, name: text}))
    assert found
    assert all(name in wrong for wrong in found)


@pytest.mark.parametrize("version", ["9.9.9", ""])
def test_a_version_that_is_not_the_packages_is_named(dist: ModuleType, version: str) -> None:
    other = METADATA.replace(__version__.encode(), version.encode())
    assert any("version" in wrong for wrong in dist.wrongs_of_wheel({**WHEEL, f"{INFO}/METADATA": other}))


def test_a_second_build_that_differs_is_named(dist: ModuleType, tmp_path: Path) -> None:
    made = []
    for folder, text in (("first", "a"), ("second", "b")):
        (tmp_path / folder).mkdir()
        made.append(tmp_path / folder / "airflow_runctl-1-py3-none-any.whl")
        made[-1].write_text(text)
    assert list(dist.differences([made[0]], [made[0]])) == []
    assert len(list(dist.differences([made[0]], [made[1]]))) == 1
    assert len(list(dist.differences(made[:1], []))) == 1
