"""The wheel holds what it should, and works in an environment that was made from it and the constraints alone."""

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from email.parser import Parser
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from airflow_runctl import __version__
from airflow_runctl.compat import AIRFLOW
from airflow_runctl.sandbox.client import Sandbox
from tests.places import PACKAGE, ROOT

(NEWEST,) = re.findall(r"^NEWEST := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
CONSTRAINTS = ROOT / "constraints" / f"airflow-{NEWEST}.txt"

USE_IT = """
import json, sys
import airflow_runctl
from airflow_runctl.control.stop import StopNote, stop
from airflow_runctl.hooks.axiom import AxiomHook
from airflow_runctl.hooks.snaplogic import SnapLogicHook
from airflow_runctl.runs import ExternalRun, StopReason
from airflow_runctl.vendors.snaplogic.trigger import TriggeredTask
from datetime import datetime, timezone

hook = SnapLogicHook()
vendor = hook.access.vendor
plan = vendor.trigger(TriggeredTask("projects/sales/hang", pipeline_name="hang"))
started = hook.run(plan.start(hook.run(plan.prepare())))
run = ExternalRun("snaplogic", hook.conn_id, started.run_id, None, datetime.now(timezone.utc), started.ids)
result = hook.run(stop(vendor, run, StopNote(StopReason.BY_HAND, "test")))
said = AxiomHook().test_connection()
print(json.dumps([airflow_runctl.__file__, started.run_id, result.outcome, said]))
"""


def build(folder: Path, *more: str) -> Path:
    """Build the wheel and return it; with what is installed here, unless told otherwise."""
    command = [sys.executable, "-m", "build", "--wheel", *(more or ["--no-isolation"])]
    done = run([*command, "--outdir", str(folder), str(ROOT)], folder)
    (wheel,) = folder.glob("*.whl")
    assert wheel.name in done
    return wheel


def run(command: list[str], folder: Path, **environment: str) -> str:
    """Run ``command`` away from the source tree, and return what it printed."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH" and "AIRFLOW" not in name}
    done = subprocess.run(
        command, cwd=folder, env={**kept, **environment}, capture_output=True, text=True, timeout=570, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def rows(printed: str) -> list[dict[str, Any]]:
    """Return the JSON in what an Airflow command printed, warnings before it aside."""
    match = re.search(r"^\[\{.*\}\]$", printed, re.MULTILINE)
    assert match, printed
    found: list[dict[str, Any]] = json.loads(match[0])
    return found


def test_wheel_holds_the_package_its_types_and_its_announcements(tmp_path: Path) -> None:
    with zipfile.ZipFile(build(tmp_path)) as wheel:
        names = set(wheel.namelist())
        info = f"airflow_runctl-{__version__}.dist-info"
        metadata = Parser().parsestr(wheel.read(f"{info}/METADATA").decode())
        announced = wheel.read(f"{info}/entry_points.txt").decode()
    assert {"airflow_runctl/py.typed", "airflow_runctl/sandbox/__main__.py", f"{info}/licenses/LICENSE"} <= names
    assert {name.partition("/")[0] for name in names} == {"airflow_runctl", info}
    sources = {str(path.relative_to(ROOT)) for ending in ("py", "js") for path in PACKAGE.rglob(f"*.{ending}")}
    assert sources <= names
    assert (metadata["Name"], metadata["Version"]) == ("airflow-runctl", __version__)
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "Framework :: Apache Airflow :: Provider" in metadata.get_all("Classifier", [])
    needed = {re.split(r"[^\w.-]", line)[0] for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line}
    assert {"apache-airflow", "requests", "aiohttp", "tenacity", "cryptography"} <= needed
    assert "provider_info = airflow_runctl.provider_info:get_provider_info" in announced
    assert "snaplogic = airflow_runctl.hooks.snaplogic:SnapLogicHook" in announced
    assert "runctl = airflow_runctl.cli.console:main" in announced
    assert "runctl = airflow_runctl.plugin.in_airflow:RunctlPlugin" in announced


def closure(wheel: Path) -> set[str]:
    """Return the names of the installed distributions that the wheel needs, and what these need."""
    with zipfile.ZipFile(wheel) as opened:
        metadata = Parser().parsestr(opened.read(f"airflow_runctl-{__version__}.dist-info/METADATA").decode())
    found: set[str] = set()
    waiting = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    extras: dict[str, set[str]] = {}
    while waiting:
        needed = waiting.pop()
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        name = canonicalize_name(needed.name)
        new = {"", *needed.extras} - extras.setdefault(name, set())
        extras[name] |= new
        found.add(name)
        for line in (distribution(name).requires or []) if new else []:
            inner = Requirement(line)
            if any(inner.marker is None or inner.marker.evaluate({"extra": extra}) for extra in new):
                inner.marker = None
                waiting.append(inner)
    return found


def link(name: str, site: Path) -> None:
    """Link every file of an installed distribution into ``site``, where nothing else of this environment is."""
    for file in distribution(name).files or ():
        if file.parts[0] != "..":
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                target.symlink_to(file.locate())


def linked_environment(wheel: Path, folder: Path) -> Path:
    """Make an environment of the wheel and of what it declares to need, by links into the running one."""
    run([sys.executable, "-m", "venv", "--without-pip", str(folder)], folder.parent)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in closure(wheel):
        link(name, site)
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(site)
    return folder / "bin/python"


def installed_environment(wheel: Path, folder: Path) -> Path:
    """Make an environment as a user does, with pip."""
    run([sys.executable, "-m", "venv", str(folder)], folder.parent)
    python = folder / "bin/python"
    quiet = ["-qq", "--disable-pip-version-check"]
    run([str(python), "-m", "pip", "install", *quiet, "-c", str(CONSTRAINTS), str(wheel)], folder.parent)
    return python


@pytest.mark.skipif(
    "{}.{}".format(*AIRFLOW) != NEWEST, reason="a whole environment is made for the newest Airflow only"
)
@pytest.mark.slow  # make dist runs the first
@pytest.mark.timeout(900)
@pytest.mark.parametrize("make", [linked_environment, installed_environment])
def test_wheel_works_in_a_new_environment(make: Callable[[Path, Path], Path], tmp_path: Path, box: Sandbox) -> None:
    """Made of the wheel and what it declares: what is not declared, and Airflow does not need either, is missing."""
    # With pip, of what [build-system] declares too.
    wheel = build(tmp_path, *(["--installer", "pip"] if make is installed_environment else []))
    python = str(make(wheel, tmp_path / "venv"))
    run([sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, "check"], tmp_path)
    environment = {"AIRFLOW_HOME": str(tmp_path / "home"), **box.connections}
    airflow = [python, "-m", "airflow", "providers"]

    providers = {
        row["package_name"]: row for row in rows(run([*airflow, "list", "-o", "json"], tmp_path, **environment))
    }
    assert providers["airflow-runctl"]["version"] == __version__
    hooks = rows(run([*airflow, "hooks", "-o", "json"], tmp_path, **environment))
    ours = {row["connection_type"]: row["class"] for row in hooks if row["package_name"] == "airflow-runctl"}
    assert ours["snaplogic"] == "airflow_runctl.hooks.snaplogic.SnapLogicHook"
    assert ours["axiom"] == "airflow_runctl.hooks.axiom.AxiomHook"

    place, run_id, outcome, said = json.loads(
        run([python, "-I", "-c", USE_IT], tmp_path, **environment).splitlines()[-1]
    )
    assert Path(place).is_relative_to(tmp_path / "venv")
    assert outcome == "stopped"
    assert said[0], said
    assert [(made["run_id"], made["open"]) for made in box.runs()] == [(run_id, False)]
