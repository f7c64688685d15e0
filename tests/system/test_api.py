"""The API in the API server of a real Airflow: who sees what, and each way in which a run is stopped."""

import json
import os
import shlex
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jwt
import pytest
import requests

from airflow_runctl.sandbox.client import Sandbox
from demo.real_airflow import RealAirflow
from tests.system.cases import Case, Cases
from tests.system.conftest import HERE, QUICK
from tests.system.versions import AIRFLOW

pytestmark = [
    pytest.mark.skipif(AIRFLOW < (3, 1), reason="the API server came with Airflow 3"),
    pytest.mark.each_version,
]

DAG = "runctl_maintenance"


@pytest.fixture(scope="module")
def own_airflow(
    own_sandbox: Sandbox, importable: dict[str, str], airflow_database: str | None
) -> Iterator[RealAirflow]:
    """An Airflow whose API server is started anew on the way."""
    with RealAirflow(
        dag_folders=[HERE / "dags", HERE / "dags_with_maintenance"],
        environment={**own_sandbox.connections, **importable},
        config=QUICK,
        database=airflow_database,
    ) as booted:
        yield booted


@dataclass(frozen=True)
class User:
    """A user of Airflow's with a token.

    :param airflow: the Airflow.
    :param token: the token.
    :param secret: what no answer may hold.
    """

    airflow: RealAirflow
    token: str
    secret: str

    def __call__(self, method: str, path: str, status: int = 200, **body: Any) -> Any:
        """Ask the API; return its answer."""
        answer = requests.request(
            method,
            f"{self.airflow.url}/runctl/{path}",
            json=body or None,
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=120,
        )
        assert self.secret not in answer.text
        assert answer.status_code == status, answer.text
        return answer.json()

    def run_of(self, case: Case) -> str:
        """Return the id of a case's run."""
        [run] = self("GET", f"runs?dag_id={case.dag_id}&dag_run_id={quote(case.run_id)}")["runs"]
        return str(run["run_id"])

    def stop(self, case: Case, **more: Any) -> dict[str, Any]:
        """Stop a case's run; return what became of it."""
        answer = self("POST", "stop", **{"run_id": [self.run_of(case)], "timeout": 45, **more})
        [done] = answer["runs"]
        return {**done, "dag_run_ids": answer["dag_run_ids"], "may_be_alive": answer["may_be_alive"]}


@pytest.fixture
def user(own_airflow: RealAirflow, own_sandbox: Sandbox) -> Any:
    """Make users; of each role of the simple auth manager."""
    token = requests.get(f"{own_airflow.url}/auth/token", timeout=60).json()["access_token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    secret, header = own_airflow._environment["AIRFLOW__API_AUTH__JWT_SECRET"], jwt.get_unverified_header(token)

    def make(name: str, role: str | None) -> User:
        made = jwt.encode({**claims, "sub": name, "role": role}, secret, algorithm=header["alg"], headers=header)
        return User(own_airflow, made, own_sandbox.seed)

    return make


def orphan(cases: Cases, vendor: str = "axiom") -> Case:
    """Start a run and kill the process of its task, on its last try."""
    case = cases.start(f"plain_{vendor}_worker", vendor)
    case.wait_for_handle(timeout=180)
    case.wait_for_state("running", timeout=180)
    os.kill(case.airflow.task_process(case.dag_id, case.run_id, "run"), signal.SIGKILL)
    case.wait_for_state("failed")
    assert case.open() == 1
    return case


def test_one_of_several_mapped_runs_is_stopped(
    own_airflow: RealAirflow, own_sandbox: Sandbox, user: Any, tmp_path: Path
) -> None:
    uma, conf = user("uma", "USER"), {"go": str(tmp_path / "go")}
    case = Cases(own_airflow, own_sandbox).start("mapped_runs", "snaplogic", names=("-a", "-b", "-c"), conf=conf)
    for index in range(3):
        case.wait_for_handle(map_index=index, timeout=180)
        own_airflow.triggerer_of(case.dag_id, case.run_id, "run", index, timeout=180)
    listed = uma("GET", f"runs?dag_id={case.dag_id}")["runs"]
    assert sorted(run["map_index"] for run in listed) == [0, 1, 2]
    which = {"dag_id": case.dag_id, "dag_run_id": case.run_id, "map_index": 1}
    stopped = uma("POST", "stop", timeout=45, **which)
    assert [done["outcome"] for done in stopped["runs"]] == ["stopped"], stopped
    states = [own_airflow.task_state(case.dag_id, case.run_id, "run", index) for index in range(3)]
    assert states == ["deferred", "failed", "deferred"]
    assert case.open() == 2
    own_airflow.mark_dag_run(case.dag_id, case.run_id, "failed")
    case.wait_until_stopped()
    # Its end is recorded a moment after the vendor shows it; the next test counts what is listed.
    listed_still = f"runs?dag_id={case.dag_id}"
    own_airflow.wait_for(lambda: not uma("GET", listed_still)["runs"], "the end of each run to be recorded", 60)


def test_the_ways_in_which_the_api_stops_runs(own_airflow: RealAirflow, own_sandbox: Sandbox, user: Any) -> None:
    cases = Cases(own_airflow, own_sandbox)
    viewer, uma, admin = user("vic", "VIEWER"), user("uma", "USER"), user("ann", "ADMIN")
    living = [
        cases.start(f"plain_{vendor}_{mode}", vendor) for vendor, mode in (("axiom", "deferred"), ("bctrl", "worker"))
    ]
    for case, state in zip(living, ("deferred", "running"), strict=True):
        case.wait_for_handle(timeout=180)
        case.wait_for_state(state, timeout=180)
    # Below 3.3 a kill that comes before the trigger has begun is lost.
    own_airflow.triggerer_of(living[0].dag_id, living[0].run_id, "run")

    # Who sees what, and who may do what.
    listed = viewer("GET", "runs")
    assert (listed["total"], {run["standing"] for run in listed["runs"]}) == (2, {"owned"})
    assert viewer("GET", f"runs/{quote(viewer.run_of(living[0]))}")["runs"][0]["now"].startswith("not asked")
    viewer("POST", "stop", 403, run_id=[viewer.run_of(living[0])])
    user("nobody", None)("GET", "runs", 403)
    # Without a login everybody is an admin of this Airflow ([core] simple_auth_manager_all_admins).
    User(own_airflow, "no.such.token", own_sandbox.seed)("GET", "runs", 403)
    assert sum(case.open() for case in living) == 2

    # Through its task, deferred and on a worker: marked as failed, as the user who asks; the kill stops the run.
    for case in living:
        done = uma.stop(case, reason="costs too much")
        assert (done["done"], done["outcome"], done["may_be_alive"]) == ("task marked as failed", "stopped", False), (
            done
        )
        assert (case.open(), case.state()) == (0, "failed")
        note = own_airflow.task_instance(case.dag_id, case.run_id, "run")["note"]
        assert note == "Run stopped by hand: costs too much (uma over the API)"
    assert viewer("GET", "runs")["total"] == 0

    # Nobody owns it: the maintenance Dag stops it, started as the user.
    lost = orphan(cases)
    done = uma.stop(lost, reason="its worker was lost")
    assert (done["done"], done["outcome"], lost.open()) == ("stopped directly", "stopped", 0), done
    audit = own_airflow.xcom(lost.dag_id, lost.run_id, "run", "external_run_audit")["stop"]
    assert audit["by"] == "uma over the maintenance Dag"
    assert audit["text"] == "its worker was lost (uma over the API)"
    assert viewer("GET", "runs")["total"] == 0
    assert own_sandbox.seed not in str(own_airflow.request("GET", f"dags/{DAG}/dagRuns"))

    # A sweep, first dry, and the test of a connection; by the same Dag.
    lost, quickly = orphan(cases), {"min_age": 0, "look_again": 1, "timeout": 45}
    swept = uma("POST", "sweep", **quickly)
    assert [run["finding"] for run in swept["runs"]] == ["orphan"], swept
    assert (swept["may_be_alive"], lost.open()) == (True, 1)
    swept = uma("POST", "sweep", dry_run=False, **quickly)
    assert [run["outcome"] for run in swept["runs"]] == ["stopped"], swept
    assert (swept["may_be_alive"], lost.open()) == (False, 0)
    uma("POST", "test", 403, conn_id="axiom_default")
    assert admin("POST", "test", conn_id="axiom_default", timeout=45)["worked"] is True

    # Without the Dag the answer names the command.
    own_airflow.request("PATCH", f"dags/{DAG}", body={"is_paused": True})
    lost = orphan(cases)
    done = uma.stop(lost)
    assert (done["done"], lost.open()) == ("nothing", 1)
    assert f"runctl stop {shlex.quote(uma.run_of(lost))} --yes" in done["error"]

    # Where the API server may speak to vendors it stops the run itself.
    own_airflow.kill("api-server", signal.SIGTERM)
    own_airflow._environment["AIRFLOW__RUNCTL__ACT_IN_API_SERVER"] = "True"
    own_airflow.wait_for(lambda: "api-server" not in own_airflow.sessions.running(), "the API server's end", 60)
    own_airflow.start("api-server")
    own_airflow.wait_for(lambda: uma("GET", "runs")["total"] == 1, "the API server", 120)
    [shown] = uma("GET", f"runs/{quote(uma.run_of(lost))}")["runs"]
    assert shown["now"].endswith("(running)")
    done = uma.stop(lost)
    assert (done["done"], done["outcome"], done["dag_run_ids"]) == ("stopped directly", "stopped", []), done
    assert lost.open() == 0
    assert uma("GET", "runs")["total"] == 0
    assert admin("POST", "test", conn_id="axiom_default")["worked"] is True
    # A connection that only Airflow's database knows.
    row = json.loads(own_sandbox.connections["AIRFLOW_CONN_AXIOM_DEFAULT"])
    body = {"connection_id": "axiom_stored", **{name: row[name] for name in ("conn_type", "host", "password")}}
    own_airflow.request("POST", "connections", body={**body, "extra": json.dumps(row["extra"])})
    assert admin("POST", "test", conn_id="axiom_stored")["worked"] is True
