"""Many starts of one pipeline at once, whose calls stay open: every task ends with its own run's result."""

import os
import signal
from typing import Any

from airflow_runctl.sandbox.client import Sandbox
from demo.real_airflow import RealAirflow
from tests.system.cases import Case
from tests.system.versions import essential, needs_deadlines, needs_task_store

POOL = {"name": "snaplogic_starts", "slots": 1, "include_deferred": False}


class Starts:
    """Dag runs whose items each call a Triggered Task of their own, all of which run one pipeline.

    Each third item's run fails, and they last differently long.
    """

    def __init__(self, airflow: RealAirflow, sandbox: Sandbox, names: list[str], **behaviour: Any) -> None:
        self.airflow, self.sandbox, self.names = airflow, sandbox, names
        for item, name in enumerate(names):
            sandbox.behave(
                "snaplogic",
                name,
                run_seconds=20 + 3 * (item % 4),
                end="Failed" if self.fails(item) else "Completed",
                **behaviour,
            )
        self.cases: list[Case] = []

    @staticmethod
    def fails(item: int) -> bool:
        return item % 3 == 2

    def start(self, dag_id: str, **conf: str) -> Case:
        run_id = self.airflow.trigger(dag_id, conf=conf)
        self.cases.append(Case(self.airflow, self.sandbox, dag_id, run_id, "|".join(self.names)))
        return self.cases[-1]

    def each_has_its_own(self, task_id: str, *, starts: int) -> None:
        """Wait for the end; compare what each item has come to with the run that its own call made."""
        for case in self.cases:
            case.wait_until_over(timeout=300 + 30 * len(self.names) * len(self.cases))
        vendor = {run["run_id"]: run for run in self.cases[0].runs()}
        assert len(vendor) == starts
        assert [run for run in vendor.values() if run["open"] or run["stop_requests"]] == []
        claimed = []
        for case in self.cases:
            where = case.dag_id, case.run_id, task_id
            for item, name in enumerate(self.names):
                claimed.append(self.airflow.xcom(*where, "external_run_audit", map_index=item)["run_id"])
                assert vendor[claimed[-1]]["name"] == name, f"item {item} has taken another's run"
                wanted = "failed" if self.fails(item) else "success"
                assert self.airflow.task_state(*where, map_index=item) == wanted
        assert len(set(claimed)) == len(claimed)


def mapped(airflow: RealAirflow, sandbox: Sandbox, name: str, items: int, **behaviour: Any) -> Starts:
    starts = Starts(airflow, sandbox, [f"{name}-{item}" for item in range(items)], pipeline=name, **behaviour)
    starts.start(f"same_pipeline_{items}", name=name)
    return starts


@essential
def test_mapped_starts_of_one_pipeline_take_turns(airflow: RealAirflow, sandbox: Sandbox) -> None:
    """The list lags by 2 s; with its retry the item that fails makes a second run."""
    mapped(airflow, sandbox, "shared-3", 3, list_delay_seconds=2.0).each_has_its_own("run", starts=3 + 1)


def test_twenty_mapped_starts_of_one_pipeline_take_turns(airflow: RealAirflow, sandbox: Sandbox) -> None:
    mapped(airflow, sandbox, "shared-20", 20).each_has_its_own("run", starts=20 + 6)


@needs_deadlines  # the Dag is written for Airflow 3
def test_three_dag_runs_at_once_share_a_pool_of_one_slot(airflow: RealAirflow, sandbox: Sandbox) -> None:
    """As docs/how-to/many-starts.md has it: deferred tasks are not counted, and hold nobody up."""
    airflow.request("POST", "pools", body=POOL)
    try:
        names = [f"load_{region}" for region in ("north", "south", "east", "west")]
        starts = Starts(airflow, sandbox, names, pipeline="load_region")
        for _ in range(3):
            starts.start("load_regions")
        starts.each_has_its_own("load", starts=3 * len(names))
    finally:
        airflow.request("DELETE", "pools", POOL["name"])


@needs_task_store
def test_item_that_is_killed_in_its_start_finds_its_own_run_among_its_siblings(
    airflow: RealAirflow, sandbox: Sandbox
) -> None:
    starts = mapped(airflow, sandbox, "shared-killed", 5, list_delay_seconds=2.0)
    (case,) = starts.cases
    killed = airflow.wait_for(case.runs, "the first start", 60)[0]["name"]
    item = starts.names.index(killed)
    os.kill(airflow.task_process(case.dag_id, case.run_id, "run", item), signal.SIGKILL)
    # An item has one retry: of the one that was killed it goes on with the run that is there.
    failing = sum(starts.fails(each) for each in range(5) if each != item)
    starts.each_has_its_own("run", starts=5 + failing)
