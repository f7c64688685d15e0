"""The cluster policy on Dags: adds callbacks where runs are started, and keeps those that are there."""

from airflow.providers.common.compat.sdk import DAG

from airflow_runctl.notifications import StopRunsNotifier
from airflow_runctl.operators.axiom import AxiomStopRunOperator, AxiomTriggerRunOperator
from airflow_runctl.policy import dag_policy, stop_runs_of_ended_dag_runs


def said(context):
    """A callback that a Dag has already."""


def test_callbacks_are_added_beside_those_that_are_there():
    with DAG("one", on_failure_callback=said) as dag:
        AxiomTriggerRunOperator(task_id="run", name="x")

    dag_policy(dag)

    assert dag.on_failure_callback[0] is said
    assert isinstance(dag.on_failure_callback[1], StopRunsNotifier)
    assert [type(callback) for callback in dag.on_success_callback] == [StopRunsNotifier]
    assert dag.has_on_failure_callback
    assert dag.has_on_success_callback


def test_mapped_tasks_count_and_a_second_call_adds_nothing():
    with DAG("one") as dag:
        AxiomTriggerRunOperator.partial(task_id="run").expand(name=["x", "y"])

    for _ in range(2):
        stop_runs_of_ended_dag_runs(dag)

    assert len(dag.on_failure_callback) == 1


def test_a_dag_that_starts_no_runs_is_left_alone():
    with DAG("one") as dag:
        AxiomStopRunOperator(task_id="stop", pid="07", pw="secret")

    dag_policy(dag)

    assert dag.on_failure_callback is None
    assert not dag.has_on_failure_callback
