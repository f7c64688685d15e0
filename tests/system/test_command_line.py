"""``runctl`` on a real Airflow: what may be alive is listed, stopped through its task, swept if nobody owns it."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import MetaData, Table, create_engine, func, select

from airflow_runctl.sandbox.client import Sandbox
from demo.real_airflow import RealAirflow
from tests.places import ROOT
from tests.system.cases import Case, Cases
from tests.system.conftest import EXAMPLES, HERE, QUICK
from tests.system.versions import AIRFLOW, each_version

pytestmark = [
    pytest.mark.skipif(AIRFLOW < (3, 1), reason="the client of the REST API does not speak to Airflow 2.11"),
]

DONE, FAILED, MAY_BE_ALIVE, REFUSED, TOO_MANY = 0, 1, 3, 4, 5
QUICKLY = "--min-age 0s --look-again 2s -o json"
VENDORS = ("snaplogic", "axiom", "vectorshift", "bctrl")


@dataclass(frozen=True)
class Result:
    """What came of a command."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def rows(self) -> list[dict[str, Any]]:
        assert self.out, self.err
        return list(json.loads(self.out))


@dataclass
class Shell:
    """A maintenance shell: the sandbox's connections are in its environment.

    :param environment: its environment.
    :param secrets: what no command may show.
    """

    environment: dict[str, str]
    secrets: list[str]
    door: list[str] = field(default_factory=lambda: ["-m", "airflow_runctl.cli.console"])

    def __call__(self, line: str, door: list[str] | None = None, **changed: str) -> Result:
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, *(door or self.door), *shlex.split(line)],
            env={**self.environment, **changed},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        result = Result(done.returncode, done.stdout, done.stderr, time.monotonic() - began)
        assert "Traceback" not in result.err, result.err[-4000:]
        for secret in self.secrets:
            assert secret not in result.out + result.err, f"{line}: a secret is shown"
        return result


@pytest.fixture(scope="module")
def own_airflow(
    own_sandbox: Sandbox, importable: dict[str, str], airflow_database: str | None
) -> Iterator[RealAirflow]:
    """An Airflow that knows no run but those of this file."""
    with RealAirflow(
        dag_folders=[HERE / "dags", HERE / "dags_with_maintenance", EXAMPLES],
        environment={**own_sandbox.connections, **importable},
        config=QUICK,
        database=airflow_database,
    ) as booted:
        yield booted


@pytest.fixture
def shell(own_airflow: RealAirflow, own_sandbox: Sandbox, tmp_path: Path) -> Shell:
    token = requests.get(f"{own_airflow.url}/auth/token", timeout=60).json()["access_token"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    environment = {
        **inherited,
        **own_sandbox.connections,
        "PYTHONPATH": os.pathsep.join([str(ROOT), inherited.get("PYTHONPATH", "")]),
        "NO_PROXY": "127.0.0.1",
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__API__BASE_URL": own_airflow.url,
        "AIRFLOW_CLI_TOKEN": token,
    }
    return Shell(environment, [token, own_sandbox.seed])


def started(cases: Cases, mode: str, number: int) -> list[Case]:
    """Start runs that hang, at all vendors in turn."""
    names = [VENDORS[n % len(VENDORS)] for n in range(number)]
    return [cases.start(f"plain_{vendor}_{mode}", vendor) for vendor in names]


def watched(cases: list[Case], state: str) -> list[Case]:
    """Wait until each run is recorded and its task follows it."""
    for case in cases:
        case.wait_for_handle(timeout=180)
        case.wait_for_state(state, timeout=180)
    return cases


def place(case: Case) -> str:
    return f"{case.dag_id}/{case.run_id}/run"


def run_at(shell: Shell, case: Case) -> str:
    """Return the id of a case's run, as a person finds it."""
    [row] = shell(f"list -o json --dag-id {case.dag_id} --dag-run-id {case.run_id}").rows
    return str(row["run_id"])


def foreign_run(sandbox: Sandbox) -> str:
    """Start a run at SnapLogic that Airflow knows nothing of; return its id."""
    row = json.loads(sandbox.connections["AIRFLOW_CONN_SNAPLOGIC_DEFAULT"])
    sandbox.behave("snaplogic", "foreign", run_seconds=None, answers="early")
    header = {"Authorization": f"Bearer {row['extra']['task_token']}"}
    address = f"{row['host']}/api/1/rest/slsched/feed/Acme/projects/sales/foreign"
    assert requests.post(address, json={}, headers=header, timeout=60).ok
    [made] = [run for run in sandbox.runs(vendor="snaplogic") if run["name"] == "foreign"]
    sandbox.wait_for_state(made["run_id"], "Started")
    return str(made["run_id"])


def test_twenty_live_runs_five_orphans_and_a_foreign_run(
    own_airflow: RealAirflow, own_sandbox: Sandbox, shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = Cases(own_airflow, own_sandbox)
    deferred, on_workers = started(cases, "deferred", 14), started(cases, "worker", 6)
    living, killed = watched(deferred, "deferred"), watched(on_workers, "running")
    stranger = foreign_run(own_sandbox)

    def alive() -> int:
        return sum(case.open() for case in [*living, *killed])

    # All have an owner.
    listed = shell("list -o json")
    assert (listed.code, len(listed.rows)) == (DONE, 20), listed.err
    assert {row["standing"] for row in listed.rows} == {"owned"}
    swept = shell(f"sweep {QUICKLY} --yes")
    assert swept.code == DONE, swept.err
    assert [(row["finding"], row["run_id"]) for row in swept.rows] == [("not known to Airflow", stranger)]

    # Five lose theirs: the process of the task is killed, on its last try.
    survivor = killed.pop()
    living.append(survivor)
    for case in killed:
        os.kill(own_airflow.task_process(case.dag_id, case.run_id, "run"), signal.SIGKILL)
    for case in killed:
        case.wait_for_state("failed")
    listed = shell("list --orphans -o json")
    assert listed.code == MAY_BE_ALIVE
    orphans = {place(case) for case in killed}
    assert {f"{row['dag_id']}/{row['dag_run_id']}/{row['task_id']}" for row in listed.rows} == orphans
    [shown] = shell(f"show {run_at(shell, killed[0])} -o json").rows
    assert (shown["standing"], shown["owner_state"]) == ("orphan", "failed")
    assert shown["now"].endswith(("(running)", "(queued)")), shown

    # What keeps a sweep from stopping anything.
    assert {row["finding"] for row in shell("sweep --look-again 2s -o json --yes").rows if "task" in row} == {
        "left_alone"
    }
    refused = shell(f"sweep {QUICKLY} --yes --max-orphans 3")
    assert refused.code == TOO_MANY
    assert "NOTHING WAS STOPPED: 5 runs look like orphans, more than 3" in refused.err
    down = shell(f"sweep {QUICKLY} --yes --api-url http://127.0.0.1:9")
    assert (down.code, down.out) == (FAILED, "")
    assert "does not answer" in down.err
    assert shell(f"sweep {QUICKLY} --yes", AIRFLOW_CLI_TOKEN="no-token").code == REFUSED
    if AIRFLOW >= (3, 2):
        forge(own_airflow, killed[0], living[0], shell)
    assert alive() == 20

    # The dry run names exactly the orphans; the true one stops exactly those.
    dry = shell(f"sweep {QUICKLY}")
    assert dry.code == MAY_BE_ALIVE
    assert {row["task"] for row in dry.rows if row["finding"] == "orphan"} == orphans
    assert alive() == 20
    swept = shell(f"sweep {QUICKLY} --yes --reason 'the worker was lost'")
    assert swept.code == DONE, swept.err
    outcomes = {row["task"]: row["outcome"] for row in swept.rows if row["finding"] == "orphan"}
    assert outcomes == dict.fromkeys(orphans, "stopped")
    assert [case.open() for case in killed] == [0] * 5
    assert [case.open() for case in living] == [1] * 15
    assert stranger in {run["run_id"] for run in own_sandbox.open_runs()}
    again = shell(f"sweep {QUICKLY} --yes")
    # The API of 3.1 deletes no XCom: what was swept is looked at again, and seen to be over.
    left = {"not known to Airflow"} if AIRFLOW >= (3, 2) else {"not known to Airflow", "over"}
    assert (again.code, {row["finding"] for row in again.rows}) == (DONE, left)
    if AIRFLOW >= (3, 2):
        assert len(shell("list -o json").rows) == 15, "what was swept costs nothing any more"

    # A person stops one through its task, deferred and on a worker.
    for case in (living[0], survivor):
        stopped = shell(f"stop {shlex.quote(run_at(shell, case))} --yes --reason 'costs too much' -o json")
        assert (stopped.code, stopped.rows[0]["done"]) == (DONE, "task marked as failed"), stopped.out + stopped.err
        assert case.open() == 0
        assert case.state() == "failed"
        note = own_airflow.task_instance(case.dag_id, case.run_id, "run")["note"]
        assert note == "Run stopped by hand: costs too much"
    assert sum(case.open() for case in living) == 13

    # The other door.
    if AIRFLOW >= (3, 2):
        through = shell("list -o json", ["-m", "airflow", "runctl"])
        assert (through.code, len(through.rows)) == (DONE, 13), through.err[-2000:]
    with capsys.disabled():
        print(f"\nlist of 20 runs: {listed.seconds:.1f} s; sweep that stops 5: {swept.seconds:.1f} s")
    own_sandbox.reset()


def forge(airflow: RealAirflow, orphan: Case, owned: Case, shell: Shell) -> None:
    """Put the handle of a run that has an owner where a task is over: nothing is stopped."""
    where = (orphan.dag_id, orphan.run_id, "run", "external_run")
    own = airflow.xcom(*where)
    airflow.set_xcom(*where, airflow.xcom(owned.dag_id, owned.run_id, "run", "external_run"))
    try:
        swept = shell(f"sweep {QUICKLY} --yes --dag-id {orphan.dag_id} --dag-run-id {orphan.run_id}")
    finally:
        airflow.set_xcom(*where, own)
    [row] = [row for row in swept.rows if "task" in row]
    assert (swept.code, row["finding"]) == (MAY_BE_ALIVE, "doubt")
    assert "Nothing was stopped" in row["why"]


def test_connections_of_the_database_are_read_where_it_can_be_reached(
    own_airflow: RealAirflow, own_sandbox: Sandbox, shell: Shell
) -> None:
    row = json.loads(own_sandbox.connections["AIRFLOW_CONN_AXIOM_DEFAULT"])
    body = {"connection_id": "axiom_stored", **{name: row[name] for name in ("conn_type", "host", "password")}}
    own_airflow.request("POST", "connections", body={**body, "extra": json.dumps(row["extra"])})
    elsewhere = shell("test axiom_stored")
    assert elsewhere.code == FAILED
    assert "cannot be read here" in elsewhere.err
    settings = own_airflow._environment
    reaching = {name: settings[name] for name in ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW__CORE__FERNET_KEY")}
    here = shell("test axiom_stored", **reaching)
    assert here.code == DONE, here.out + here.err
    assert "axiom.ai" in here.out
    if AIRFLOW >= (3, 2):
        assert shell("test axiom_stored", ["-m", "airflow", "runctl"], **reaching).code == DONE


def test_one_of_several_mapped_runs_is_stopped(
    own_airflow: RealAirflow, own_sandbox: Sandbox, shell: Shell, tmp_path: Path
) -> None:
    go = {"go": str(tmp_path / "go")}
    case = Cases(own_airflow, own_sandbox).start("mapped_runs", "snaplogic", names=("-a", "-b", "-c"), conf=go)
    for index in range(3):
        case.wait_for_handle(map_index=index, timeout=180)
        own_airflow.triggerer_of(case.dag_id, case.run_id, "run", index, timeout=180)
    stopped = shell(f"stop --dag-id {case.dag_id} --dag-run-id {case.run_id} --map-index 1 --yes -o json")
    assert (stopped.code, [row["outcome"] for row in stopped.rows]) == (DONE, ["stopped"]), stopped.err
    states = [own_airflow.task_state(case.dag_id, case.run_id, "run", index) for index in range(3)]
    assert states == ["deferred", "failed", "deferred"]
    assert case.open() == 2
    own_airflow.mark_dag_run(case.dag_id, case.run_id, "failed")
    case.wait_until_stopped()


@pytest.fixture
def shell_without_connections(shell: Shell, own_sandbox: Sandbox) -> Shell:
    """A shell on a machine that can read none of Airflow's connections."""
    environment = {name: value for name, value in shell.environment.items() if name not in own_sandbox.connections}
    return replace(shell, environment=environment)


def test_where_no_connection_can_be_read_the_api_server_does_it(
    own_airflow: RealAirflow, own_sandbox: Sandbox, shell_without_connections: Shell
) -> None:
    """It may speak to no vendor: what is not done through a task is done by the maintenance Dag."""
    shell, cases = shell_without_connections, Cases(own_airflow, own_sandbox)
    followed = cases.start("plain_vectorshift_deferred", "vectorshift")
    lost = cases.start("plain_snaplogic_worker", "snaplogic")
    watched([followed], "deferred")
    watched([lost], "running")
    os.kill(own_airflow.task_process(lost.dag_id, lost.run_id, "run"), signal.SIGKILL)
    lost.wait_for_state("failed")
    ids = {}
    for case in (followed, lost):
        listed = shell(f"list --dag-id {case.dag_id} --dag-run-id {case.run_id} -o json")
        [row] = listed.rows
        assert (listed.code, row["standing"]) == ((DONE, "owned") if case is followed else (MAY_BE_ALIVE, "orphan"))
        ids[case] = shlex.quote(row["run_id"])
    shown = shell(f"show {ids[lost]} -o json")
    assert shown.rows[0]["now"] == "not asked: [runctl] act_in_api_server is off."
    assert "Over Airflow's API server, since connection 'snaplogic_default' cannot be read here." in shown.err

    stopped = shell(f"stop {ids[followed]} --yes --reason 'costs too much' -o json")
    [row] = stopped.rows
    assert (stopped.code, row["outcome"], row["done"]) == (DONE, "stopped", "task marked as failed"), stopped.err
    assert (followed.open(), followed.state()) == (0, "failed")
    note = own_airflow.task_instance(followed.dag_id, followed.run_id, "run")["note"]
    assert note.startswith("Run stopped by hand: costs too much (")

    own_sandbox.set_run(ids[lost], "Suspended")
    resumed = shell(f"resume {ids[lost]} --yes -o json")
    assert (resumed.code, resumed.rows[0]["outcome"]) == (DONE, "resumed"), resumed.out + resumed.err
    assert [run["state"] for run in lost.runs()] == ["Started"]
    swept = shell(f"sweep {QUICKLY} --dag-id {lost.dag_id}")
    [row] = swept.rows
    assert (swept.code, row["task"], row["finding"]) == (MAY_BE_ALIVE, place(lost), "orphan"), swept.err
    assert lost.open() == 1
    swept = shell(f"sweep {QUICKLY} --dag-id {lost.dag_id} --yes")
    assert (swept.code, swept.rows[0]["outcome"], lost.open()) == (DONE, "stopped", 0), swept.err


@each_version
@pytest.mark.skipif(AIRFLOW < (3, 4), reason="Airflow archives attempts with their XComs from 3.4 on")
def test_a_run_that_only_an_archived_attempt_knows_of(
    own_airflow: RealAirflow, own_sandbox: Sandbox, shell: Shell
) -> None:
    """Its worker was lost, what a clear would leave to the next attempt too, and the next one has a run of its own."""
    [case] = watched([Cases(own_airflow, own_sandbox).start("plain_vectorshift_worker", "vectorshift")], "running")
    lost = case.wait_for_handle()["run_id"]
    os.kill(own_airflow.task_process(case.dag_id, case.run_id, "run"), signal.SIGKILL)
    case.wait_for_state("failed")
    own_airflow.forget_variables("airflow_runctl.")
    own_airflow.clear_task(case.dag_id, case.run_id, "run")
    case.wait_for_state("running")
    other = case.wait_for_handle()["run_id"]
    assert (other != lost, case.open()) == (True, 2)

    only = f"--dag-id {case.dag_id} --dag-run-id {case.run_id}"
    assert [row["run_id"] for row in shell(f"list {only} -o json").rows] == [other]
    dry = shell(f"sweep {QUICKLY} {only}")
    [row] = [row for row in dry.rows if "task" in row]
    assert (dry.code, row["task"], row["finding"]) == (MAY_BE_ALIVE, place(case), "orphan")
    assert row["why"] == "attempt 1 left it, and attempt 2 (running) has recorded another run"
    assert case.open() == 2
    swept = shell(f"sweep {QUICKLY} {only} --yes")
    [row] = [row for row in swept.rows if "task" in row]
    assert (swept.code, row["outcome"]) == (DONE, "stopped"), swept.err
    assert {run["run_id"]: run["open"] for run in case.runs()} == {lost: False, other: True}
    again = shell(f"sweep {QUICKLY} {only} --yes")
    assert (again.code, [row for row in again.rows if "task" in row]) == (DONE, []), again.err
    assert case.state() == "running"
    own_airflow.mark_task(case.dag_id, case.run_id, "run", "failed")
    case.wait_until_stopped()


def test_the_example_sweeps_from_a_dag(own_airflow: RealAirflow, own_sandbox: Sandbox, shell: Shell) -> None:
    [case] = watched([Cases(own_airflow, own_sandbox).start("plain_vectorshift_worker", "vectorshift")], "running")
    os.kill(own_airflow.task_process(case.dag_id, case.run_id, "run"), signal.SIGKILL)
    case.wait_for_state("failed")
    token = shell.environment["AIRFLOW_CLI_TOKEN"]
    body = {"connection_id": "airflow_api", "conn_type": "http", "host": own_airflow.url, "password": token}
    own_airflow.request("POST", "connections", body=body)
    own_airflow.unpause("sweep_runs")
    run_id = own_airflow.trigger("sweep_runs")
    state = own_airflow.wait_for_dag_run("sweep_runs", run_id)
    log = own_airflow.task_log("sweep_runs", run_id, "sweep")
    assert state == "success", log
    found = own_airflow.xcom("sweep_runs", run_id, "sweep")["runs"]
    [row] = [row for row in found if row["task"] == place(case)]
    assert row["finding"] == "left_alone"
    assert "less than 1800" in row["why"]
    assert token not in log
    assert shell(f"stop {shlex.quote(run_at(shell, case))} --yes").code == DONE
    assert case.open() == 0


@pytest.mark.skipif(AIRFLOW >= (3, 4), reason="XComs are in other tables: the past cannot be copied like this")
def test_two_thousand_runs_that_are_over_cost_nothing(
    own_airflow: RealAirflow, own_sandbox: Sandbox, shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    case = watched([Cases(own_airflow, own_sandbox).start("plain_axiom_deferred", "axiom")], "deferred")[0]
    handle = own_airflow.xcom(case.dag_id, case.run_id, "run", "external_run")
    copy_of(own_airflow, case, over=2000, alive=50, handle=handle)
    listed = shell("list --task-id past -o json")
    assert len(listed.rows) == 50
    with capsys.disabled():
        print(f"\nlist with 50 runs that may be alive and 2,000 that are over: {listed.seconds:.1f} s")
    case.airflow.mark_task(case.dag_id, case.run_id, "run", "failed")
    case.wait_until_stopped()


def copy_of(airflow: RealAirflow, case: Case, *, over: int, alive: int, handle: Any) -> None:
    """Give a Dag a past: runs whose audit records stay, and some whose handles are there."""
    engine = create_engine(airflow.metadata.url)
    tables = {name: Table(name, MetaData(), autoload_with=engine, resolve_fks=False) for name in COPIED}
    with engine.begin() as connection:
        rows = {
            name: dict(connection.execute(select(table).where(table.c.run_id == case.run_id)).mappings().first() or {})
            for name, table in tables.items()
        }
        first = (connection.execute(select(func.max(tables["dag_run"].c.id))).scalar() or 0) + 1000
        many: dict[str, list[dict[str, Any]]] = {name: [] for name in COPIED}
        for number in range(over):
            names = {"run_id": f"past__{number}"}
            began = rows["dag_run"]["run_after"] - timedelta(days=1, seconds=number)
            state = "deferred" if number < alive else "success"
            run = {"id": first + number, "state": "success", "run_after": began, "logical_date": None}
            task = {"id": type(rows["task_instance"]["id"])(uuid7_like(number)), "task_id": "past", "state": state}
            key = "external_run" if number < alive else "external_run_audit"
            many["dag_run"].append({**rows["dag_run"], **names, **run})
            many["task_instance"].append({**rows["task_instance"], **names, **task, "trigger_id": None})
            xcom = {"dag_run_id": first + number, "task_id": "past", "key": key, "value": handle}
            many["xcom"].append({**rows["xcom"], **names, **xcom})
        for name in COPIED:
            connection.execute(tables[name].insert(), many[name])
    engine.dispose()


COPIED = ("dag_run", "task_instance", "xcom")


def uuid7_like(number: int) -> str:
    return f"0190a000-0000-7000-8000-{number:012x}"
