"""A case: one Dag run whose task starts a run at the sandbox, under a name of its own."""

import itertools
import re
from dataclasses import dataclass
from typing import Any

from airflow_runctl.sandbox.client import Sandbox
from demo.real_airflow import RealAirflow

MatrixLine = tuple[str, str, str, int, int, str]
"""Row of the kill matrix, mode, vendor, open runs, wrong stops, seconds to the stop."""


@dataclass(frozen=True)
class Case:
    """One Dag run whose task starts a run at the sandbox; the run has a name of its own."""

    airflow: RealAirflow
    sandbox: Sandbox
    dag_id: str
    run_id: str
    name: str

    def runs(self) -> list[dict[str, Any]]:
        """The runs at the vendor, the oldest first."""
        return [run for run in self.sandbox.runs() if re.fullmatch(rf"{self.name}(-.*)?", run["name"])]

    def open(self) -> int:
        """How many of them are alive."""
        return sum(run["open"] for run in self.runs())

    def stop_requests(self) -> int:
        """How often the vendor was asked to stop one of them."""
        return sum(run["stop_requests"] for run in self.runs())

    def state(self, task_id: str = "run") -> str | None:
        """The task's state."""
        return self.airflow.task_state(self.dag_id, self.run_id, task_id)

    def log(self, task_id: str = "run", try_number: int | None = None) -> str:
        """The task's log."""
        return self.airflow.task_log(self.dag_id, self.run_id, task_id, try_number=try_number)

    def wait_for_handle(self, task_id: str = "run", map_index: int = -1, timeout: float = 90) -> dict[str, Any]:
        """Wait until the run is recorded; return its handle."""

        def handle() -> Any:
            keys = self.airflow.xcom_keys(self.dag_id, self.run_id, task_id, map_index=map_index)
            if "external_run" not in keys:
                return None
            return self.airflow.xcom(self.dag_id, self.run_id, task_id, "external_run", map_index=map_index)

        return self.airflow.wait_for(handle, f"a handle of {self.dag_id}", timeout)

    def wait_for_state(self, *states: str, task_id: str = "run", timeout: float = 120) -> str:
        """Wait until the task is in one of ``states``."""
        return self.airflow.wait_for(
            lambda: (now := self.state(task_id)) in states and now, f"{self.dag_id} {task_id} to be {states}", timeout
        )

    def wait_until_over(self, timeout: float = 120) -> str:
        """Wait until the Dag run is over; return its state."""
        over = ("success", "failed")
        return self.airflow.wait_for(
            lambda: (now := self.airflow.dag_run_state(self.dag_id, self.run_id)) in over and now,
            f"the end of {self.dag_id}",
            timeout,
        )

    def wait_until_stopped(self, timeout: float = 60) -> None:
        """Wait until the vendor counts no open run of this case."""
        self.airflow.wait_for(lambda: self.runs() and self.open() == 0, f"0 open runs of {self.dag_id}", timeout)


_numbers = itertools.count(1)


class Cases:
    """Starts cases, each with a name of its own."""

    def __init__(self, airflow: RealAirflow, sandbox: Sandbox) -> None:
        self._airflow = airflow
        self._sandbox = sandbox

    def start(
        self,
        dag_id: str,
        vendor: str,
        *,
        names: tuple[str, ...] = ("",),
        conf: dict[str, Any] | None = None,
        **behaviour: Any,
    ) -> Case:
        """Trigger a Dag whose runs hang, or behave as given."""
        name = f"case-{next(_numbers)}"
        for suffix in names:
            self._sandbox.behave(vendor, name + suffix, **{"run_seconds": None, **behaviour})
        run_id = self._airflow.trigger(dag_id, conf={"name": name, **(conf or {})})
        return Case(self._airflow, self._sandbox, dag_id, run_id, name)
