"""``constraints/lowest.txt`` has the lowest version that ``pyproject.toml`` admits of each thing that is needed."""

import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.places import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WITH_AIRFLOW = {"apache-airflow", "apache-airflow-providers-common-compat"}
"""The environment of Airflow 2.11 has the lowest Airflow, and the provider's only version that will do, as it is."""


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
    assert {"aiohttp", "requests", "tenacity", "cryptography", "apache-airflow-client"} <= bounds.keys()
    lowest = pins("lowest.txt")
    for name, bound in bounds.items():
        if name not in WITH_AIRFLOW:
            assert lowest[name] == bound, name


def test_the_environment_of_2_11_has_the_lowest_airflow_and_provider() -> None:
    found = pins("airflow-2.11.txt")
    assert found["apache-airflow"].release[:2] == (2, 11)
    assert found["apache-airflow-providers-common-compat"].release[:2] == (1, 23)
