"""``constraints/lowest.txt`` has the lowest version that ``pyproject.toml`` admits of each thing that is needed."""

import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.places import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(name: str) -> dict[str, Version]:
    lines = [line for line in (ROOT / "constraints" / name).read_text().splitlines() if "==" in line]
    rows = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(row[0]): Version(row[1]) for row in rows}


def test_the_lowest_version_of_everything_is_what_the_project_says() -> None:
    needed = [Requirement(line) for line in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["cli"])]
    bounds = {
        canonicalize_name(one.name): Version(spec.version)
        for one in needed
        for spec in one.specifier
        if spec.operator == ">="
    }
    assert {"apache-airflow", "aiohttp", "requests", "cryptography", "apache-airflow-client"} <= bounds.keys()
    lowest = pins("lowest.txt")
    assert {name: lowest[name] for name in bounds} == bounds, "constraints/generate.sh lowest"
