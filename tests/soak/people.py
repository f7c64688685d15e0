"""The people of a soak: they start Dag runs, clear and mark tasks over the REST API, and watch whether it answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import requests

from demo.release import RELEASE
from demo.rest import AirflowApiError, AirflowRest
from tests.soak.dags.soak_limits import ITEMS
from tests.soak.deployment import Deployment
from tests.soak.history import Event
from tests.soak.journal import Journal, now
from tests.soak.plan import HANG, DagRun, Fault

PATIENCE_SECONDS: Final = 180.0
LOOK_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 5.0
NAMES: Final = {"mapped": tuple(f"mapped-{item}" for item in range(ITEMS)), "released": ("released",)}
"""Names of the runs of a Dag run, behind its own."""

ALIVE: Final = """
SELECT ti.id, ti.dag_id, ti.run_id, ti.task_id, ti.map_index FROM task_instance ti
JOIN dag_run dr ON dr.dag_id = ti.dag_id AND dr.run_id = ti.run_id
WHERE dr.state = 'running' AND ti.state IN ('running', 'deferred') AND ti.task_id <> 'go_on'
ORDER BY ti.run_id, ti.task_id, ti.map_index
"""


class People:
    """Each act is carried out beside the others, and again while the API server is away."""

    def __init__(self, deployment: Deployment, journal: Journal) -> None:
        self._deployment = deployment
        self._journal = journal
        self._acts = ThreadPoolExecutor(4, thread_name_prefix="person")
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch_api, daemon=True)

    def start(self) -> None:
        """Begin to watch the API."""
        self._watcher.start()

    def close(self) -> None:
        """Wait for the acts that are under way, and watch no longer."""
        self._acts.shutdown()
        self._over.set()
        self._watcher.join()

    def begin(self, run: DagRun) -> None:
        """Start a Dag run whose runs behave as the plan says."""
        for name in NAMES.get(run.kind, ("deferred", "worker")):
            seconds = None if run.kind in HANG else run.run_seconds
            self._deployment.sandbox.behave(run.vendor, f"{run.name}-{name}", run_seconds=seconds)
        dag_id = f"soak_{run.kind}_{run.vendor}"
        self._do(f"start {dag_id} {run.name}", lambda rest: rest.trigger(dag_id, run_id=run.name))

    def act(self, fault: Fault) -> None:
        """Clear or mark one of the tasks that are alive, or set its Dag run to failed."""
        self._acts.submit(self._act, fault)

    def _act(self, fault: Fault) -> None:
        rows = self._deployment.rows(ALIVE)
        if not rows:
            self._journal.tell(f"{fault.kind}: no task is alive")
            return
        row = rows[int(fault.pick * len(rows))]
        dag_id, run_id, task_id, index = row["dag_id"], row["run_id"], row["task_id"], row["map_index"]
        owner = owner_of(run_id, task_id, index)
        acts: dict[str, Callable[[AirflowRest], Any]] = {
            "clear": lambda rest: rest.clear_task(dag_id, run_id, task_id if index < 0 else (task_id, index)),
            "mark-failed": lambda rest: rest.mark_task(dag_id, run_id, task_id, "failed", index),
            "mark-success": lambda rest: rest.mark_task(dag_id, run_id, task_id, "success", index),
            "fail-dag-run": lambda rest: rest.mark_dag_run(dag_id, run_id, "failed"),
        }
        began = now()
        whose = {"dag_run": run_id} if fault.kind == "fail-dag-run" else {"owner": owner}
        self._try(f"{fault.kind} {''.join(whose.values())}", acts[fault.kind])
        self._journal.note(Event(began, fault.kind, until=now(), **whose))

    def _do(self, what: str, act: Callable[[AirflowRest], Any]) -> None:
        self._acts.submit(self._try, what, act)

    def _try(self, what: str, act: Callable[[AirflowRest], Any]) -> None:
        airflow = self._deployment.airflow
        rest = RELEASE.rest(airflow.url, airflow.metadata)
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                act(rest)
            except (requests.RequestException, AirflowApiError) as error:
                status = getattr(error, "status", 500)
                if status == 409 or time.monotonic() > until:
                    self._journal.tell(f"{what}: {str(error)[:200]}")
                    return
                time.sleep(1)
            except Exception as error:
                self._journal.tell(f"{what}: {type(error).__name__} {str(error)[:200]}")
                return
            else:
                self._journal.tell(what)
                return

    def _watch_api(self) -> None:
        away = None
        while not self._over.wait(LOOK_SECONDS):
            answers = self._api_answers()
            if not answers and away is None:
                away = now()
                self._journal.tell("the API server or its database does not answer")
            elif answers and away is not None:
                self._journal.note(Event(away, "airflow-away", "api-server", until=now()))
                self._journal.tell(f"the API server answers again, after {(now() - away).total_seconds():.0f} s")
                away = None
        if away is not None:
            self._journal.note(Event(away, "airflow-away", "api-server", until=now()))

    def _api_answers(self) -> bool:
        url = f"{self._deployment.airflow.url}/api/v2/monitor/health"
        try:
            answer = requests.get(url, timeout=ANSWER_SECONDS)
            return answer.ok and answer.json()["metadatabase"]["status"] == "healthy"
        except (requests.RequestException, ValueError, KeyError):
            return False


def owner_of(run_id: str, task_id: str, map_index: int) -> str:
    """Return the name that the runs of a task instance have at the vendor."""
    return f"{run_id}-{task_id}" + (f"-{map_index}" if map_index >= 0 else "")
