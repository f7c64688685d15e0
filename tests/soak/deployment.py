"""The deployment of a soak: CeleryExecutor, two workers, two triggerers, and somebody who starts again what ends."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from airflow_runctl.sandbox.client import Sandbox
from demo.real_airflow import RealAirflow
from tests.soak.plan import COMPONENTS, TRIGGERERS, VENDORS, WORKERS
from tests.soak.services import Services

DAGS: Final = Path(__file__).parent / "dags"
CONCURRENCY: Final = 5
"""Tasks at a time on each worker."""

HEARTBEAT_SECONDS: Final = 60
"""Without a heartbeat for so long a task counts as lost: longer than a stall."""

QUEUED_SECONDS: Final = 60
"""A task that is queued for so long is queued again: its message was lost with a worker."""

RESTART_SECONDS: Final = 4.0
"""Until what was killed is started again, as by systemd or Kubernetes."""

TASK_TITLE: Final = "airflow worker -- "

SETTINGS: Final[dict[str, object]] = {
    "core.executor": "CeleryExecutor",
    "core.parallelism": 24,
    "celery.worker_concurrency": CONCURRENCY,
    "triggerer.job_heartbeat_sec": 2,
    "scheduler.triggerer_health_check_threshold": 12,
    "triggerer.triggerer_health_check_threshold": 12,
    "scheduler.scheduler_health_check_threshold": 20,
    "scheduler.task_instance_heartbeat_timeout": HEARTBEAT_SECONDS,
    "scheduler.task_instance_heartbeat_timeout_detection_interval": 5,
    "scheduler.task_queued_timeout": QUEUED_SECONDS,
    "scheduler.task_queued_timeout_check_interval": 10,
    "scheduler.orphaned_tasks_check_interval": 15,
    "scheduler.trigger_timeout_check_interval": 5,
    "dag_processor.min_file_process_interval": 15,
    "workers.min_heartbeat_interval": 3,
}
"""Airflow notices what is lost sooner than by default: a soak is short."""


class Deployment:
    """Everything that runs, and what can be done to it.

    :param tell: called with what a component did by itself.
    """

    def __init__(self, services: Services, sandbox: Sandbox, tell: Callable[[str], None]) -> None:
        self.services = services
        self.sandbox = sandbox
        self._tell = tell
        self._due: dict[str, float] = {}
        for vendor in VENDORS:
            sandbox.settings(vendor, rate_limit_per_minute=None)
        settings = {
            **SETTINGS,
            "celery.broker_url": f"{services.redis}/0",
            "celery.result_backend": f"{services.redis}/1",
        }
        self.airflow = RealAirflow(
            dag_folders=[DAGS],
            environment=sandbox.connections,
            config=settings,
            database=services.database,
            components={**{name: _worker(name) for name in WORKERS}, TRIGGERERS[1]: ["triggerer", "--skip-serve-logs"]},
            progress=tell,
        )

    def kill(self, component: str) -> tuple[list[str], list[int]]:
        """Kill a component with all of its processes, as when its machine is lost.

        :returns: the task instances whose code they ran, and the processes.
        """
        rows = [row for row in self.airflow.process_table() if row.component == component]
        self.airflow.kill(component)
        self._due[component] = time.monotonic() + RESTART_SECONDS
        tasks = [row.title.removeprefix(TASK_TITLE) for row in rows if row.title.startswith(TASK_TITLE)]
        return tasks, [row.pid for row in rows]

    def running_tasks(self) -> list[tuple[str, int]]:
        """Return task instances whose code runs on a worker, with the process of each."""
        rows = [row for row in self.airflow.process_table() if row.component in WORKERS]
        tasks = [row for row in rows if row.title.startswith(TASK_TITLE)]
        return sorted((row.title.removeprefix(TASK_TITLE), row.pid) for row in tasks)

    def stall(self, component: str, number: signal.Signals) -> None:
        """Let a component stand still (SIGSTOP), or go on (SIGCONT)."""
        if component in self.airflow.sessions.running():
            self.airflow.kill(component, number)

    def keep_up(self) -> list[str]:
        """Start what was killed and is due, and what has ended by itself; return the latter."""
        running = self.airflow.sessions.running()
        ended = [name for name in COMPONENTS if name not in running and name not in self._due]
        for name in ended:
            self._due[name] = time.monotonic() + RESTART_SECONDS
        for name, due in list(self._due.items()):
            if due <= time.monotonic():
                del self._due[name]
                self.airflow.start(name)
        return ended

    def rows(self, statement: str, **values: object) -> Sequence[Any]:
        """Ask Airflow's database, again while that is away."""
        until = time.monotonic() + 60
        while True:
            try:
                return self.airflow.metadata.rows(statement, **values)
            except Exception:
                if time.monotonic() > until:
                    raise
                time.sleep(0.5)


def _worker(name: str) -> list[str]:
    command = ["celery", "worker", "--celery-hostname", f"{name}@%h", "--pid", f"{name}.pid", "--skip-serve-logs"]
    return [*command, "--without-mingle", "--without-gossip"]
