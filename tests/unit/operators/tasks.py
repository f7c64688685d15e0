"""Tasks that start runs which hang, and what happens to them meanwhile, for the tests of the operators."""

import os
import signal
from collections.abc import Callable
from typing import Any

from airflow_runctl.control.records import AUDIT_KEY
from airflow_runctl.operators.axiom import AxiomTriggerRunOperator
from airflow_runctl.operators.base import StartRunOperator
from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator
from airflow_runctl.runs import HANDLE_KEY
from airflow_runctl.sandbox.client import Sandbox
from tests.fakes.airflow_3 import FakeAirflow
from tests.fakes.airflow_any import Attempt, event_of

MODES = ["worker", "deferred"]
VENDORS = ["snaplogic", "axiom"]
RETRIED, FINAL = "up_for_retry", "failed"


class Tasks:
    """Makes operators and runs them."""

    def __init__(self, fake: FakeAirflow, box: Sandbox) -> None:
        self.fake = fake
        self.box = box

    def snaplogic(self, name: str = "early-hang", **more: Any) -> SnapLogicTriggerTaskOperator:
        arguments = {"task_id": "start", "task_path": f"projects/sales/{name}", "pipeline_name": name, **self._brisk()}
        with self.fake.dag():
            return SnapLogicTriggerTaskOperator(**{**arguments, **more})

    def axiom(self, name: str = "Hang", **more: Any) -> AxiomTriggerRunOperator:
        with self.fake.dag():
            return AxiomTriggerRunOperator(**{"task_id": "start", "name": name, **self._brisk(), **more})

    def start(self, vendor: str, **more: Any) -> StartRunOperator:
        """Return a start of a run that hangs."""
        return self.snaplogic(**more) if vendor == "snaplogic" else self.axiom(**more)

    @staticmethod
    def _brisk() -> dict[str, Any]:
        return {"poll_interval": 0.05, "stop_timeout": 5.0}

    def run(self, make: Callable[..., Any], mode: str = "worker", between: Any = None, **more: Any) -> Attempt:
        """Run an attempt to its end, deferred or not.

        :param between: called with the half that was deferred, before its trigger runs.
        """
        attempt = self.fake.run(make(deferrable=mode == "deferred"), **more)
        if attempt.deferral is None:
            assert mode == "worker" or attempt.state != "success", "it should have deferred"
            return attempt
        if between is not None:
            between(attempt)
        event = self.event(attempt)
        return self.fake.run(make(deferrable=True), deferral=attempt.deferral, event=event, **more)

    def event(self, attempt: Attempt) -> Any:
        """Run the trigger of a deferred attempt to its event."""
        return event_of(self.fake, attempt)

    def leave_running(self, vendor: str = "snaplogic", **more: Any) -> dict[str, Any]:
        """Run a start that does not wait; return what it returned."""
        more.setdefault("wait_for_completion", False)
        attempt = self.fake.run(self.start(vendor, **more))
        assert attempt.state == "success", attempt.said
        result: dict[str, Any] = attempt.result
        return result

    def only(self) -> dict[str, Any]:
        (run,) = self.box.runs()
        return run

    def audit(self, task_id: str = "start", map_index: int = -1) -> Any:
        return self.fake.xcom(task_id, AUDIT_KEY, map_index)

    def handle(self, task_id: str = "start", map_index: int = -1) -> Any:
        return self.fake.xcom(task_id, HANDLE_KEY, map_index)


def ends(box: Sandbox, vendor: str, good: bool, seconds: float = 0.2) -> None:
    """Let the runs that hang end."""
    end = {"snaplogic": ("Failed", "Completed"), "axiom": ("Failure", "Success")}[vendor][good]
    name = {"snaplogic": "early-hang", "axiom": "Hang"}[vendor]
    box.behave(vendor, name, run_seconds=seconds, end=end, message="target refused the row")


def sigterm() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
