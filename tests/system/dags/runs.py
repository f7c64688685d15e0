"""Dags of one task that starts a run, for each vendor, mode and kind; the run is named by the Dag run's conf."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, AsyncCallback, DeadlineAlert, DeadlineReference, SyncCallback, task

from airflow_runctl.notifications import StopRunsNotifier
from airflow_runctl.operators.axiom import AxiomStopRunOperator, AxiomTriggerRunOperator
from airflow_runctl.operators.base import StartRunOperator
from airflow_runctl.operators.bctrl import BctrlRunTaskOperator, BctrlStartRuntimeOperator
from airflow_runctl.operators.snaplogic import SnapLogicStopTaskOperator, SnapLogicTriggerTaskOperator
from airflow_runctl.operators.vectorshift import VectorShiftRunPipelineOperator

NAME = "{{ dag_run.conf['name'] }}"
SECONDS = 10
"""Every limit of these Dags."""

MODES = {"worker": False, "deferred": True}


def snaplogic(**kwargs: Any) -> StartRunOperator:
    return SnapLogicTriggerTaskOperator(task_path=f"/Acme/projects/sales/{NAME}", pipeline_name=NAME, **kwargs)


def axiom(**kwargs: Any) -> StartRunOperator:
    return AxiomTriggerRunOperator(name=NAME, **kwargs)


def vectorshift(**kwargs: Any) -> StartRunOperator:
    return VectorShiftRunPipelineOperator(pipeline_id=NAME, **kwargs)


def bctrl(**kwargs: Any) -> StartRunOperator:
    if kwargs.get("wait_for_completion") is False:
        return BctrlStartRuntimeOperator(name=NAME, bctrl_conn_id="bctrl_browsers", **kwargs)
    return BctrlRunTaskOperator(agent=NAME, input="go", bctrl_conn_id="bctrl_browsers", **kwargs)


VENDORS: dict[str, Callable[..., StartRunOperator]] = {
    "snaplogic": snaplogic,
    "axiom": axiom,
    "vectorshift": vectorshift,
    "bctrl": bctrl,
}

RETRY: dict[str, Any] = {"retries": 1, "retry_delay": timedelta(seconds=1)}


def fails_on_its_own(*_: Any) -> dict[str, float]:
    """Raise an error of our own once the run is recorded."""
    raise RuntimeError("an error of our own")


class DefersWhenTold(SnapLogicTriggerTaskOperator):
    """Defers, its run recorded, once a file is there."""

    def _limits(self, context: Any, run: Any) -> dict[str, float]:
        _wait_for_file(context["dag_run"].conf["go"])
        return super()._limits(context, run)


def _wait_for_file(name: str) -> None:
    import time
    from pathlib import Path

    until = time.monotonic() + 120
    while not Path(name).exists() and time.monotonic() < until:
        time.sleep(0.1)


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "retry": RETRY,
    "resume": {**RETRY, "on_retry": "resume"},
    "restart": {**RETRY, "on_retry": "restart"},
    "timeout": {"execution_timeout": timedelta(seconds=SECONDS)},
    "runtime": {"max_runtime": timedelta(seconds=SECONDS)},
    "deadline": RETRY,
    "netted": {},
    "released": {"wait_for_completion": False},
    "dagrun_timeout": {},
}


def alert(seconds: float = SECONDS, **kwargs: Any) -> DeadlineAlert:
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(seconds=seconds),
        callback=AsyncCallback(StopRunsNotifier, kwargs={"stop_reason": "test", **kwargs}),
    )


DAG_ARGUMENTS: dict[str, dict[str, Any]] = {
    "deadline": {"deadline": alert()},
    "released": {"deadline": alert()},
    "netted": {"on_failure_callback": StopRunsNotifier(), "on_success_callback": StopRunsNotifier()},
    "dagrun_timeout": {"dagrun_timeout": timedelta(seconds=SECONDS)},
}


@task
def sleep_a_while() -> None:
    """Keep the Dag run going past every limit here."""
    import time

    time.sleep(3 * SECONDS)


for vendor, start in VENDORS.items():
    for mode, deferrable in MODES.items():
        for kind, arguments in KINDS.items():
            with DAG(f"{kind}_{vendor}_{mode}", **DAG_ARGUMENTS.get(kind, {})):
                if kind == "released":
                    sleep_a_while()  # a Dag run that succeeds takes its deadlines with it
                start(task_id="run", deferrable=deferrable, poll_interval=1.0, stop_timeout=30.0, **arguments)

for vendor, start in VENDORS.items():
    for mode, deferrable in MODES.items():
        with DAG(f"own_error_{vendor}_{mode}"):
            operator = start(task_id="run", deferrable=deferrable, poll_interval=1.0)
            operator._limits = fails_on_its_own  # type: ignore[method-assign]

with DAG("marked_before_deferral"):
    DefersWhenTold(task_id="run", task_path=f"/Acme/projects/sales/{NAME}", pipeline_name=NAME, deferrable=True)

# A Dag run outlives a task that was killed: a long parallel branch, and a leaf that succeeds all the same.
with DAG("long_branch", on_failure_callback=StopRunsNotifier()):
    snaplogic(task_id="run", deferrable=False, poll_interval=1.0)
    sleep_a_while()

with DAG("all_done_leaf", on_failure_callback=StopRunsNotifier(), on_success_callback=StopRunsNotifier()):

    @task(trigger_rule="all_done")
    def tidy() -> None:
        """Succeed whatever happened before."""

    axiom(task_id="run", deferrable=False, poll_interval=1.0) >> tidy()

# A mapped start; its list comes from the conf, so that it can be another one on the retry.
with DAG("mapped_retry"):

    @task
    def names() -> list[dict[str, str]]:
        """The names in a file, which a test may change."""
        from pathlib import Path

        from airflow.sdk import get_current_context

        conf = get_current_context()["dag_run"].conf
        return [{"name": name} for name in Path(conf["list"]).read_text().split()]

    AxiomTriggerRunOperator.partial(
        task_id="run", deferrable=False, poll_interval=1.0, stop_timeout=30.0, **RETRY
    ).expand_kwargs(names())

# A mapped start, one item's task fails for another reason, and its callback stops what the Dag run left.
with DAG("mapped_runs"):
    SnapLogicTriggerTaskOperator.partial(
        task_id="run", deferrable=True, poll_interval=1.0, map_index_template="{{ task.pipeline_name }}"
    ).expand_kwargs(
        [{"task_path": f"/Acme/projects/sales/{NAME}-{n}", "pipeline_name": f"{NAME}-{n}"} for n in ("a", "b", "c")]
    )

    @task(on_failure_callback=StopRunsNotifier(stop_reason="the check failed"))
    def fail_when_told() -> None:
        """Fail once a file appears."""
        from airflow.sdk import get_current_context

        _wait_for_file(get_current_context()["dag_run"].conf["go"])
        raise RuntimeError("told to fail")

    fail_when_told()

# The deadline comes while the start is in flight: the vendor lists and answers late.
with DAG("deadline_in_flight", deadline=alert(5)):
    snaplogic(task_id="run", deferrable=True, poll_interval=1.0)

with DAG(
    "deadline_sync_callback",
    deadline=DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(seconds=5),
        callback=SyncCallback(StopRunsNotifier),
    ),
):
    axiom(task_id="run", deferrable=True, poll_interval=1.0)

with DAG("two_deadlines", deadline=[alert(6, dry_run=True), alert(12)]):
    axiom(task_id="run", deferrable=True, poll_interval=1.0)

with DAG("stop_by_task"):
    started = snaplogic(task_id="run", wait_for_completion=False)
    SnapLogicStopTaskOperator(task_id="stop", external_run=started.output, stop_reason="enough")

with DAG("stop_queued"):
    queued = axiom(task_id="run", wait_for_completion=False)
    AxiomStopRunOperator(task_id="stop", external_run=queued.output, stop_timeout=5.0)
