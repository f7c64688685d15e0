"""Dags of the fifth vendor; the flow is named by the Dag run's conf."""

from datetime import timedelta

from acme_runs.operators import AcmeStartJobOperator, AcmeStopJobOperator
from airflow.sdk import DAG, AsyncCallback, DeadlineAlert, DeadlineReference

from airflow_runctl.notifications import StopRunsNotifier
from airflow_runctl.sensors.run import ExternalRunSensor

FLOW = "{{ dag_run.conf['flow'] }}"

with DAG("acme_to_the_end"):
    AcmeStartJobOperator(task_id="job", flow=FLOW, deferrable=True, poll_interval=1.0)

with DAG(
    "acme_deadline",
    deadline=DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(seconds=10),
        callback=AsyncCallback(StopRunsNotifier, kwargs={"stop_reason": "the night batch must end"}),
    ),
    default_args={"poll_interval": 1.0, "retries": 1, "retry_delay": timedelta(seconds=1)},
):
    AcmeStartJobOperator(task_id="deferred", flow=FLOW, deferrable=True)
    AcmeStartJobOperator(task_id="worker", flow=FLOW, deferrable=False)

with DAG("acme_stop"):
    started = AcmeStartJobOperator(task_id="job", flow=FLOW, wait_for_completion=False)
    again = AcmeStartJobOperator(task_id="another", flow=FLOW, wait_for_completion=False)
    AcmeStopJobOperator(task_id="by_handle", external_run=started.output)
    AcmeStopJobOperator(task_id="by_id", job_id="{{ ti.xcom_pull(task_ids='another')['run_id'] }}") << again

with DAG("acme_kill"):
    AcmeStartJobOperator(task_id="job", flow=FLOW, deferrable=True, poll_interval=1.0)

with DAG("acme_sensor"):
    sensed = AcmeStartJobOperator(task_id="job", flow=FLOW, wait_for_completion=False)
    ExternalRunSensor(task_id="wait", external_run=sensed.output, deferrable=True, poke_interval=1.0)
