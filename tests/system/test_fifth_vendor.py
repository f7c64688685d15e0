"""A fifth vendor, in a package of its own that is installed beside: ``docs/how-to/adding-a-vendor.md``, proved.

The package is ``tests/fifth_vendor``; the vendor is the server below.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from demo.real_airflow import RealAirflow

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tests" / "fifth_vendor"
CANCEL_SECONDS = 1.5
"""How long a job is CANCELLING."""


@dataclass
class Job:
    """One job at Acme; it works until it is cancelled, or for so many seconds as its flow is named after."""

    id: str
    flow: str
    reference: str
    began: float = field(default_factory=time.monotonic)
    cancel_asked: float | None = None
    cancel_requests: int = 0

    @property
    def status(self) -> str:
        if self.cancel_asked is not None:
            return "CANCELLING" if time.monotonic() - self.cancel_asked < CANCEL_SECONDS else "CANCELLED"
        seconds = re.search(r"for-(\d+)-seconds", self.flow)
        return "DONE" if seconds and time.monotonic() - self.began > int(seconds[1]) else "WORKING"

    @property
    def is_open(self) -> bool:
        return self.status in {"WORKING", "CANCELLING"}

    def shown(self) -> dict[str, Any]:
        output = {"rows": 3} if self.status == "DONE" else None
        return {"id": self.id, "flow": self.flow, "status": self.status, "output": output}


class Acme(ThreadingHTTPServer):
    """Acme itself: an HTTP server with jobs."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.key = f"acme-key-{secrets.token_hex(8)}"
        self.url = f"http://127.0.0.1:{self.server_port}/v2"
        self.jobs: list[Job] = []

    def open_jobs(self) -> list[Job]:
        return [job for job in self.jobs if job.is_open]

    def of(self, flow: str) -> list[Job]:
        return [job for job in self.jobs if job.flow == flow]


class Handler(BaseHTTPRequestHandler):
    server: Acme

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, answer = self._route(json.loads(body) if body else {})
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _answer

    def _route(self, body: dict[str, Any]) -> tuple[int, Any]:
        if self.headers.get("Authorization") != f"Bearer {self.server.key}":
            return 401, {"error": "who are you?"}
        where = urlsplit(self.path)
        parts = where.path.removeprefix("/v2").strip("/").split("/")
        jobs = self.server.jobs
        if (self.command, parts) == ("GET", ["me"]):
            return 200, {"name": "ops"}
        if (self.command, parts) == ("POST", ["jobs"]):
            jobs.append(Job(str(len(jobs) + 1), body["flow"], body["reference"]))
            return 201, jobs[-1].shown()
        if (self.command, parts) == ("GET", ["jobs"]):
            wanted = parse_qs(where.query).get("reference")
            return 200, [job.shown() for job in jobs if wanted == [job.reference]]
        job = next((job for job in jobs if parts[:2] == ["jobs", job.id]), None)
        if job is None:
            return 404, {"error": "no such job"}
        if (self.command, parts[2:]) == ("POST", ["cancel"]):
            job.cancel_requests += 1
            job.cancel_asked = job.cancel_asked or time.monotonic()
            return 202, {}
        return 200, job.shown()

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture(scope="module")
def acme() -> Iterator[Acme]:
    with Acme() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which pip has installed the package, with all that makes it known to Python."""
    where = tmp_path_factory.mktemp("fifth_vendor")
    shutil.copytree(PACKAGE, where / "source")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    alone = ["--no-deps", "--no-build-isolation", "--no-index"]
    command = [*pip, *alone, "--target", str(where / "site"), str(where / "source")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return where / "site"


@pytest.fixture(scope="module")
def airflow(installed: Path, acme: Acme, airflow_database: str | None) -> Iterator[RealAirflow]:
    """An Airflow in whose environment the package is installed."""
    connection = {"conn_type": "acme", "host": acme.url, "password": acme.key}
    environment = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(installed), os.environ.get("PYTHONPATH")])),
        "AIRFLOW_CONN_ACME_DEFAULT": json.dumps(connection),
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
    }
    # By default it notices the end of a task's process up to 5 s late, and takes a task that goes on after a
    # deferral by then for killed.
    config = {"workers.min_heartbeat_interval": 1}
    folders = [PACKAGE / "dags"]
    with RealAirflow(dag_folders=folders, environment=environment, config=config, database=airflow_database) as booted:
        yield booted


def test_the_package_is_a_package_of_its_own(installed: Path) -> None:
    assert importlib.util.find_spec("acme_runs") is None, "it is not in the environment of these tests"
    assert sorted(path.name for path in installed.iterdir()) == ["acme_runs", "acme_runs-1.0.0.dist-info"]


def test_airflow_knows_the_connection_type(airflow: RealAirflow, acme: Acme) -> None:
    providers = airflow.request("GET", "providers", query={"limit": 100})["providers"]
    assert "acme-runs" in {row["package_name"] for row in providers}
    body = {"connection_id": "try", "conn_type": "acme", "host": acme.url, "password": acme.key}
    answer = airflow.request("POST", "connections", "test", body=body)
    assert answer["status"], answer
    assert answer["message"].startswith("Reached Acme as ops.")


def test_a_job_is_followed_to_its_end(airflow: RealAirflow, acme: Acme) -> None:
    run_id = airflow.trigger("acme_to_the_end", conf={"flow": "for-3-seconds"})
    assert airflow.wait_for_dag_run("acme_to_the_end", run_id) == "success"

    (job,) = acme.of("for-3-seconds")
    result = airflow.xcom("acme_to_the_end", run_id, "job")
    handle = result.pop("external_run")
    page = f"{acme.url}/jobs/{job.id}/page"
    assert result == {
        "run_id": job.id,
        "state": "succeeded",
        "vendor_state": "DONE",
        "url": page,
        "result": {"rows": 3},
    }
    assert handle["vendor"] == "acme"
    assert airflow.extra_links("acme_to_the_end", run_id, "job") == {"External run": page}
    assert job.cancel_requests == 0


def test_a_deadline_stops_the_jobs_and_no_retry_starts_them_again(airflow: RealAirflow, acme: Acme) -> None:
    run_id = airflow.trigger("acme_deadline", conf={"flow": "until the deadline"})
    airflow.wait_for(lambda: len(acme.of("until the deadline")) == 2, "two jobs", 60)

    assert airflow.wait_for_dag_run("acme_deadline", run_id) == "failed"

    assert acme.open_jobs() == []
    assert len(acme.of("until the deadline")) == 2
    for task_id in ("deferred", "worker"):
        audit = airflow.xcom("acme_deadline", run_id, task_id, "external_run_audit")
        assert (audit["stop"]["reason"], audit["stop"]["outcome"]) == ("deadline", "stopped")
        log = airflow.task_log("acme_deadline", run_id, task_id)
        assert "was stopped: deadline (the night batch must end)" in log


def test_the_stop_operator_stops_by_handle_and_by_id(airflow: RealAirflow, acme: Acme) -> None:
    run_id = airflow.trigger("acme_stop", conf={"flow": "to be stopped"})

    assert airflow.wait_for_dag_run("acme_stop", run_id) == "success"

    assert acme.open_jobs() == []
    assert len(acme.of("to be stopped")) == 2
    for task_id in ("by_handle", "by_id"):
        result = airflow.xcom("acme_stop", run_id, task_id)
        assert (result["outcome"], result["state"], result["vendor_state"]) == ("stopped", "stopped", "CANCELLED")


def test_the_shared_class_stops_the_job_of_a_task_that_is_killed(airflow: RealAirflow, acme: Acme) -> None:
    """Nothing in the package says a word about kills."""
    run_id = airflow.trigger("acme_kill", conf={"flow": "killed"})
    airflow.triggerer_of("acme_kill", run_id, "job")

    airflow.mark_task("acme_kill", run_id, "job", "failed")

    airflow.wait_for(lambda: acme.of("killed") and not acme.open_jobs(), "0 open jobs", 60)


def test_the_sensor_waits_for_a_job(airflow: RealAirflow) -> None:
    run_id = airflow.trigger("acme_sensor", conf={"flow": "for-4-seconds"})
    assert airflow.wait_for_dag_run("acme_sensor", run_id) == "success"
    assert airflow.xcom("acme_sensor", run_id, "wait")["result"] == {"rows": 3}


def test_its_key_is_found_nowhere(airflow: RealAirflow, acme: Acme) -> None:
    """Last: looks at all that the tests above left in logs and in the database."""
    assert acme.jobs
    assert {where for where, text in airflow.texts() if acme.key in text} == set()
