"""What the package says of itself to Airflow and to Airflow's registry is what is there, no less and no more."""

import ast
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_runctl import compat
from airflow_runctl.hooks.base import RunHook
from airflow_runctl.provider_info import get_provider_info
from tests.places import PACKAGE, ROOT

INFO: dict[str, Any] = get_provider_info()
REGISTRY: dict[str, Any] = yaml.safe_load((ROOT / ".airflow-registry.yaml").read_text())

BASES: dict[str, type] = {
    "operators": compat.BaseOperator,
    "hooks": RunHook,
    "sensors": compat.BaseSensorOperator,
    "triggers": compat.BaseTrigger,
}

UNLISTED = {"airflow_runctl.operators.errand.DoErrandOperator"}
"""What only the maintenance Dag of this package uses."""


def modules_of(section: str) -> list[str]:
    return [name for row in INFO[section] for name in row["python-modules"]]


def classes(section: str) -> set[str]:
    """Return the classes of a folder that somebody can use as they are: those that no other is derived from."""
    found: set[type] = set()
    for path in (PACKAGE / section).glob("[!_]*.py"):
        module = import_module(f"airflow_runctl.{section}.{path.stem}")
        found |= {one for _, one in inspect.getmembers(module, inspect.isclass) if one.__module__ == module.__name__}
    found = {one for one in found if issubclass(one, BASES[section]) and not one.__name__.startswith("_")}
    # A trigger can be derived from another and both be in use. Other tests of this process derive classes of their own.
    derived_from = {base for one in found for base in one.__mro__[1:]}
    leaves = found if section == "triggers" else found - derived_from
    return {f"{one.__module__}.{one.__name__}" for one in leaves} - UNLISTED


def paths(value: object) -> Iterator[str]:
    """Yield every dotted path into the package that the metadata holds."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from paths(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from paths(inner)
    elif isinstance(value, str) and value.startswith("airflow_runctl."):
        yield value


@pytest.mark.parametrize("section", BASES)
def test_airflow_and_its_registry_are_told_of_every_class_of_use(section: str) -> None:
    there = classes(section)
    assert there
    assert sorted(modules_of(section)) == sorted({name.rpartition(".")[0] for name in there})
    assert sorted(row["module"] for row in REGISTRY[section]) == sorted(there)


@pytest.mark.parametrize("path", sorted({*paths(INFO), *paths(REGISTRY)}))
def test_what_the_metadata_names_is_there(path: str) -> None:
    module, _, name = path.rpartition(".")
    # A module, or something in one.
    assert find_spec(path) if hasattr(import_module(module), "__path__") else hasattr(import_module(module), name)


def test_the_registry_and_airflow_are_told_the_same() -> None:
    assert REGISTRY["package-name"] == INFO["package-name"]
    assert REGISTRY["display-name"] == INFO["name"]
    assert REGISTRY["description"] == INFO["description"]
    assert [row["module"] for row in REGISTRY["notifications"]] == INFO["notifications"]
    assert all(row["description"] for section in (*BASES, "notifications") for row in REGISTRY[section])


def test_every_section_speaks_of_an_integration_whose_guides_are_there() -> None:
    known = {row["integration-name"]: row for row in INFO["integrations"]}
    assert {row["integration-name"] for section in BASES for row in INFO[section]} == set(known)
    for row in known.values():
        assert row["external-doc-url"].startswith("https://")
        assert row["how-to-guide"]
        for page in row["how-to-guide"]:
            assert page.startswith("/docs/")
            assert (ROOT / page.lstrip("/")).is_file(), page


def test_the_plugin_is_announced_alike_both_ways() -> None:
    (said,) = INFO["plugins"]
    (point,) = [point for point in entry_points(group="airflow.plugins") if point.name == said["name"]]
    assert point.value.replace(":", ".") == said["plugin-class"]


def options_read(path: Path) -> Iterator[str]:
    """Yield the options of ``[runctl]`` that a file asks Airflow's configuration for."""
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr.startswith("get")
            and len(node.args) >= 2
            and isinstance(node.args[0], ast.Constant)
            and node.args[0].value == "runctl"
        ):
            assert isinstance(node.args[1], ast.Constant)
            yield node.args[1].value


def test_the_configuration_has_each_option_that_the_code_reads() -> None:
    read = {name for path in PACKAGE.rglob("*.py") for name in options_read(path)}
    assert {"ride_out", "requests_at_once"} <= read
    assert read == set(INFO["config"]["runctl"]["options"])


def test_a_default_in_the_metadata_is_the_default_of_the_code() -> None:
    from airflow_runctl.control.watch import RIDE_OUT
    from airflow_runctl.transport.turns import AT_ONCE

    options = INFO["config"]["runctl"]["options"]
    assert float(options["ride_out"]["default"]) == RIDE_OUT
    assert int(options["requests_at_once"]["default"]) == AT_ONCE
    assert options["act_in_api_server"]["default"] == "False"


ASK = """
import sys
from airflow.cli.cli_parser import get_parser
for words in sys.argv[1:]:
    args = get_parser().parse_args(words.split())
    args.func(args)
    print("----", flush=True)
"""


def test_airflow_shows_the_metadata_and_the_settings() -> None:
    """Some versions hide the values of a list of settings."""
    options = INFO["config"]["runctl"]["options"]
    commands = ["providers get airflow-runctl --full -o json", "config list --section runctl --include-descriptions"]
    commands += [f"config get-value runctl {name}" for name in options]
    # No warning in red, and no line broken at the width of a screen.
    environment = {**os.environ, "COLUMNS": "1000", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", ASK, *commands],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    provider, settings, *values = done.stdout.split("----\n")
    (told,) = json.loads(provider[provider.index("[{") :])
    assert set(told) >= set(INFO)
    for (name, option), value in zip(options.items(), values[:-1], strict=True):
        assert f"{name} = " in settings
        assert option["description"] in settings
        assert value.strip() == option["default"]
