"""What a stop needs is loaded before: looked at in processes that have just begun."""

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest

from airflow_runctl.control import readiness
from airflow_runctl.control.readiness import loaded, make_ready
from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator
from airflow_runctl.runs import HANDLE_KEY
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.transport import endpoint
from tests.fakes.airflow_3 import FakeAirflow
from tests.unit.connections import Connections

pytestmark = pytest.mark.usefixtures("brisk")

HEAVY = (
    "aiohttp",
    "cryptography",
    "airflow.sdk",
    "asgiref",
    "certifi",
    "airflow_runctl.vendors",
    "airflow_runctl.hooks",
)


def fresh(fake: FakeAirflow, *stories: tuple[str, dict[str, Any]]) -> list[dict[str, list[str]]]:
    """Return what fresh processes say that they loaded late."""
    said = [(where, {"connections": fake.connections, "seconds": 1.0, **told}) for where, told in stories]
    command = [sys.executable, "-m", "tests.unit.control.fresh_process", json.dumps(said)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"late"')]


def test_process_that_has_just_begun_loads_nothing_between_its_first_look_and_a_stop(
    fake: FakeAirflow, box: Sandbox
) -> None:
    with fake.dag():
        operator = SnapLogicTriggerTaskOperator(task_id="start", task_path="projects/sales/early-hang", deferrable=True)
    fake.run(operator)
    stories = (
        ("trigger", {"handle": fake.xcom("start", HANDLE_KEY)}),
        ("worker", {"kill": False}),
        ("worker", {"kill": True}),
    )
    loads = fresh(fake, *stories)
    assert [run["open"] for run in box.runs()] == [False, False, False]
    assert [each["late"] for each in loads] == [[], [], []]
    assert [each["built"] for each in loads] == [[], [], []]
    held_up = [name for name in loads[0]["in the loop"] if name.startswith(HEAVY)]
    assert held_up == [], "it would hold up all triggers"


def test_certificates_are_read_before_the_first_request(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "_contexts", {})
    access = connections.access("axiom_default", host="https://127.0.0.1:1")
    assert access.endpoint.tls_if_ready() is None
    asyncio.run(make_ready(access))
    assert access.endpoint.tls_if_ready() is not None


def test_what_cannot_be_loaded_ends_no_trigger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever needs it says so: a bad poll is ridden out, and a stop is tried."""

    def load() -> None:
        raise ImportError("broken")

    monkeypatch.setattr(readiness, "load", load)
    asyncio.run(loaded())
