"""However a connection is defined, the same requests arrive: command line, URI, JSON, environment variable."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest

from airflow_runctl.sandbox.client import Sandbox

DAG = """
from airflow.sdk import dag, task


@dag(schedule=None)
def use_connections():
    @task
    def use(params=None):
        import requests
        from airflow_runctl.exceptions import StartRefused
        from airflow_runctl.hooks.base import hook_class
        from airflow_runctl.vendors.snaplogic.trigger import TriggeredTask

        for way, conn_ids in params["ways"].items():
            requests.get(f"{params['sandbox']}/bctrl/{way}", timeout=30)
            for conn_id in conn_ids:
                hook = hook_class(conn_id.partition("_")[0])(conn_id)
                reached, message = hook.test_connection()
                assert reached, message
                if hook.conn_type == "snaplogic":
                    plan = hook.access.vendor.trigger(TriggeredTask("/Acme/projects/sales/no-such-task"))
                    try:
                        hook.run(plan.start(hook.run(plan.prepare())))
                    except StartRefused as error:
                        assert error.status == 404, error

    use()


use_connections()
"""
"""Sends what hooks send, the Triggered Task's own token included, from a task: that is where connections are read.

A request to no endpoint stands before those of each way.
"""

CONN_IDS = ["snaplogic_default", "snaplogic_jwt", "axiom_default", "vectorshift_default", "bctrl_browsers"]
COMMON = {"timeout": 20, "verify": False, "seal_key": "seal me, again"}
FURTHER = {
    "snaplogic": {**COMMON, "task_hosts": "https://snaplex.example.com:8081"},
    "bctrl": {**COMMON, "subaccount_id": "sub/1"},
}


def rows(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    """Return the sandbox's connections with more fields than they need."""
    found = {}
    for conn_id in CONN_IDS:
        row = json.loads(sandbox.connections[f"AIRFLOW_CONN_{conn_id.upper()}"])
        extra = {**row.get("extra", {}), **FURTHER.get(row["conn_type"], COMMON)}
        found[conn_id] = {**row, "extra": extra}
    return found


def as_uri(row: Mapping[str, Any]) -> str:
    """Write a connection as somebody does who reads Airflow's documentation: host and port apart, path behind."""
    address = urlsplit(row["host"])
    login = f"{quote(row.get('login', ''), safe='')}:{quote(row['password'], safe='')}"
    path = quote(address.path.strip("/"), safe="")
    return f"{row['conn_type']}://{address.scheme}://{login}@{address.netloc}/{path}?{urlencode(row['extra'])}"


def as_flags(row: Mapping[str, Any]) -> list[str]:
    fields = {**row, "extra": json.dumps(row["extra"])}
    fields["conn-type"] = fields.pop("conn_type")
    return [f"--{name if name == 'conn-type' else f'conn-{name}'}={value}" for name, value in fields.items()]


ADDED = {
    "added-by-json": lambda row: [f"--conn-json={json.dumps(row)}"],
    "added-by-uri": lambda row: [f"--conn-uri={as_uri(row)}"],
    "added-by-flags": as_flags,
}
IN_ENVIRONMENT = {"environment-json": json.dumps, "environment-uri": as_uri}
WAYS = [*ADDED, *IN_ENVIRONMENT]


class Home:
    """An Airflow home with a database of its own, for commands."""

    def __init__(self, folder: Path) -> None:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("AIRFLOW") and not name.lower().endswith("_proxy")
        }
        (folder / "dags").mkdir()
        (folder / "dags" / "use_connections.py").write_text(DAG)
        self.environment = {
            **inherited,
            "AIRFLOW_HOME": str(folder),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/airflow.db",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        }

    def airflow(self, *arguments: str, environment: Mapping[str, str] | None = None, ends: int = 0) -> str:
        """Run one of Airflow's commands; return what it says."""
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env={**self.environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == ends, f"{arguments}\n{done.stdout[-6000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("home"))
    home.airflow("db", "migrate")
    return home


@pytest.fixture(scope="module")
def seen(home: Home, sandbox: Sandbox) -> dict[str, list[dict[str, Any]]]:
    """What arrived at the sandbox, by how the connections were defined."""
    defined = rows(sandbox)
    ids = {way: {conn_id: f"{conn_id}-{way}" for conn_id in defined} for way in WAYS}
    commands = [
        ("connections", "add", ids[way][conn_id], *write(row))
        for way, write in ADDED.items()
        for conn_id, row in defined.items()
    ]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda command: home.airflow(*command), commands))
    environment = {
        f"AIRFLOW_CONN_{ids[way][conn_id].upper()}": write(row)
        for way, write in IN_ENVIRONMENT.items()
        for conn_id, row in defined.items()
    }
    conf = {"sandbox": sandbox.url, "ways": {way: list(ids[way].values()) for way in WAYS}}
    sandbox.clear_requests()
    told = home.airflow("dags", "test", "use_connections", "--conf", json.dumps(conf), environment=environment)
    assert "state=success" in told, told[-6000:]

    arrived: dict[str, list[dict[str, Any]]] = {}
    for request in sandbox.requests():
        if request["operation"] == "unknown":
            way = request["path"].rpartition("/")[2]
            arrived[way] = []
        else:
            arrived[way].append({key: value for key, value in request.items() if key != "at"})
    return arrived


@pytest.mark.parametrize("way", [way for way in WAYS if way != "added-by-json"])
def test_the_same_requests_arrive_as_from_connections_added_by_json(
    seen: dict[str, list[dict[str, Any]]], way: str
) -> None:
    assert seen[way] == seen["added-by-json"]


def test_every_vendor_was_reached_with_its_own_credential(
    seen: dict[str, list[dict[str, Any]]], sandbox: Sandbox
) -> None:
    requests = seen["added-by-json"]
    assert {request["vendor"] for request in requests} == {"snaplogic", "axiom", "vectorshift", "bctrl"}
    start = [request for request in requests if request["operation"] == "start"]
    assert [request["headers"]["Authorization"] for request in start] == [
        f"Bearer snaplogic-task-token-{sandbox.seed}"
    ] * 2
    assert "sub/1" in [request["headers"].get("BCTRL-Subaccount-Id") for request in requests]


def test_airflows_own_command_tests_the_connection(home: Home, sandbox: Sandbox, seen: object) -> None:
    assert "Connection success!" in home.airflow("connections", "test", "snaplogic_default-added-by-uri")
    wrong = {**rows(sandbox)["snaplogic_default"], "extra": {"org": "Other"}}
    environment = {"AIRFLOW_CONN_WRONG": json.dumps(wrong)}
    told = " ".join(home.airflow("connections", "test", "wrong", environment=environment, ends=1).split())
    assert "Connection failed!" in told
    assert "no environment Other. No such run or org" in told
