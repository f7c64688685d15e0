"""Dags of one task that starts a run, for each vendor, mode and kind; the run is named by the Dag run's conf."""

from typing import Any

from airflow.providers.common.compat.sdk import DAG, get_current_context, task
from vendor_tasks import DAG_ARGUMENTS, KINDS, MODES, NAME, RETRY, VENDORS, axiom, sleep_a_while, snaplogic

from airflow_runctl.notifications import StopRunsNotifier
from airflow_runctl.operators.axiom import AxiomStopRunOperator, AxiomTriggerRunOperator
from airflow_runctl.operators.snaplogic import SnapLogicStopTaskOperator, SnapLogicTriggerTaskOperator


def fails_on_its_own(*_: Any) -> float | None:
    """Raise an error of our own once the run is recorded."""
    raise RuntimeError("an error of our own")


class DefersWhenTold(SnapLogicTriggerTaskOperator):
    """Defers, its run recorded, once a file is there."""

    def _warn_at(self, run: Any) -> float | None:
        _wait_for_file(get_current_context()["dag_run"].conf["go"])
        return super()._warn_at(run)


def _wait_for_file(name: str) -> None:
    import time
    from pathlib import Path

    until = time.monotonic() + 120
    while not Path(name).exists() and time.monotonic() < until:
        time.sleep(0.1)


for vendor, start in VENDORS.items():
    for mode, deferrable in MODES.items():
        for kind, arguments in KINDS.items():
            with DAG(f"{kind}_{vendor}_{mode}", schedule=None, **DAG_ARGUMENTS.get(kind, {})):
                start(task_id="run", deferrable=deferrable, poll_interval=1.0, stop_timeout=30.0, **arguments)

for vendor, start in VENDORS.items():
    for mode, deferrable in MODES.items():
        with DAG(f"own_error_{vendor}_{mode}", schedule=None):
            operator = start(task_id="run", deferrable=deferrable, poll_interval=1.0)
            operator._warn_at = fails_on_its_own  # type: ignore[method-assign]

with DAG("marked_before_deferral", schedule=None):
    DefersWhenTold(task_id="run", task_path=f"/Acme/projects/sales/{NAME}", pipeline_name=NAME, deferrable=True)

# A Dag run outlives a task that was killed: a long parallel branch, and a leaf that succeeds all the same.
with DAG("long_branch", schedule=None, on_failure_callback=StopRunsNotifier()):
    snaplogic(task_id="run", deferrable=False, poll_interval=1.0)
    sleep_a_while()

with DAG(
    "all_done_leaf", schedule=None, on_failure_callback=StopRunsNotifier(), on_success_callback=StopRunsNotifier()
):

    @task(trigger_rule="all_done")
    def tidy() -> None:
        """Succeed whatever happened before."""

    axiom(task_id="run", deferrable=False, poll_interval=1.0) >> tidy()

# A mapped start; its list comes from the conf, so that it can be another one on the retry.
with DAG("mapped_retry", schedule=None):

    @task
    def names() -> list[dict[str, str]]:
        """The names in a file, which a test may change."""
        from pathlib import Path

        conf = get_current_context()["dag_run"].conf
        return [{"name": name} for name in Path(conf["list"]).read_text().split()]

    AxiomTriggerRunOperator.partial(
        task_id="run", deferrable=False, poll_interval=1.0, stop_timeout=30.0, **RETRY
    ).expand_kwargs(names())

# A mapped start, one item's task fails for another reason, and its callback stops what the Dag run left.
with DAG("mapped_runs", schedule=None):
    SnapLogicTriggerTaskOperator.partial(
        task_id="run", deferrable=True, poll_interval=1.0, map_index_template="{{ task.pipeline_name }}"
    ).expand_kwargs(
        [{"task_path": f"/Acme/projects/sales/{NAME}-{n}", "pipeline_name": f"{NAME}-{n}"} for n in ("a", "b", "c")]
    )

    @task(on_failure_callback=StopRunsNotifier(stop_reason="the check failed"))
    def fail_when_told() -> None:
        """Fail once a file appears."""
        _wait_for_file(get_current_context()["dag_run"].conf["go"])
        raise RuntimeError("told to fail")

    fail_when_told()

with DAG("stop_by_task", schedule=None):
    started = snaplogic(task_id="run", wait_for_completion=False)
    SnapLogicStopTaskOperator(task_id="stop", external_run=started.output, stop_reason="enough")

with DAG("stop_queued", schedule=None):
    queued = axiom(task_id="run", wait_for_completion=False)
    AxiomStopRunOperator(task_id="stop", external_run=queued.output, stop_timeout=5.0)
